"""The benchmark: the reference really trains, tables add up, figures say what they show. How quick anything is, is not tested."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
import torch
from torch import nn

from protege import data
from protege.cli import bench as verb
from protege.errors import ConfigError
from protege.models import build
from protege.models.config import ModelConfig
from protege.models.measure import multiply_adds
from protege.teacher import speaking
from protege.train import loop, step
from protege.train.bench import conduct, reference, tables
from protege.train.bench.conduct import Plan, measure, passes_within, rounds_within
from protege.train.bench.limits import Cost, Product, Rates, cost, limit
from protege.train.bench.messages import Facts, Reply, Request, Took
from protege.train.bench.ours import Ours
from protege.train.bench.outcome import Load, Outcome, Row, factors
from protege.train.bench.prepare import fresh, prepare, stand_in
from protege.train.bench.process import answers
from protege.train.bench.theirs import Theirs, pictures_of
from protege.train.bench.variants import Arithmetic, Pair, Setting, Variant, What, variants
from protege.train.bench.written import write
from protege.views import normalise

PAIR = Pair(teacher="resnet14", student="resnet8", batch_size=32)
RATES = Rates(fp32=1e9, bf16=4e9, fp32_3x3=2e9, bf16_3x3=3e9, copy_bytes=1e9)


# ---- the reference loop ----


@pytest.fixture(scope="module")
def few() -> data.Splits:
    return data.load(data.DataConfig(name="cifar10-mini", limit=128, heldout=0))


@pytest.fixture(scope="module")
def weights(few: data.Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    images = normalise(few.train.pixels[:16], few.mean, few.std)
    return stand_in(fresh("resnet14", 10), images, tmp_path_factory.mktemp("bench") / "teacher.pth")


def losses(
    loss: reference.Loss, student: nn.Module, few: data.Splits, steps: int, extra: nn.Module | None = None
) -> list[float]:
    """Mean loss of the epoch so far, after each step; an epoch is 4 steps."""
    loader = reference.loader_of(pictures_of(few), 32, 0, torch.device("cpu"))
    trained = [*student.parameters(), *(extra.parameters() if extra else [])]
    optimizer = reference.sgd(trained, 0.05)
    return [mean for _, mean in islice(reference.steps(student, loss, loader, optimizer, torch.device("cpu")), steps)]


def test_the_reference_learns_labels(few: data.Splits) -> None:
    seen = losses(reference.supervised_loss(student := fresh("resnet8", 10)), student, few, 24)
    assert seen[23] < 0.9 * seen[3]


def test_the_reference_learns_from_its_teacher(few: data.Splits, weights: Path) -> None:
    """A teacher with opinions: the labels have a tenth of the weight, so most of what is lost is what it said."""
    student, teacher = fresh("resnet8", 10), opinionated(weights)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    seen = losses(reference.logit_kd_loss(student, teacher), student, few, 24)
    assert seen[3] - seen[23] > 0.1 * math.log(10)  # more than the labels could take away
    assert all(value.equal(before[name]) for name, value in teacher.state_dict().items())


def opinionated(weights: Path) -> nn.Module:
    teacher = fresh("resnet14", 10).eval()
    known = torch.load(weights, weights_only=True)
    teacher.load_state_dict({**known, "fc.weight": 30 * known["fc.weight"]})
    return teacher


def test_the_references_feature_loss_brings_maps_together(few: data.Splits, weights: Path) -> None:
    student, teacher = fresh("resnet8", 10), opinionated(weights)
    stages = [("layer2", "layer2"), ("layer3", "layer3")]
    loss = reference.FeatureKD(student, teacher, stages, [(32, 32), (64, 64)])
    seen = losses(loss, student, few, 12, loss)
    assert seen[11] < seen[3]


def test_the_references_images_are_crops_of_the_padded_image_on_the_same_scale(few: data.Splits) -> None:
    """A white image stays white where it is not padding, and padding is black before normalising, as in ours."""
    from PIL import Image

    transform = reference.TrainingTransform(32, few.mean, few.std)
    seen = transform(Image.new("RGB", (32, 32), (255, 255, 255)))
    white, black = (
        (torch.tensor([level] * 3) - torch.tensor(few.mean)) / torch.tensor(few.std) for level in (1.0, 0.0)
    )
    columns = seen.flatten(1).T
    assert all(torch.allclose(pixel, white) or torch.allclose(pixel, black) for pixel in columns.unique(dim=0))
    assert sum(bool(torch.allclose(pixel, white)) for pixel in columns) >= 28 * 28


# ---- both loops, held open ----


def way(**fields: Any) -> Variant:
    return Variant.model_validate({"name": "way", "method": "kd", **fields})


@pytest.mark.parametrize(("known", "asked"), [(0.0, 250), (0.5, 250), (1.0, 0)])
def test_the_teacher_looks_at_what_its_memory_does_not_know(
    known: float, asked: int, weights: Path, tmp_path: Path
) -> None:
    """In every pass again, however many there were; its batch is always full, for it pays for whole ones."""
    ours = Ours(PAIR, Setting(folder=tmp_path, threads=1), way(known=known, in_asks=True), weights)
    assert [ours.passed(1).asked for _ in range(2)] == [asked, asked]
    assert ours.images == (500 if known == 0.5 else 250)


def test_ours_trains_in_the_arithmetic_and_layout_that_a_way_names(weights: Path, tmp_path: Path) -> None:
    both = Arithmetic(student="bf16", teacher="bf16")
    lower = Ours(PAIR, Setting(folder=tmp_path, threads=1), way(arithmetic=both), weights).training
    assert lower.arithmetic.student == "bf16"
    assert lower.teacher is not None and lower.teacher.voices[0].precision == "bf16"
    convolution = lower.state.learner.student.get_submodule("module.layer2.0.conv2")
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_plain_layout_is_plain_in_weights_and_images(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replaces what makes images for both networks, in a process that ends with it; here it is put back."""
    for module in (loop, step, speaking):
        monkeypatch.setattr(module, "normalise", normalise)
    training = Ours(PAIR, Setting(folder=tmp_path, threads=1), way(channels_last=False), weights).training
    convolution = training.state.learner.student.get_submodule("module.layer2.0.conv2")
    assert isinstance(convolution, nn.Conv2d) and convolution.weight.is_contiguous()
    for module in (loop, step, speaking):
        images = vars(module)["normalise"](training.images.pixels[:2], (0.5,) * 3, (0.5,) * 3)
        assert images.is_contiguous()


