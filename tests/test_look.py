"""What networks see in the same images: figures that a reader can check by hand, and a page that opens no test image."""

from __future__ import annotations

import importlib
import json
import math
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from report_cases import row
from torch import nn

from protege.cli.app import app
from protege.data.base import Images
from protege.data.outside.consent import unread
from protege.errors import ConfigError, DataError, MissingExtra, ModelError, RunError
from protege.evaluate import evaluate
from protege.methods.base import Shapes
from protege.models.network import Network
from protege.report.figures.cloud import Cloud, cloud
from protege.report.look.follow import at_quartiles, follow
from protege.report.look.kept import keep, kept
from protege.report.look.page import look
from protege.report.look.plane import plane, turned
from protege.report.look.seen import Looked, Seen, agreement, most_frequent, of_own_class, see
from protege.report.look.wanted import Wanted
from protege.report.loose.findings import findings_of
from protege.report.material import collect
from protege.report.material.looked import one_each
from protege.report.page.blocks import Section, Words
from protege.report.page.table import Table
from protege.report.sections import page_of
from protege.runs import Run
from protege.runs.config import Place
from protege.study.findings import Findings
from protege.teacher.speaking import Voice, network_of
from protege.train import train

SMALL = {"data": {"name": "cifar10-mini", "limit": 60, "heldout": 40}, "optim": {"epochs": 1, "batch_size": 30}}


# ---- features in the plane ----


def test_the_plane_has_the_directions_of_most_variance() -> None:
    """Four corners of a rectangle of 6 by 2, in a space of three dimensions."""
    corners = torch.tensor([[3.0, 1.0, 5.0], [3.0, -1.0, 5.0], [-3.0, 1.0, 5.0], [-3.0, -1.0, 5.0]])
    found = plane(corners)
    assert found.kept == pytest.approx(1.0)
    assert found.points.abs()[:, 0].tolist() == pytest.approx([3 / math.sqrt(10)] * 4)
    assert found.points.abs()[:, 1].tolist() == pytest.approx([1 / math.sqrt(10)] * 4)


def test_planes_are_turned_and_mirrored_towards_each_other_but_never_stretched() -> None:
    points = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0], [0.5, -1.0]]).double()
    angle = 1.1
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
    mirror = torch.diag(torch.tensor([1.0, -1.0])).double()
    torch.testing.assert_close(turned(points @ turn @ mirror, points), points)
    assert turned(3 * points, points).norm() == pytest.approx(3 * points.norm())


def test_features_of_no_variance_are_a_point() -> None:
    found = plane(torch.ones(5, 3))
    assert found.kept is None
    assert found.points.abs().max() == 0


def test_without_its_extra_tsne_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(MissingExtra, match=r"pip install 'protege\[tsne\]'"):
        plane(torch.randn(9, 3), "tsne")


def test_tsne_keeps_neighbours_together_and_says_the_same_twice() -> None:
    pytest.importorskip("sklearn")
    groups = torch.randn(24, 5, generator=torch.Generator().manual_seed(0)) + 50.0 * (torch.arange(24) % 2)[:, None]
    found = plane(groups, "tsne")
    apart = torch.cdist(found.points, found.points).fill_diagonal_(torch.inf)
    assert found.kept is None
    assert (apart.argmin(1) % 2 == torch.arange(24) % 2).all()
    assert torch.equal(plane(groups, "tsne").points, found.points)


def test_neighbours_of_the_own_class_are_counted() -> None:
    """Two pairs far apart; the last image lies beside the first pair and is of the other class."""
    features = torch.tensor([[0.0], [0.1], [9.0], [9.1], [0.25]])
    labels = torch.tensor([0, 0, 1, 1, 1])
    seen = Seen("it", "it", features, torch.zeros(5, 2))
    assert of_own_class(seen, labels, neighbours=1) == pytest.approx(4 / 5)


def test_the_most_frequent_classes_come_in_their_order() -> None:
    assert list(most_frequent(torch.tensor([2, 2, 0, 3, 3, 3, 1]), 2)) == [2, 3]
    assert list(most_frequent(torch.tensor([1, 1]), 10)) == [1]


# ---- where they look ----


