"""What came out of a study: `RUNS/studies/<name>-<hash>/findings.json`, from which alone a report is made.

Accuracies, agreements, calibration errors and differences of them are in percent and percentage points; NLL, Brier and KL
are plain numbers. `Findings.measures` says which is which. A number that is not known is None, never zero.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from protege import runs
from protege.errors import RunError
from protege.runs.keeping.rows import table_html
from protege.study.question.measures import Measure, Part, Scores
from protege.study.question.schema import Values, Which

FORMAT = 1
PartT = TypeVar("PartT", bound=Part)


def as_part(kind: type[PartT], found: object) -> PartT | None:
    """What statistics found, as the part of the findings that has the same fields; None stays so."""
    return None if found is None else kind.model_validate(found, from_attributes=True)


class Interval(Part):
    """Both ends."""

    low: float
    high: float


class Summary(Part):
    """One measure of one cell over its seeds."""

    n: int = Field(description="seeds; a student seed taught by several teachers counts once, with the mean over them")
    mean: float
    sd: float | None = Field(description="of the sample (n - 1); None with one seed")
    interval: Interval | None = Field(description="95 % t-interval of the mean; None with one seed or no spread")
    low: float = Field(description="the lowest seed")
    high: float = Field(description="the highest seed")


class Split(Part):
    """The data that all students of the study are judged by."""

    name: str
    classes: int
    train: int = Field(description="training images of the first planned student; arms may limit theirs")
    heldout: int = Field(description="images that choose; 0 in the literature protocol")
    test: int
    image_size: int = Field(description="side in pixels")
    fingerprint: str = Field(description="of the first planned student's data and split")


class Hardware(Part):
    """One machine that took part."""

    device: str = Field(description="cpu, or the GPU's name")
    processor: str
    threads: tuple[int, ...] = Field(description="thread counts of the runs made there")
    torch: str
    python: str | None = Field(default=None, description="None in findings of an older version, as the two below")
    numpy: str | None = None
    system: str | None = Field(default=None, description="its name, its version and the kind of processor")
    protege: str
    git: str | None = Field(description="revision of the checkout; None for an installed package")
    host: str
    runs: int = Field(description="runs of this study made there")


class NetworkFacts(Part):
    """What a network costs."""

    model: dict[str, Any] = Field(description="its description")
    parameters: int | None = Field(description="trainable, as deployed without what a method adds")
    multiply_adds: int | None = Field(description="of one image; None for a network that could not be traced")


class RunRow(Part):
    """One run in one place of the study. A run that serves several cells has a row in each, with the same id."""

    id: str
    role: Literal["teacher", "select", "report"]
    cell: str = Field(description="key of its cell, or of its teacher (`TeacherFacts.key`)")
    arm: str | None = Field(description="None for a teacher")
    pair: str | None = Field(description="None for a teacher, and in a study without pairs")
    values: Values = Field(description="the varied fields of its configuration; empty where nothing is varied")
    seed: int | None = Field(description="None for a given teacher whose seed is not known")
    teachers: tuple[str, ...] = Field(description="ids of the runs, or names of the files, that taught it")
    state: Literal["finished", "unfinished", "stopped", "diverged", "failed"] = Field(
        description="stopped: a trial of a search that was not worth its end"
    )
    error: str | None = Field(description="of a diverged or failed run, in one line")
    epochs: int | None
    heldout: dict[Which, float] = Field(description="held-out accuracy in percent at the last and at the best epoch")
    best_epoch: int | None = Field(description="counted from 0; None without held-out images")
    test: dict[Which, Scores] = Field(description="empty until the seal is broken, and always for selection runs")
    reference: str | None = Field(description="key of the teacher with which agreement and KL compare")
    parameters: int | None
    seconds: float | None = Field(description="of training")
    device: str | None
    path: str = Field(description="of the run's folder, relative to the folder of runs")


class Cell(Part):
    """One arm of one pair with one configuration: what is reported as one row of a table."""

    key: str = Field(description="unique: arm, pair and (in the literature protocol) varied values")
    label: str = Field(description="for people")
    arm: str
    pair: str | None
    values: Values = Field(
        description="chosen values of varied fields; empty where nothing is varied or not yet chosen"
    )
    method: dict[str, Any] | None = Field(
        description="the method as reported, every field; None while nothing is chosen"
    )
    student: NetworkFacts
    smaller: str = Field(default="", description="from which arm's weights it began, and what was taken away, in words")
    teacher: str | None = Field(description="key of the teacher that taught it; None for a student alone")
    reference: str | None = Field(
        description="key of the teacher with which agreement and KL compare, students alone too"
    )
    alone: bool = Field(description="no teacher took part")
    adds: str = Field(description="what the method adds to the deployed student; 'nothing' for most")
    configurations: int = Field(description="tried to arrive at it; 1: nothing was tuned")
    seeds: tuple[int, ...] = Field(description="finished reporting seeds, in order")
    missing: tuple[int, ...] = Field(description="reporting seeds without a finished run")
    heldout: dict[Which, Summary] = Field(description="held-out accuracy of the reporting runs")
    test: dict[Which, dict[str, Summary]] = Field(
        description="measure -> summary over seeds; empty until the seal is broken"
    )
    seconds: float | None = Field(description="mean training time of a run")

    @property
    def short(self) -> str:
        """Where its pair is said already."""
        return self.label.removesuffix(f": {self.pair}")

    def scores(self, score: Which) -> dict[str, Summary]:
        """By measure."""
        return self.test.get(score, {})


class TeacherFacts(Part):
    """One teacher of the study, over its seeds."""

    key: str
    given: bool = Field(description="brought along, not trained by the study")
    student_of: tuple[str, ...] = Field(description="keys of the teachers that taught it; empty for most")
    network: NetworkFacts
    assign: Literal["rotate", "cross"] = Field(description="rotate: each student seed has one of its seeds; cross: all")
    seeds: tuple[int, ...]
    heldout: dict[Which, Summary] = Field(description="held-out accuracy over its seeds; empty for a given one")
    test: dict[Which, dict[str, Summary]] = Field(
        description="over its seeds; empty until the seal is broken. Of a given one under 'final', whichever epoch it was"
    )
    seconds: float | None = Field(description="mean training time; None for a given one")

    def scores(self, score: Which) -> dict[str, Summary]:
        """By measure. A given one has one score, whichever epoch it was."""
        return self.test.get(score, self.test.get("final", {}))


class Budget(Part):
    """How much tuning an arm of a pair had."""

    arm: str
    pair: str | None
    configurations: int
    runs: int = Field(description="selection runs: configurations x selection seeds")
    epochs: int | None = Field(default=None, description="that they were trained, all together")
    searched: bool = Field(default=False, description="what was tried followed from what was tried before")


class Candidate(Part):
    """One configuration that was tried."""

    values: Values
    scores: dict[int, float | None] = Field(
        description="selection seed -> what chooses, of held-out images; None: diverged or unfinished"
    )
    mean: float | None = Field(description="None: not to be chosen, for a run of it diverged or is not finished")
    sd: float | None
    chosen: bool
    ids: tuple[str, ...]


class Trial(Part):
    """One configuration that a search tried, and how far."""

    number: int
    round: int = Field(description="trials of a round were asked for together")
    state: Literal["due", "waits", "finished", "stopped", "diverged"]
    epochs: int = Field(description="to train; of a stopped one, after which it was stopped")
    score: float | None = Field(description="mean over the seeds; of a stopped one, when it was stopped")
    best: float | None = Field(description="the best score of the trials trained to their end, up to this one")


class Searched(Part):
    """How a search went about it: its trials are the candidates of the selection, in the same order."""

    space: dict[str, str] = Field(description="field -> its range or choices, for people")
    budget: str = Field(description="what it may spend, as every arm of the study that searches")
    trials: tuple[Trial, ...]
    importance: dict[str, float] = Field(
        description="share of each field in what tells the best trials from the others; empty where too few are known"
    )
    seconds: float = Field(description="of training, all trials together")


class Selection(Part):
    """How one cell's configuration was chosen, on held-out images alone."""

    arm: str
    pair: str | None
    cell: str
    measure: str = Field(default="accuracy", description="that chooses, by its mean over the seeds")
    score: Which
    seeds: tuple[int, ...]
    heldout_images: int
    candidates: tuple[Candidate, ...] = Field(description="in the order of the grid")
    chosen: Values | None = Field(description="None: not complete yet")
    spread: float | None = Field(description="sd over configurations, in points")
    standard_error: float | None = Field(description="of one accuracy on so many images, in points")
    luck: float | None = Field(
        description="how far the best leads the mean if all are equally good, in points; None where they are not"
    )
    is_noise: bool | None = Field(description="the spread is no larger than the images' noise")
    sentence: str = Field(description="the verdict on it, for people")
    search: Searched | None = Field(default=None, description="None: all that was tried was named beforehand")