@pytest.mark.parametrize("method", ["kd", "feature", "reviewkd"])
def test_a_pass_of_the_reference_is_a_step(method: Any, weights: Path, tmp_path: Path) -> None:
    """Strong or not."""
    setting = Setting(folder=tmp_path, threads=1, loader_workers=0)
    for one in variants(method, Arithmetic())[:3:2]:
        assert Theirs(PAIR, setting, one, weights).passed(3).images == 96


def test_the_strong_reference_computes_in_bf16_with_channels_last(weights: Path, tmp_path: Path) -> None:
    seen = []

    def loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append((torch.get_autocast_dtype("cpu"), images.is_contiguous(memory_format=torch.channels_last)))
        assert torch.is_autocast_enabled("cpu")
        return images.sum()

    reference.in_bf16(loss)(torch.ones(2, 3, 4, 4), torch.zeros(2))
    assert seen == [(torch.bfloat16, True)]
    strong = variants("alone", Arithmetic())[2]
    assert (strong.allocator, strong.channels_last, strong.arithmetic.teacher) == (True, True, "bf16")


def test_what_goes_wrong_is_an_answer(tmp_path: Path) -> None:
    odd = Pair(teacher="resnet14", student="no_such_network", batch_size=8)
    request = Request(verb="prepare", setting=Setting(folder=tmp_path, threads=1), pair=odd)
    (reply,) = answers([request, request])
    assert "no_such_network" in reply.problem


# ---- what is compared ----