class Pooling(nn.Module):
    """Two maps, averaged and weighed: one in which evidence can be reckoned by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 2, 1, bias=False)
        self.body.weight.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])[:, :, None, None]
        self.fc = nn.Linear(2, 2, bias=False)
        self.fc.weight.data = torch.tensor([[1.0, -1.0], [0.0, 2.0]])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(images).mean((2, 3)))


@pytest.fixture
def voice() -> Voice:
    network = Network(Pooling(), {"stage1": "body"}, "fc")
    return Voice(network.eval(), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "it", "digest", Shapes(2))


def test_evidence_is_the_classifier_on_the_map_where_a_network_averages_it(voice: Voice) -> None:
    """Red speaks for class 0 and green against it; what speaks against is no evidence."""
    pixels = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    pixels[0, 0] = torch.tensor([[255, 0], [51, 0]])
    pixels[0, 1] = torch.tensor([[0, 255], [0, 0]])
    images = Images(pixels, torch.tensor([0]), torch.tensor([0]))
    seen = see(voice, images, "it", "it", torch.tensor([0]))
    assert seen.where is not None
    assert (seen.where / seen.where.max())[0].flatten().tolist() == pytest.approx([1.0, 0.0, 0.2, 0.0])
    assert seen.pooled.tolist() == [pytest.approx([306 / 4 / 255, 1 / 4])]


def test_maps_agree_with_themselves_and_not_with_their_opposite() -> None:
    one = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    assert agreement(one, 5 * one).tolist() == pytest.approx([1.0])
    assert agreement(one, 3 - one).tolist() == pytest.approx([-1.0])
    assert agreement(one, torch.ones(1, 2, 2)).isnan().all()


# ---- whose mistakes ----


def test_every_image_is_of_one_kind() -> None:
    labels = torch.tensor([0, 0, 0, 0, 0])
    found = follow(torch.tensor([0, 1, 1, 1, 0]), torch.tensor([0, 1, 0, 2, 2]), labels)
    assert {kind: found.some(kind, 5) for kind in found.masks} == {
        "both right": [0], "follows": [1], "mends": [2], "own mistake": [3], "loses": [4],
    }  # fmt: skip


def test_four_images_from_the_lowest_to_the_highest() -> None:
    assert at_quartiles(torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 6.0, 0.0])) == [6, 3, 2, 5]
    assert at_quartiles(torch.tensor([2.0, 1.0])) == [1, 0]


# ---- the page ----


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Run, Run, Run]:
    place = Place(runs=tmp_path_factory.mktemp("runs"), threads=1, quiet=True)
    teacher = train(SMALL | {"model": "resnet14"}, place)
    alone = train(SMALL | {"model": "resnet8"}, place)
    taught = train(SMALL | {"model": "resnet8", "teacher": str(teacher.path), "method": "kd"}, place)
    return place, teacher, alone, taught


def test_the_page_shows_teacher_alone_and_taught_and_opens_no_test_image(
    trained: tuple[Place, Run, Run, Run], tmp_path: Path
) -> None:
    place, _, _, taught = trained
    page = look(Wanted(taught, images=40), place)
    assert dict(page.facts)["networks"] == "teacher resnet14, resnet8, alone, resnet8, kd"
    assert [section.anchor for section in page.sections] == ["plane", "attention", "mistakes", "dark-knowledge"]
    counted = next(table for table in page.tables if table.name == "followed")
    assert [sum(int(str(row.values[column])) for row in counted.rows) for column in (1, 2)] == [40, 40]
    assert not (place.runs / "ledger.jsonl").exists()
    assert look(Wanted(taught, images=40), place).tables == page.tables


def test_a_student_without_a_teacher_is_looked_at_alone(trained: tuple[Place, Run, Run, Run]) -> None:
    place, teacher, alone, _ = trained
    page = look(Wanted(alone, beside=(teacher,), images=40), place)
    assert dict(page.facts)["networks"] == "resnet14, alone, resnet8, alone"
    assert "no teacher was named" in page.answer
    assert [section.anchor for section in page.sections] == ["plane", "attention"]


def test_the_verb_writes_a_page_that_needs_nothing_else(trained: tuple[Place, Run, Run, Run], tmp_path: Path) -> None:
    place, _, _, taught = trained
    told = _typed("look", taught.id, "--runs", str(place.runs), "--images", "40", "--out", str(tmp_path), "--json")
    assert told["answer"].startswith("Of 40 held-out images the teacher mistakes")
    page = (tmp_path / "look.html").read_text()
    assert page.count("data:image/png;base64,") > 6 * 4
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert (tmp_path / "tables" / "followed.csv").exists()


def _typed(*words: str) -> dict[str, Any]:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_what_cannot_be_looked_at_is_one_line(trained: tuple[Place, Run, Run, Run], tmp_path: Path) -> None:
    place, _, _, taught = trained
    with pytest.raises(RunError, match="not finished"):
        look(Wanted(Run(tmp_path / "nothing")), place)
    nothing_held = train(
        {**SMALL, "data": {"name": "cifar10-mini", "limit": 60, "heldout": 0}, "model": "resnet8"}, place
    )
    with pytest.raises(DataError, match=r"held no images out \(data.heldout 0\), and test images are not looked at"):
        look(Wanted(nothing_held), place)
    with pytest.raises(ConfigError, match="other data or another split"):
        look(Wanted(taught, beside=(nothing_held,), images=40), place)


# ---- on the page of several runs ----

LOOKED = importlib.import_module("protege.report.material.looked")


@pytest.fixture(scope="module")
def compared(trained: tuple[Place, Run, Run, Run], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Findings]:
    """The taught student and the one alone, after the test set was opened."""
    place, _, alone, taught = trained
    root = shutil.copytree(place.runs, tmp_path_factory.mktemp("compared") / "runs")
    both = [Run(root / run.id) for run in (alone, taught)]
    for run in both:
        evaluate(run, place.model_copy(update={"runs": root}), test=True, teachers=())
    return root, findings_of(both, root)


def seen_on(found: Findings, root: Path) -> Section | None:
    page = page_of(collect(found, root))
    return next((section for section in page.sections if section.anchor == "look"), None)


def test_a_report_shows_what_control_and_treatment_see(
    trained: tuple[Place, Run, Run, Run], compared: tuple[Path, Findings]
) -> None:
    (_, _, alone, taught), (root, found) = trained, compared
    opened = (root / "ledger.jsonl").read_text()
    section = seen_on(found, root)
    assert section is not None
    words = section.blocks[0]
    assert isinstance(words, Words)
    assert (
        f"first 40 held-out images: teacher resnet14, alone (seed 0, {alone.id}), kd (seed 0, {taught.id})."
        in words.text
    )
    assert {block.name for block in section.blocks if isinstance(block, Table)} == {
        "neighbours",
        "attention",
        "followed",
    }
    assert (root / "ledger.jsonl").read_text() == opened


def test_networks_are_asked_once_and_the_page_is_made_again_without_them(
    compared: tuple[Path, Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, found = compared
    kept_in = root / found.folder
    kept_in.mkdir()
    first = seen_on(found, root)
    monkeypatch.setattr(LOOKED, "looked_at", _unasked)
    assert seen_on(found, root) == first is not None
    (kept_in / "look.safetensors").unlink()
    assert seen_on(found, root) is None


def _unasked(*_: object) -> None:
    raise DataError("the data set is not on this machine.")


def test_what_cannot_be_seen_any_more_is_a_line_and_no_section(
    compared: tuple[Path, Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LOOKED, "there", _unasked)
    root, found = compared
    material = collect(found, root)
    assert (
        "What the networks see in the same images is left out: the data set is not on this machine." in material.unread
    )
    assert collect(found, root, with_pictures=False).looked is None


def some(images: int = 3) -> Looked:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, 3, 8, 8), generator=random).to(torch.uint8)
    seen = [Seen(name, name, torch.randn(images, 4), torch.randn(images, 2), torch.rand(images, 2, 2)) for name in "ab"]
    return Looked(Images(pixels, torch.arange(images) % 2, torch.arange(images)), ["x", "y"], seen[0], seen[1:])


def test_what_is_kept_of_other_runs_is_not_shown(tmp_path: Path) -> None:
    looked = some()
    keep(looked, ["one", "other"], tmp_path / "kept.safetensors")
    again = kept(tmp_path / "kept.safetensors", ["one", "other"])
    assert again is not None
    assert again.teacher is not None
    assert torch.equal(again.students[0].pooled, looked.students[0].pooled)
    assert kept(tmp_path / "kept.safetensors", ["one", "third"]) is None
    assert kept(tmp_path / "none.safetensors", ["one", "other"]) is None


@pytest.mark.parametrize("wrong", ["pixels", "labels", "logits", "where"])
def test_a_kept_file_that_cannot_be_drawn_is_as_none(wrong: str, tmp_path: Path) -> None:
    looked, file = some(), tmp_path / "kept.safetensors"
    images, student = looked.images, looked.students[0]
    spoiled = {
        "pixels": replace(looked, images=replace(images, pixels=torch.zeros(len(images), 2, 8, 8, dtype=torch.uint8))),
        "labels": replace(looked, images=replace(images, labels=images.labels + 7)),
        "logits": replace(looked, students=[replace(student, logits=student.logits[:2])]),
        "where": replace(looked, students=[replace(student, where=torch.zeros(3))]),
    }
    keep(spoiled[wrong], ["one"], file)
    assert kept(file, ["one"]) is None


def test_runs_of_one_seed_are_shown_where_both_have_it() -> None:
    control, treatment = (
        [row("report", cell, seed, 50.0) for seed in seeds] for cell, seeds in (("a", (3, 4)), ("b", (5, 4)))
    )
    assert [one.seed for one in one_each(control, treatment) or ()] == [4, 4]
    assert [one.seed for one in one_each(control[:1], treatment) or ()] == [3, 5]
    assert one_each([], treatment) is None


OWN = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes):
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), pooled, nn.Linear(8, num_classes))
"""


def test_a_report_runs_no_code_of_others_to_see_more(tmp_path: Path) -> None:
    """Not even where this machine ran it before."""
    file = tmp_path / "own.py"
    file.write_text(OWN)
    run = train(SMALL | {"model": f"{file}:Net"}, Place(runs=tmp_path / "runs", threads=1, quiet=True))
    with unread(), pytest.raises(ModelError, match="is code, and none is run here"):
        network_of(run)


def test_names_of_classes_do_not_lie_on_each_other() -> None:
    middle = [(0.0, 0.0)]
    drawn = cloud(
        [Cloud("cat", "hue0", middle), Cloud("dog", "hue1", middle), Cloud("far", "hue2", [(1.0, 0.0)])], "it"
    )
    heights = {name: float(up) for up, name in re.findall(r'y="([\d.]+)"[^>]*>(cat|dog|far)</text>', drawn)}
    assert heights["dog"] - heights["cat"] == pytest.approx(10)
    assert heights["far"] == heights["cat"]