class Grid(Part):
    """Varied values against what they gave in one measure: of the held-out images where one was chosen, of the test set in an ablation."""

    arm: str
    pair: str | None
    split: Literal["heldout", "test"]
    measure: str = Field(default="accuracy", description="what chose; of the test set the accuracy")
    paths: tuple[str, ...] = Field(description="the varied fields")
    points: tuple[tuple[Values, Summary | None], ...] = Field(description="the measure at each point")
    luck: float | None = Field(description="how far the best point leads the mean if all are equally good, in points")


class TTest(Part):
    """One t-test of a difference of means."""

    difference: float
    standard_error: float
    degrees: float
    interval: Interval = Field(description="95 %")
    p: float = Field(description="two-sided, not corrected")


class Equivalence(Part):
    """Two one-sided tests against a margin named in advance."""

    margin: float
    p: float | None
    interval: Interval | None = Field(description="90 %: inside the margin exactly when p < 0.05")
    outcome: Literal["equivalent", "larger than the margin", "undecided", "untested"]


class McNemar(Part):
    """The two networks of one seed on the same test images."""

    seed: int
    only_treatment: int = Field(description="images that the treatment alone got right")
    only_control: int
    images: int
    p: float
    mid_p: float


class Bootstrap(Part):
    """What other test images would say, in points."""

    difference: float
    over_images: Interval = Field(description="these networks on other images, 95 %")
    over_seeds_and_images: Interval | None = Field(description="other networks of these methods on other images, 95 %")
    images: int
    seeds: tuple[int, int]
    draws: int