@pytest.mark.parametrize("what", ["alone", "kd", "feature", "reviewkd", "slots"])
@pytest.mark.parametrize("arithmetic", [Arithmetic(), Arithmetic(student="bf16", teacher="fp32")])
def test_each_way_differs_in_one_thing_from_one_before_it(what: Any, arithmetic: Arithmetic) -> None:
    ways = variants(what, arithmetic, execution="compiled")
    names = [one.name for one in ways]
    assert len(set(names)) == len(names)
    assert ways[0].to == "" and all(one.to in names[:place] for place, one in enumerate(ways) if one.to)
    fields = {
        "allocator": "allocator",
        "layout": "channels_last",
        "precision": "arithmetic",
        "compile": "execution",
        "memory": "known",
    }
    for one in ways:
        if one.adds in fields:
            before = ways[names.index(one.to)]
            unlike = {name for name in Variant.model_fields if getattr(one, name) != getattr(before, name)}
            assert unlike - {"name", "adds", "to"} == {fields[one.adds]}


def test_a_student_alone_does_not_get_quicker_by_its_teachers_arithmetic() -> None:
    lower = Arithmetic(student="fp32", teacher="bf16")
    assert "precision" not in [one.adds for one in variants("alone", lower)]
    assert "precision" in [one.adds for one in variants("feature", lower)]


# ---- limits ----


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2"])
def test_flops_are_twice_the_multiply_adds(name: str) -> None:
    """Also with depthwise convolutions, whose groups do not talk to each other."""
    counted = cost(build(ModelConfig(name=name), 10), 32, 4)
    assert counted.flops == pytest.approx(2 * multiply_adds(build(ModelConfig(name=name), 10), 32), rel=1e-3)
    assert counted.products[0].spatial and not counted.products[-1].spatial


def test_the_limit_is_the_slower_of_product_and_copy_layer_by_layer() -> None:
    """Student: 1 s of products and 2 s of copying forward; three times that, but the first layer once less. Teacher: 4 s."""
    student = Cost(products=(Product(flops=1e9, numbers=1), Product(flops=1, numbers=0.5e9)))
    teacher = Cost(products=(Product(flops=4e9, numbers=1),))
    assert limit(way(method="supervised"), student, teacher, RATES) == pytest.approx(1 / (3 * 3 - 1))
    assert limit(way(known=0.5), student, teacher, RATES) == pytest.approx(1 / (8 + 2))
    assert Product(flops=4e9, numbers=1, spatial=True).flops / RATES.of("fp32", spatial=True) == 2.0
    assert RATES.of("bf16", spatial=True) == 4e9  # the product is the quicker one there
    lower = Arithmetic(student="bf16", teacher="bf16")
    assert limit(way(known=0.5, arithmetic=lower), student, teacher, RATES) == pytest.approx(
        1 / (3 * 1.25 - 0.25 + 0.5)
    )


# ---- tables ----


def outcome_of(speeds: dict[str, tuple[float, ...]], **fields: Any) -> Outcome:
    """Of logit-KD, with speeds made up; the first name is the reference."""
    ways = {one.name: one for one in variants("kd", Arithmetic(student="bf16", teacher="bf16"))}
    against = speeds["reference"]
    rows = [
        Row(
            pair=PAIR,
            what="kd",
            variant=ways[name],
            images_per_second=seen,
            against=against,
            limit=1000.0,
            peak_memory=5 * 10**8,
        )
        for name, seen in speeds.items()
    ]
    known: dict[str, Any] = {
        "command": "protege bench", "date": "2026-01-02", "environment": {"processor": "Some CPU", "cores": 2, "torch": "2.13"},
        "setting": Setting(folder=Path(), threads=2), "rounds": 3, "minutes": 1.0, "load": Load(before=0.1, seen=(1.0, 2.0)),
        "rates": RATES, "rows": tuple(rows),
    }  # fmt: skip
    return Outcome.model_validate(known | fields)


SPEEDS = {
    "reference": (100.0, 90.0, 110.0),
    "reference + allocator": (120.0, 130.0, 110.0),
    "reference, strong": (240.0, 250.0, 230.0),
    "ours, plain": (150.0, 150.0, 150.0),
    "ours, plain + layout": (210.0, 200.0, 180.0),
    "ours": (300.0, 330.0, 270.0),
    "ours, half remembered": (400.0, 400.0, 400.0),
    "ours, remembered": (600.0, 630.0, 570.0),
    "ours, student alone": (610.0, 620.0, 600.0),
}


