"""Accuracy, calibration, and fidelity to the teacher: of held-out images freely, of the test set only through the ledger.

`Splits.test` is opened here alone; a report shows images of it that were evaluated before.
"""

from __future__ import annotations

import getpass
import hashlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protege import data, runs
from protege.data.base import Images, Splits, at_a_time
from protege.data.config import DataConfig
from protege.errors import DataError, RunError, visible
from protege.methods.base import Method, Outputs, Shapes
from protege.models.network import Network
from protege.runs.config import Place, TeacherConfig, digest
from protege.runs.hardware import device_of
from protege.runs.process import compute_alike
from protege.teacher import speaking
from protege.teacher.sources import identify
from protege.views import normalise

if TYPE_CHECKING:
    from protege.stats import Verdict

BINS = 15  # of the calibration error


@dataclass(frozen=True)
class Scores:
    """What a network's logits are worth against the labels."""

    images: int
    accuracy: float
    top5: float | None  # None with five classes or fewer
    nll: float
    brier: float
    ece: float
    per_class: list[float]
    confusion: list[list[int]]  # [label][said]
    bins: list[dict[str, float]]  # of confidence: its mean, the accuracy, how many


@dataclass(frozen=True)
class Fidelity:
    """How near a student's word is to its teacher's, whether or not it listened to it."""

    agreement: float  # share of images with the same first choice
    kl_t1: float  # KL(teacher || student), no T^2
    kl_t4: float


def score(logits: Tensor, labels: Tensor) -> Scores:
    """All scores at once; `logits` [N, C] in float32 or better."""
    logits, labels = logits.double().cpu(), labels.cpu()
    classes = logits.shape[1]
    probabilities = logits.softmax(1)
    confidence, said = probabilities.max(1)
    correct = said == labels
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    confusion.index_put_((labels, said), torch.ones_like(labels), accumulate=True)
    bins = _bins(confidence, correct)
    return Scores(
        images=len(labels),
        accuracy=correct.double().mean().item(),
        top5=_top(logits, labels, 5) if classes > 5 else None,
        nll=F.cross_entropy(logits, labels).item(),
        brier=(probabilities - F.one_hot(labels, classes)).square().sum(1).mean().item(),
        ece=sum(part["images"] * abs(part["accuracy"] - part["confidence"]) for part in bins) / len(labels),
        per_class=(confusion.diagonal() / confusion.sum(1).clamp(min=1)).tolist(),
        confusion=confusion.tolist(),
        bins=bins,
    )