Population = Literal["seeds", "seeds and teachers", "seeds and images", "seeds, teachers and images"]


class Claim(Part):
    """What is claimed of one difference, for one population: other seeds always, and what else `over` says."""

    over: Population = Field(
        description="other seeds, given these teachers and test images; or over other teachers, other images as well"
    )
    standard_error: float
    degrees: float = Field(description="of freedom, of the spread over seeds or teachers")
    interval: Interval = Field(description="95 %, of this comparison alone")
    simultaneous: Interval = Field(
        description="all of the family hold at once in 95 of 100 studies; leaves out 0 exactly when adjusted_p < 0.05"
    )
    p: float = Field(description="two-sided, not corrected")
    adjusted_p: float = Field(description="corrected for the family, as `simultaneous` is")


class Effect(Part):
    """Treatment minus control in one measure: one member of the family that was named in advance."""

    key: str = Field(description="unique: treatment, control, measure")
    treatment: str = Field(description="key of a cell")
    control: str = Field(description="key of a cell")
    pair: str | None
    measure: str
    score: Which
    primary: bool = Field(description="belongs to the hypothesis that the answer speaks of")
    named: Literal["paired", "welch", "pooled", "teachers"] = Field(
        description="the test that counts, settled in advance: one error for all arms of a student, or by the means of "
        "students that share a teacher; paired and welch where the study's file asks for them"
    )
    seeds: tuple[int, ...] = Field(description="common to both where pairs are compared")
    difference: float | None
    welch: TTest | None
    paired: TTest | None
    correlation: float | None = Field(description="of same-seed results; pairing pays only where it is high")
    adjusted_p: float | None = Field(description="of the named test, corrected over the family")
    family: int = Field(description="comparisons corrected for")
    smallest_detectable: float | None = Field(
        description="true difference that so many seeds find 4 times in 5, about: it hangs on the measured spread"
    )
    smallest_between: Interval | None = Field(
        default=None, description="where that difference lies in 95 of 100 studies, given how well the spread is known"
    )
    claims: tuple[Claim, ...] = Field(
        default=(), description="first the one that `outcome` speaks of; empty in findings of an older version"
    )
    equivalence: Equivalence | None = Field(description="None where no margin was named")
    mcnemar: tuple[McNemar, ...] = Field(description="a test a common seed; of accuracy alone")
    bootstrap: Bootstrap | None = Field(description="of accuracy alone")
    outcome: Literal["higher", "lower", "equivalent", "undecided", "untested", "pending"]
    sentence: str

    @property
    def headline(self) -> Claim | TTest | None:
        """Interval, standard error and p of the test that counts; findings of an older version have no claims."""
        if self.claims:
            return self.claims[0]
        return {"paired": self.paired, "welch": self.welch}.get(self.named)