def test_the_factors_of_a_gain_multiply_to_it() -> None:
    """1.2 x 1.25 x 4/3 x 1.5 x 2 = 6."""
    outcome = outcome_of(SPEEDS)
    found = factors(outcome.rows, "ours, remembered")
    assert [factor.adds for factor in found] == ["allocator", "loop", "layout", "precision", "memory"]
    assert [factor.gain for factor in found] == pytest.approx([1.2, 1.25, 4 / 3, 1.5, 2.0])
    row = outcome.row(PAIR, "kd", "ours, remembered")
    assert row is not None and row.ratio == pytest.approx(6.0)
    assert "memory x 2.00; together x 6.00" in tables.markdown(outcome)


def test_a_row_shows_median_extremes_ratio_and_share_of_the_limit() -> None:
    text = tables.markdown(outcome_of(SPEEDS))
    assert "| ours | 300 | (270, 330) | 3 | 3.00 | (2.45, 3.67) | 1.25 | 30 % | bf16 | 0.50 GB |" in text


def test_what_was_not_measured_says_why_and_breaks_no_sum() -> None:
    outcome = outcome_of(SPEEDS)
    lost = Row(pair=PAIR, what="kd", variant=outcome.rows[5].variant, problem="the process was killed")
    outcome = outcome.model_copy(update={"rows": (*outcome.rows[:5], lost, *outcome.rows[6:])})
    text = tables.markdown(outcome)
    assert "not measured: the process was killed" in text
    assert "together x" not in text and "nan" not in text


def test_a_busy_machine_is_said_to_be_one() -> None:
    assert "not quiet" not in tables.markdown(outcome_of(SPEEDS))
    assert "not quiet" in tables.markdown(outcome_of(SPEEDS, load=Load(before=3.2)))


def test_slots_add_up_in_the_time_of_the_slowest() -> None:
    assert conduct.together([Took(images=100, seconds=1.0), Took(images=100, seconds=2.0)]) == 100.0


# ---- time ----


def test_rounds_are_alike_in_length_and_fit_the_time() -> None:
    passes = passes_within([0.1, 1.0, 4.0], rounds=5, available=40.0)
    assert passes[2] == 1 and passes[0] > passes[1] >= 1
    assert 5 * (0.1 * passes[0] + 1.0 * passes[1] + 4.0 * passes[2]) <= 40.0


def test_rounds_are_given_up_only_for_want_of_time_and_never_below_three() -> None:
    assert rounds_within([1.0, 1.0], rounds=5, available=100.0) == 5
    assert rounds_within([1.0, 1.0], rounds=5, available=8.0) == 4
    assert rounds_within([1.0, 1.0], rounds=5, available=1.0) == 3
    assert rounds_within([1.0, 1.0], rounds=1, available=1.0) == 1


# ---- files and the command ----


def test_the_files_are_named_for_hardware_and_date(tmp_path: Path) -> None:
    outcome = outcome_of(SPEEDS)
    figures, text = write(outcome, tmp_path, "speed", "\nmore\n")
    assert figures.name == "speed_2-threads-some-cpu_2026-01-02.json"
    assert Outcome.model_validate_json(figures.read_text()) == outcome
    assert "more" in text.read_text()


def test_a_whole_measurement_in_processes_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plan = Plan(groups=((PAIR, "alone"),), only=("reference", "ours"), rounds=2, minutes=0.01)
    outcome = measure(plan, Setting(folder=tmp_path, threads=1, loader_workers=0, compile=False), quiet=True)
    assert [row.variant.name for row in outcome.rows] == ["reference", "ours"]
    for row in outcome.rows:
        assert not row.problem
        assert len(row.images_per_second) == 2 and row.speed > 0
        assert row.fraction > 0 and row.peak_memory > 10**7


@pytest.mark.parametrize(("asked", "expected"), [(None, "graphs"), (True, "compiled"), (False, "eager")])
def test_students_are_compiled_where_it_pays_unless_one_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool | None, expected: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("protege.train.bench.prepare.quickest_execution", lambda *_: "graphs")
    facts = prepare(PAIR, Setting(folder=tmp_path, threads=1, compile=asked))
    assert facts.execution == expected
    last = variants("alone", facts.arithmetic, execution=facts.execution)[-1]
    assert (last.name, last.execution) == ("ours", expected)


