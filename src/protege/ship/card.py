"""card.md and card.json: what a file is, how good it is, what it takes. check.py: the file alone, on one image."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protege import __version__
from protege.models.measure import multiply_adds, parameter_count
from protege.runs import Run, environment, whole, write_json
from protege.ship import smaller
from protege.ship.about import About
from protege.stats import proportion_interval

if TYPE_CHECKING:
    from protege.ship.export import Exported
    from protege.ship.figures.measure import Measured
    from protege.ship.formats.build import Wanted
    from protege.ship.formats.deployed import Student


def facts(
    run: Run,
    which: str,
    about: About,
    wanted: Wanted,
    made: Exported,
    student: Student,
    runtime: str,
    latency: Measured | None,
) -> dict[str, Any]:
    """All that the card says, as data."""
    record, config = run.record(), run.config()
    return {
        "file": made.path.name,
        "format": wanted.format,
        "precision": wanted.precision,
        "bits": smaller.bits(run, wanted, made),
        "bytes": made.bytes,
        "run": run.id,
        "weights": which,
        "model": config.model.name,
        "parameters": parameter_count(student),
        "multiply_adds": multiply_adds(student.network.module, about.size),
        "pruned": smaller.channels(run, which, student.network.module, about.size),
        "adds": run.method().added(),
        "method": config.method.model_dump(mode="json"),
        "teachers": record["teachers"],
        "data": {key: record["data"][key] for key in ("name", "fingerprint", "train", "heldout")},
        "classes": list(about.classes),
        "input": about.preprocessing,
        "raw": about.raw,
        "size": about.size,
        "mean": about.mean,
        "std": about.std,
        "temperature": about.temperature,
        "likeness": asdict(made.likeness),
        "accuracy": accuracy_of(made),
        "calibration": calibration_of(run, which),
        "latency": latency_facts(latency),
        "checked_in": runtime,
        "environment": environment(),
        "protege": __version__,
    }


def latency_facts(found: Measured | None) -> dict[str, Any] | None:
    """Milliseconds of one image, with the quartiles of the rounds; the machine is that of `environment`."""
    if found is None:
        return None
    names = ("latency_ms", "latency_low_ms", "latency_high_ms", "latency_p95_ms", "rounds", "threads", "batch")
    return {name: getattr(found, name) for name in names} | {"images_per_second": found.images_per_second}


def accuracy_of(made: Exported) -> dict[str, Any] | None:
    """Of the file itself, with the interval that so many images leave."""
    found = made.likeness
    if found.accuracy_after is None:
        return None
    interval = proportion_interval(round(found.accuracy_after * found.images), found.images)
    return {"heldout": found.accuracy_after, "images": found.images, "interval": list(interval), "confidence": 0.95}


def calibration_of(run: Run, which: str) -> dict[str, float] | None:
    """ECE before and after the temperature, where `protege evaluate` has looked."""
    file = run.evaluations / "heldout.json"
    scores = run.evaluation("heldout").get(which) if file.exists() else None
    if not scores or "scaled" not in scores:
        return None
    return {"ece": scores["ece"], "ece_scaled": scores["scaled"]["ece"]}


def write(found: dict[str, Any], folder: Path, path: Path) -> None:
    write_json(folder / "card.json", found)
    with whole(folder / "card.md") as partial:
        partial.write_text(text(found))
    with whole(folder / "check.py") as partial:
        partial.write_text(check(found, path.name))


def text(found: dict[str, Any]) -> str:
    accuracy, likeness = found["accuracy"], found["likeness"]
    taught = ", ".join(found["teachers"]) or "nobody"
    judged = "no image was held out, so nothing judges it"
    if accuracy:
        low, high = (100 * one for one in accuracy["interval"])
        judged = (
            f"{100 * accuracy['heldout']:.2f} % of {accuracy['images']:,} held-out images "
            f"(95 % interval {low:.2f} to {high:.2f}); the checkpoint has {100 * likeness['accuracy_before']:.2f} %. "
            "Held-out images chose among runs, perhaps; they are no test set."
        )
    calibration = found["calibration"]
    calibrated = (
        "not fitted" if found["temperature"] is None else f"{found['temperature']:.3f}, fitted on held-out images"
    )
    if calibration:
        calibrated += f"; ECE {100 * calibration['ece']:.2f} %, with it {100 * calibration['ece_scaled']:.2f} %"
    latency = f"not timed; `protege measure {found['file']}` does"
    if timed := found["latency"]:
        latency = (
            f"{timed['latency_ms']:.3f} ms an image (quartiles of {timed['rounds']} rounds: {timed['latency_low_ms']:.3f} to "
            f"{timed['latency_high_ms']:.3f}), batch {timed['batch']}, {timed['threads']} thread, on "
            f"{found['environment']['processor']}, beside whatever else ran there"
        )
    classes = found["classes"]
    gives = "probabilities (temperature included)" if found["raw"] else "logits"
    return f"""# {found["model"]}, {found["precision"]}, from {found["run"]}