def accuracy_and_nll(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """The two that an epoch is judged by, as `score` gives them; of a thousand classes it takes a tenth of its time."""
    logits, labels = logits.double().cpu(), labels.cpu()
    accuracy = (logits.softmax(1).max(1).indices == labels).double().mean().item()
    return accuracy, F.cross_entropy(logits, labels).item()


def _top(logits: Tensor, labels: Tensor, count: int) -> float:
    return (logits.topk(count, 1).indices == labels[:, None]).any(1).double().mean().item()


def _bins(confidence: Tensor, correct: Tensor) -> list[dict[str, float]]:
    """Equal widths, the right edge inside, empty ones left out."""
    place = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    found = []
    for number in range(BINS):
        inside = place == number
        if inside.any():
            found.append({
                "confidence": confidence[inside].mean().item(),
                "accuracy": correct[inside].double().mean().item(),
                "images": int(inside.sum()),
            })  # fmt: skip
    return found


def fidelity(student: Tensor, taught_by: Tensor) -> Fidelity:
    student, taught_by = student.double(), taught_by.double()
    return Fidelity(
        agreement=(student.argmax(1) == taught_by.argmax(1)).double().mean().item(),
        kl_t1=_kl(student, taught_by, 1.0),
        kl_t4=_kl(student, taught_by, 4.0),
    )


def _kl(student: Tensor, taught_by: Tensor, temperature: float) -> float:
    student, taught_by = F.log_softmax(student / temperature, 1), F.log_softmax(taught_by / temperature, 1)
    return F.kl_div(student, taught_by, reduction="batchmean", log_target=True).item()


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The one number that, dividing the logits, makes the likelihood of these labels greatest; fit on held-out images, never on test."""
    from scipy.optimize import minimize_scalar

    logits, labels = logits.double(), labels.cpu()
    found = minimize_scalar(
        lambda log: F.cross_entropy(logits / torch.exp(torch.tensor(log)), labels).item(),
        bounds=(-4.0, 4.0),
        method="bounded",
    )
    return float(torch.exp(torch.tensor(found.x)))


# ---- logits of a network ----


@dataclass
class Predictor:
    """The network as it will be deployed: with the method's last word, where a method has one."""

    network: nn.Module
    mean: speaking.Three
    std: speaking.Three
    method: Method | None = None
    adapters: nn.Module | None = None

    def __call__(self, pixels: Tensor) -> Tensor:
        images = normalise(pixels, self.mean, self.std)
        network = self.network
        assert isinstance(network, Network)
        if self.method is None or self.adapters is None or self.method.added() == "nothing":
            return network(images)[0]
        logits, features = network(images, self.method.wants())
        return self.method.predict(Outputs(logits, features, speaking.classifier_of(network)), self.adapters)


@torch.inference_mode()
def predict(predictor: Predictor, images: Images, device: torch.device, batch_size: int = 500) -> Tensor:
    """Logits of all images in eval mode, on the CPU; the network's training flag is put back."""
    parts = [part for part in (predictor.network, predictor.adapters) if part is not None]
    modes = [part.training for part in parts]
    for part in parts:
        part.eval()
    step = at_a_time(batch_size, images.pixels.shape[-1])
    said = [
        predictor(images.pixels[start : start + step].to(device)).float().cpu() for start in range(0, len(images), step)
    ]
    for part, mode in zip(parts, modes, strict=True):
        part.train(mode)
    return torch.cat(said)


def predictor_of(run: runs.Run, which: str, device: torch.device) -> Predictor:
    """A finished run's student as it is deployed."""
    network, (mean, std) = speaking.network_of(run, which)
    network.to(device)
    method = run.method()
    adapters = None
    if method.added() != "nothing":
        adapters = _adapters_of(run, which, method, network).to(device)
    return Predictor(network, mean, std, method, adapters)


def _adapters_of(run: runs.Run, which: str, method: Method, network: Network) -> nn.Module:
    """Rebuilt from the shapes of student and teacher, then filled from the run's file."""
    record = run.record()
    size = record["data"]["image_size"]
    sources = identify(run.config().teacher, run.path.parent)
    classes = len(record["data"]["classes"])
    taught_by = speaking.shapes_of(speaking.speaker(sources[0], classes)[0], size) if sources else Shapes(0)
    adapters = method.adapters(speaking.shapes_of(network, size, record["data"]["images"]), taught_by)
    tensors, _ = runs.read_weights(run.adapters_file(which))
    adapters.load_state_dict(tensors)
    return adapters


# ---- evaluating a finished run ----


def evaluate(
    run: runs.Run,
    place: Place | None = None,
    *,
    test: bool = False,
    teachers: Sequence[TeacherConfig] | None = None,
    moved: str | None = None,
) -> dict[str, Any]:
    """Scores of the final epoch and of the best on held-out images, and fidelity to the teachers (the run's own unless others are named).

    `test=True` opens the test set: one line in the ledger says so, before it is read. `moved` says where the same data are now.
    """
    if not run.finished:
        raise RunError(f"{run.id} is not finished: its training goes on with the command in {run.record_file}.")
    place = place or Place(runs=run.path.parent)
    config, split = run.config(), "test" if test else "heldout"
    splits = data.load(config.data.under(moved), place.data_dir)
    if splits.fingerprint != run.record()["data"]["fingerprint"]:
        raise DataError(
            f"{splits.name} has changed since {run.id} was trained on it: the scores could not be compared."
        )
    if splits.heldout is None and not test:
        raise DataError(
            f"{run.id} held no images out (data.heldout 0). Its test scores: protege evaluate {run.id} --test"
        )
    images = opened(run.id, run.weights_file("final"), splits, place) if test else splits.heldout
    assert images is not None
    device = device_of(place)
    compute_alike(place.threads or torch.get_num_threads())
    sources = identify(config.teacher if teachers is None else teachers, place.runs)
    listened_to = speaking.load(sources, splits, device) if sources else None
    found: dict[str, Any] = {
        "run": run.id,
        "split": split,
        "images": len(images),
        "teachers": [source.identity for source in sources],
    }
    said = teacher_logits(listened_to, images, device) if listened_to else None
    if said is not None:
        found["teacher"] = asdict(score(said, images.labels))
    for which in ("final", "best"):
        if run.weights_file(which).exists():
            found[which] = _scores_of(run, which, images, splits, said, device, split)
    path = run.evaluations / f"{split}.json"
    found["environment"] = runs.environment(device)
    runs.write_json(path, found)
    return found


def evaluate_file(
    file: TeacherConfig, images_of: DataConfig, place: Place | None = None, *, test: bool = False
) -> dict[str, Any]:
    """Scores of a file of weights, as it would teach: whether it is what its author says can be seen before it does.

    Nobody knows which images it has seen; `test=True` opens the test set, which has its line in the ledger.
    """
    place = place or Place()
    splits = data.load(images_of, place.data_dir)
    device = device_of(place)
    compute_alike(place.threads or torch.get_num_threads())
    (source,) = identify([file], place.runs)
    asked = speaking.load([source], splits, device)
    if splits.heldout is None and not test:
        raise DataError("No images are held out (data.heldout 0); --test reads those of the test set.")
    images = opened(file.source, source.file, splits, place) if test else splits.heldout
    assert images is not None
    scores = asdict(score(teacher_logits(asked, images, device), images.labels))
    return {"file": file.source, "split": "test" if test else "heldout", "images": len(images), "final": scores}


def opened(name: str, weights: Path, splits: Splits, place: Place) -> Images:
    """The test images, after the ledger has a line about it."""
    entry = {
        "run": name,
        "weights": digest(weights),
        "data": splits.fingerprint,
        "test": which_images(splits.content, splits.test),
        "images": len(splits.test),
        "user": getpass.getuser(),
        "command": visible(shlex.join(sys.argv)),
    }
    runs.write_ledger(place.runs, entry)
    return splits.test


def which_images(content: str, images: Images) -> str:
    """Digest of a part of a dataset: the same whatever else was held out or left away."""
    return hashlib.sha256(content.encode() + images.indices.cpu().numpy().tobytes()).hexdigest()


def _scores_of(
    run: runs.Run, which: str, images: Images, splits: Splits, said: Tensor | None, device: torch.device, split: str
) -> dict[str, Any]:
    predictor = predictor_of(run, which, device)
    logits = predict(predictor, images, device)
    found: dict[str, Any] = asdict(score(logits, images.labels))
    if splits.heldout is not None:
        heldout = logits if split == "heldout" else predict(predictor, splits.heldout, device)
        temperature = fit_temperature(heldout, splits.heldout.labels)
        scaled = score(logits / temperature, images.labels)
        found["scaled"] = {
            "temperature": temperature,
            "nll": scaled.nll,
            "brier": scaled.brier,
            "ece": scaled.ece,
            "bins": scaled.bins,
        }
    if said is not None:
        found["fidelity"] = asdict(fidelity(logits, said))
    runs.write_weights(
        run.evaluations / f"{split}-{which}.safetensors", {"logits": logits, "labels": images.labels}, {"run": run.id}
    )
    return found


def teacher_logits(
    listened_to: speaking.Teacher, images: Images, device: torch.device, batch_size: int = 500
) -> Tensor:
    step = at_a_time(batch_size, images.pixels.shape[-1])
    starts = range(0, len(images), step)
    return torch.cat(
        [listened_to.ask(images.pixels[start : start + step].to(device), ("logits",)).logits.cpu() for start in starts]
    )


def logits_of(run: runs.Run, split: str, which: str = "final") -> tuple[Tensor, Tensor]:
    """Logits and labels that an evaluation left, for paired comparisons image by image."""
    path = run.evaluations / f"{split}-{which}.safetensors"
    tensors, _ = runs.read_weights(path)
    return tensors["logits"], tensors["labels"]


def compare(
    treatment: Sequence[runs.Run],
    control: Sequence[runs.Run],
    names: tuple[str, str] = ("The treatment", "the control"),
) -> Verdict:
    """What may be said of the difference in held-out accuracy of two arms, a run a seed; paired where both have the same seeds in order."""
    from protege import stats  # scipy, which no training waits for

    arms = [[100 * _heldout_accuracy(run) for run in arm] for arm in (treatment, control)]
    seeds = [[run.record()["config"]["seed"] for run in arm] for arm in (treatment, control)]
    return stats.verdict(stats.effect(*arms, paired=seeds[0] == seeds[1]), names=names)


def _heldout_accuracy(run: runs.Run) -> float:
    accuracy = run.result()["heldout_accuracy"]
    if accuracy is None:
        raise RunError(f"{run.id} held no images out (data.heldout 0), so there is nothing to compare it by.")
    return accuracy