class Scripted:
    """Instead of a process: every way takes a second a pass, but for those that cannot be opened."""

    impossible: ClassVar[set[str]] = set()
    opened: ClassVar[list[str]] = []

    def __init__(self, log: Path) -> None:
        self.said: list[Request] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def dismiss(self) -> None: ...

    def tell(self, request: Request) -> None:
        self.said.append(request)

    def ask(self, request: Request) -> Reply:
        self.tell(request)
        return self.hear()

    def hear(self) -> Reply:
        request = self.said.pop(0)
        if request.verb == "prepare":
            one = Cost(products=(Product(flops=1e6, numbers=1e3),))
            return Reply(
                facts=Facts(arithmetic=Arithmetic(), weights=Path("w"), student=one, teacher=one), environment={}
            )
        if request.verb == "rates":
            return Reply(rates=RATES)
        if request.verb == "open" and request.variant:
            self.opened.append(request.variant.name)
            if request.variant.name in self.impossible:
                return Reply(problem="ShapeMismatch: no stage is shared")
        return Reply(took=Took(images=100 * request.passes, seconds=1.0 * request.passes), peak_memory=10**9)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    monkeypatch.setattr(conduct, "Process", Scripted)
    monkeypatch.setattr(Scripted, "impossible", set())
    monkeypatch.setattr(Scripted, "opened", [])
    return Scripted


def test_a_way_that_cannot_be_is_a_row_and_the_others_go_on(scripted: type[Scripted]) -> None:
    scripted.impossible = {"ours, plain"}
    outcome = measure(Plan(groups=((PAIR, "feature"),), rounds=4), Setting(threads=1), quiet=True)
    lost = outcome.row(PAIR, "feature", "ours, plain")
    assert lost is not None and "no stage is shared" in lost.problem
    assert [len(row.images_per_second) for row in outcome.rows if row is not lost] == [4, 4, 4, 4]


def test_without_the_first_way_there_are_speeds_but_no_ratios(scripted: type[Scripted]) -> None:
    scripted.impossible = {"reference"}
    outcome = measure(Plan(groups=((PAIR, "alone"),), rounds=3), Setting(threads=1), quiet=True)
    assert [row.against for row in outcome.rows] == [()] * 5
    assert "ours" in tables.markdown(outcome)


def test_where_memory_is_short_the_reference_takes_part_again(
    scripted: type[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fits beside two: each other way is measured beside the reference, and every way is one row."""
    monkeypatch.setattr(conduct, "free_memory", lambda: 0)
    outcome = measure(Plan(groups=((PAIR, "alone"),), rounds=3), Setting(threads=1), quiet=True)
    names = [row.variant.name for row in outcome.rows]
    assert names == ["reference", "reference + allocator", "reference, strong", "ours, plain", "ours"]
    assert scripted.opened == [name for other in names[1:] for name in ("reference", other)]
    assert all(row.ratio == 1.0 for row in outcome.rows)


def test_slots_share_out_the_threads(scripted: type[Scripted]) -> None:
    groups: tuple[tuple[Pair, What], ...] = ((PAIR, "kd"), (PAIR, "slots"))
    outcome = measure(Plan(groups=groups, rounds=3, slots=(1, 2)), Setting(threads=2), quiet=True)
    two = outcome.row(PAIR, "slots", "2 slots")
    assert two is not None and two.ratio == 2.0 and two.peak_memory == 2 * 10**9
    assert scripted.opened[-3:] == ["1 slot", "2 slots", "2 slots"]


def test_mistakes_of_the_command_are_said_before_any_work() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'feature'"):
        verb.parse_whats("alone,featur")
    with pytest.raises(ConfigError, match="1,2,4"):
        verb.parse_slots("two")
    assert verb.parse_slots("4,2") == (1, 2, 4)
    assert verb.parse_whats("kd, alone,kd") == ("alone", "kd")