class Contrast(Part):
    """What a question asks that no single comparison answers: one more member of the family."""

    key: str
    kind: Literal["difference of differences", "among"]
    label: str = Field(description="for people: what is compared")
    cells: tuple[str, ...] = Field(
        description="keys: treatment, control and those of the difference taken away; or all that are compared"
    )
    pair: str | None
    measure: str
    score: Which
    primary: bool
    family: int = Field(description="comparisons corrected for")
    difference: float | None = Field(description="of the two differences; None of several cells")
    claims: tuple[Claim, ...] = Field(description="as of an effect; empty of several cells")
    f: float | None = Field(default=None, description="of several cells: F, with its degrees of freedom")
    degrees: tuple[float, float] | None = None
    p: float | None
    adjusted_p: float | None
    best: str | None = Field(default=None, description="of several cells: key of the best")
    lead: float | None = Field(default=None, description="how far the best leads their mean")
    lead_by_chance: float | None = Field(default=None, description="how far it would if all were equally good")
    lead_in_twenty: float | None = Field(default=None, description="how far or farther in one study of twenty, then")
    outcome: Literal["higher", "lower", "differ", "undecided", "untested", "pending"]
    sentence: str


class Recovery(Part):
    """What publications make of a gain over the student alone. Of means over seeds; a ratio of a small gap means little."""

    cell: str
    control: str = Field(description="key of the student alone")
    teacher: str
    gap_recovered: float | None = Field(
        description="percent of the way from the student alone to its teacher; None where the teacher is no better"
    )
    error_reduction: float | None = Field(description="percent of the wrong answers of the student alone")
    teacher_recovered: float | None = Field(description="percent of the teacher's accuracy")


class PublishedRow(Part):
    """A published figure beside ours."""

    label: str
    arm: str | None
    teacher: str | None
    pair: str | None
    values: Values
    against: str | None = Field(description="an arm: the figure is a difference from it, in points")
    measure: str
    split: Literal["test", "heldout"]
    published: float
    published_sd: float | None
    published_seeds: int | None
    measured: float | None = Field(description="None: not measured yet, or not in this form of the study")
    measured_sd: float | None = Field(description="over seeds; of a difference, that of the differences of same seeds")
    measured_seeds: int | None = Field(description="of a difference: those that both have")
    measured_interval: Interval | None = Field(default=None, description="95 % t-interval of the mean over seeds")
    difference: float | None = Field(description="measured minus published")
    note: str


class Costs(Part):
    """What it was said to take, and what it took."""

    stated: str = Field(description="of the full form, as the study's file says")
    seconds: float = Field(
        description="of training, all finished runs, each counted once; not wall-clock where slots run together"
    )
    teacher_seconds: float
    select_seconds: float
    report_seconds: float
    runs: int = Field(description="distinct runs planned so far")
    finished: int