| | |
|---|---|
| file | `{found["file"]}`, {found["bytes"]:,} bytes, {found["format"]} {found["precision"]} |
| network | {found["model"]}, {found["parameters"]:,} parameters, {found["multiply_adds"] / 1e6:.1f} M multiply-adds an image |
| channels | {smaller.channels_said(found["pruned"])} |
| bits | {smaller.bits_said(found["bits"], found["precision"])} |
| added by the method | {found["adds"]} |
| trained on | {found["data"]["train"]:,} images of {found["data"]["name"]} (fingerprint {found["data"]["fingerprint"][:12]}) |
| method, taught by | {found["method"]["name"]}, {taught} |
| accuracy | {judged} |
| against the checkpoint | {100 * likeness["agreement"]:.2f} % equal first choices on {likeness["images"]:,} {likeness["which"]} images |
| temperature | {calibrated} |
| latency | {latency} |
| read back in | {found["checked_in"]}, {found["environment"]["processor"]} |
| licence | yours to say; that of the images is their owners' |

**Input**: {found["input"]}.

**Output**: {gives} of {len(classes)} classes: {", ".join(classes[:100])}.

Meant for pictures like those that it was trained on. Of others it names a class all the same.

`python check.py PICTURE` runs the file without protege. More of its speed and memory: `protege measure {found["file"]}`.
"""


CHECK = '''"""Run {file} on one picture, without protege: python check.py PICTURE"""
import sys
from pathlib import Path

import numpy as np
{imports}from PIL import Image, ImageOps

SIZE, MEAN, STD = {size}, {mean}, {std}
CLASSES = {classes}

if len(sys.argv) != 2:
    sys.exit("python check.py PICTURE")
try:
    picture = ImageOps.exif_transpose(Image.open(sys.argv[1]))
except OSError as error:
    sys.exit(f"{{sys.argv[1]}} cannot be read as a picture: {{error}}")
if picture.mode[0] in "IF":
    sys.exit(f"{{sys.argv[1]}} has more than 8 bits a pixel: save it with 8")
if picture.has_transparency_data:
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
pixels = np.asarray(ImageOps.fit(picture.convert("RGB"), (SIZE, SIZE), Image.Resampling.BICUBIC)).transpose(2, 0, 1)[None]
{given}
file = str(Path(__file__).with_name("{file}"))
{run}
{scores}
for place in np.argsort(-scores)[:3]:
    print(f"{{CLASSES[place]}}: {{scores[place]:.3f}}")
'''
RUNS = {
    "onnx": ("import onnxruntime\n", "answer = onnxruntime.InferenceSession(file).run(None, {NAME: given})[0][0]"),
    "pt2": (
        "import torch\n",
        "answer = torch.export.load(file).module()(torch.from_numpy(given)).detach().numpy()[0]",
    ),
    "openvino": ("import openvino\n", 'answer = openvino.compile_model(file, "CPU")(given)[0][0]'),
    "executorch": (
        "import torch\nfrom executorch.runtime import Runtime\n",
        'method = Runtime.get().load_program(file).load_method("forward")\n'
        "answer = method.execute([torch.from_numpy(given)])[0].numpy()[0]",
    ),
}
NORMALISED = (
    "given = ((pixels / 255 - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1))).astype(np.float32)"
)


def check(found: dict[str, Any], file: str) -> str:
    """A script of about twenty lines."""
    imports, run = RUNS[found["format"]]
    name = "pixels" if found["raw"] else "images"
    temperature = found["temperature"] or 1.0
    softened = f"raised = np.exp((answer - answer.max()) / {temperature!r})\nscores = raised / raised.sum()"
    return CHECK.format(
        file=file,
        imports=imports,
        size=found["size"],
        mean=json.dumps(found["mean"]),
        std=json.dumps(found["std"]),
        classes=json.dumps(found["classes"]),
        given="given = np.ascontiguousarray(pixels)" if found["raw"] else NORMALISED,
        run=run.replace("NAME", repr(name)),
        scores="scores = answer" if found["raw"] else softened,
    )