class Findings(Part):
    """Everything that a report says, from one study."""

    format: Literal[1] = FORMAT
    name: str
    folder: str = Field(description="of the study, relative to the folder of runs")
    question: str
    answer: str = Field(description="one sentence about the primary hypothesis")
    complete: bool = Field(description="every run is finished, chosen and unsealed")
    scale: Literal["full", "reduced"]
    protocol: Literal["heldout", "literature"]
    score: Which = Field(description="which epoch's score counts: named in the study, before looking")
    differs: str = Field(default="", description="how a reduced form differs from the full one, if its file says so")
    differences: tuple[str, ...] = Field(default=(), description="all of them, computed from the two forms")
    notes: tuple[str, ...] = Field(description="what differs from the publication")
    warnings: tuple[str, ...] = Field(description="what weakens the conclusions, to be printed beside them")
    data: Split
    select_seeds: tuple[int, ...]
    report_seeds: tuple[int, ...]
    measures: tuple[Measure, ...]
    budgets: tuple[Budget, ...]
    teachers: tuple[TeacherFacts, ...]
    cells: tuple[Cell, ...] = Field(description="in the order of the study's file")
    effects: tuple[Effect, ...] = Field(description="the family, in the order named")
    contrasts: tuple[Contrast, ...] = Field(default=(), description="of the same family, in the order named")
    over: str = Field(default="", description="what the outcomes speak of, in words: other seeds, these teachers, ...")
    recoveries: tuple[Recovery, ...] = ()
    selections: tuple[Selection, ...]
    grids: tuple[Grid, ...]
    published: tuple[PublishedRow, ...]
    runs: tuple[RunRow, ...]
    ledger: tuple[dict[str, Any], ...] = Field(description="every reading of the test set by a run of this study")
    hardware: tuple[Hardware, ...]
    commands: tuple[str, ...] = Field(description="that make these findings again, from nothing")
    costs: Costs
    study: dict[str, Any] = Field(
        description="the study's file as it was read, reduced where it was; without what has its default"
    )
    made: str = Field(description="when")

    def measure(self, name: str) -> Measure:
        return next(one for one in self.measures if one.name == name)

    def cell(self, key: str) -> Cell:
        return next(cell for cell in self.cells if cell.key == key)

    def rows(self) -> list[dict[str, Any]]:
        """A flat row for each run, as `pandas.DataFrame(findings.rows())` takes them: its place in the study, what was varied,
        and its scores at the epoch that counts (`heldout` accuracy, then measures of the test set; percent)."""
        apart = {"values", "heldout", "test"}
        return [
            row.model_dump(mode="json", exclude=apart)
            | dict(row.values)
            | {"heldout": row.heldout.get(self.score)}
            | dict(row.test.get(self.score, {}))
            for row in self.runs
        ]

    def _repr_html_(self) -> str:
        """The answer, and the arms' test accuracy, for notebooks."""
        said = [(cell.label, cell.scores(self.score).get("accuracy")) for cell in self.cells]
        known = [
            (label, f"{one.mean:.2f}", "-" if one.sd is None else f"{one.sd:.2f}", one.n) for label, one in said if one
        ]
        return table_html(("arm", "test accuracy %", "sd", "seeds"), known, self.answer)

    def runs_of(self, cell: str, role: str = "report") -> list[RunRow]:
        """The runs of a cell or a teacher."""
        return [row for row in self.runs if row.cell == cell and row.role == role]


def read(path: Path) -> Findings:
    """The findings of a study's folder, or of the file itself."""
    file = path / "findings.json" if path.is_dir() else path
    try:
        return Findings.model_validate(runs.read_json(file))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise RunError(
            f"{file} does not hold findings of a study that this version can read: {place}: {first['msg']}."
        ) from error


def write(path: Path, findings: Findings) -> None:
    runs.write_json(path, findings.model_dump(mode="json"))


def outcome(findings: Findings) -> dict[str, Any]:
    """What the same study gives again on the same hardware, to the bit: without dates, durations and machines."""
    kept = findings.model_dump(mode="json", exclude={"made", "hardware", "commands", "costs", "ledger"})
    for row in [*kept["runs"], *kept["cells"], *kept["teachers"]]:
        row.pop("seconds")
    return kept
