"""Findings and folders of runs made by hand, for tests of the report: small, awkward, or large."""

from __future__ import annotations

import json
import statistics
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from record_cases import run_record

from protege import stats
from protege.study.findings import (
    Bootstrap,
    Budget,
    Candidate,
    Cell,
    Costs,
    Effect,
    Findings,
    Grid,
    Hardware,
    Interval,
    McNemar,
    NetworkFacts,
    PublishedRow,
    RunRow,
    Scores,
    Selection,
    Split,
    Summary,
    TeacherFacts,
    TTest,
)
from protege.study.findings.answer import answer
from protege.study.findings.summaries import summary_of
from protege.study.question.measures import MEASURES

GPU = "NVIDIA H200"
CLASSES = ("airplane", "bird <b>", "cat & dog")
NASTY = "<script>alert('x')</script> & 50% of $x_1$ #{~^}\\ |`*"
FORMULA = '=HYPERLINK("a")'


def scores(accuracy: float, agreement: float | None = 90.0) -> Scores:
    return Scores(
        accuracy=accuracy,
        top5=None,
        nll=2.0 - accuracy / 100,
        brier=0.5,
        ece=3.25,
        temperature=1.5,
        scaled_nll=0.9,
        scaled_ece=1.125,
        agreement=agreement,
        kl_t1=0.25 if agreement else None,
        kl_t4=0.03125 if agreement else None,
    )


def row(role: str, cell: str, seed: int, accuracy: float | None, **fields: Any) -> RunRow:
    """A finished run with this test accuracy; None: a run that failed."""
    done = accuracy is not None
    made: dict[str, Any] = {
        "id": f"{role}-{zlib.crc32(repr((cell, fields)).encode()):08x}-{seed}",
        "role": role,
        "cell": cell,
        "arm": None if role == "teacher" else cell,
        "pair": None,
        "values": {},
        "seed": seed,
        "teachers": (),
        "state": "finished" if done else "failed",
        "error": None if done else f"out of memory {NASTY}",
        "epochs": 12 if done else None,
        "heldout": {"final": accuracy - 1, "best": accuracy - 0.5} if done else {},
        "best_epoch": 10 if done else None,
        "test": {"final": scores(accuracy), "best": scores(accuracy + 0.25)} if done and role != "select" else {},
        "reference": "big",
        "parameters": 78_042,
        "seconds": 100.0 + seed if done else None,
        "device": GPU,
    }
    made |= fields
    return RunRow(path=made["id"], **made)


def summaries(rows: Sequence[RunRow]) -> dict[Any, dict[str, Summary]]:
    found: dict[Any, dict[str, Summary]] = {}
    for which in ("final", "best"):
        for name in MEASURES:
            values = [one.test[which].get(name) for one in rows if which in one.test]
            summed = summary_of([value for value in values if value is not None])
            if summed is not None:
                found.setdefault(which, {})[name] = summed
    return found


def heldout(rows: Sequence[RunRow]) -> dict[Any, Summary]:
    found = {
        which: summary_of([one.heldout[which] for one in rows if which in one.heldout]) for which in ("final", "best")
    }
    return {which: one for which, one in found.items() if one is not None}


def network(model: str, parameters: int, multiply_adds: int | None) -> NetworkFacts:
    return NetworkFacts(model={"name": model}, parameters=parameters, multiply_adds=multiply_adds)


def cell(name: str, rows: Sequence[RunRow], **fields: Any) -> Cell:
    done = [one for one in rows if one.state == "finished"]
    made: dict[str, Any] = {
        "label": name,
        "arm": name,
        "pair": None,
        "values": {},
        "method": {"name": "kd"},
        "student": network("resnet8", 78_042, 12_501_632),
        "teacher": None if name == "alone" else "big",
        "reference": "big",
        "alone": name == "alone",
        "adds": "nothing",
        "configurations": 1,
        "seconds": statistics.fmean([one.seconds or 0.0 for one in done]) if done else None,
    }
    return Cell(
        key=name,
        seeds=tuple(one.seed for one in done if one.seed is not None),
        missing=tuple(one.seed for one in rows if one.state != "finished" and one.seed is not None),
        heldout=heldout(done),
        test=summaries(done),
        **(made | fields),
    )


def effect(treatment: Sequence[float], control: Sequence[float], name: str, against: str, **fields: Any) -> Effect:
    found = stats.effect(treatment, control, paired=True)
    verdict = stats.verdict(found, names=(f"The accuracy of {name}", f"that of {against}"))
    t_test = None
    if (test := found.test) is not None:
        ends = Interval(low=test.interval.low, high=test.interval.high)
        t_test = TTest(
            difference=test.difference,
            standard_error=test.standard_error,
            degrees=test.degrees,
            interval=ends,
            p=test.p,
        )
    made: dict[str, Any] = {
        "pair": None,
        "measure": "accuracy",
        "score": "final",
        "primary": True,
        "named": "paired",
        "seeds": tuple(range(len(treatment))),
        "difference": found.difference,
        "welch": t_test,
        "paired": t_test,
        "correlation": None,
        "adjusted_p": t_test.p if t_test else None,
        "family": 1,
        "smallest_detectable": 0.5 if t_test else None,
        "equivalence": None,
        "mcnemar": (McNemar(seed=0, only_treatment=30, only_control=12, images=2000, p=0.008, mid_p=0.006),),
        "bootstrap": Bootstrap(
            difference=found.difference,
            over_images=Interval(low=-0.5, high=2.5),
            over_seeds_and_images=None,
            images=2000,
            seeds=(len(treatment), len(control)),
            draws=2000,
        ),
        "outcome": verdict.outcome,
        "sentence": verdict.sentence,
    }
    key = f"{name} - {against} in accuracy"
    return Effect(key=key, treatment=name, control=against, **(made | fields))


TEACHER = (80.0, 80.5)
ALONE = (70.0, 70.5, 71.25)
TAUGHT = (72.0, 72.25, 73.5)


def findings(arms: Mapping[str, Sequence[float | None]] | None = None, **fields: Any) -> Findings:
    """A teacher of two seeds, `alone`, and taught arms (one, unless others are given: accuracies by seed, None failed)."""
    arms = arms or {"alone": ALONE, "kd": TAUGHT}
    teachers = [row("teacher", "big", seed, value, reference=None) for seed, value in enumerate(TEACHER)]
    reported = {
        name: [row("report", name, seed, value) for seed, value in enumerate(values)] for name, values in arms.items()
    }
    select = [row("select", "kd", 100, value, values={"method.temperature": t}) for t, value in ((1, 68.0), (4, 69.0))]
    cells = [cell(name, rows) for name, rows in reported.items()]
    known = {name: [one for one in values if one is not None] for name, values in arms.items()}
    effects = [
        effect(values, known["alone"][: len(values)], name, "alone")
        for name, values in known.items()
        if name != "alone" and "alone" in known and 0 < len(values) <= len(known["alone"])
    ]
    rows = [*teachers, *select, *(one for those in reported.values() for one in those)]
    made: dict[str, Any] = {
        "name": "tiny",
        "folder": "studies/tiny-01234567",
        "question": "does it help?",
        "answer": answer(effects),
        "complete": True,
        "scale": "full",
        "protocol": "heldout",
        "score": "final",
        "notes": ("ten epochs instead of two hundred",),
        "warnings": ("One seed alone selects: its noise is not known.",),
        "data": Split(
            name="cifar10-mini",
            classes=3,
            train=600,
            heldout=200,
            test=2000,
            image_size=32,
            fingerprint="f" * 16,
        ),
        "select_seeds": (100,),
        "report_seeds": tuple(range(max(map(len, arms.values())))),
        "measures": tuple(MEASURES.values()),
        "budgets": (Budget(arm="kd", pair=None, configurations=2, runs=2),),
        "effects": tuple(effects),
        "selections": (_selection(select),),
        "grids": (_grid(),),
        "published": (_published(statistics.fmean(known.get("kd") or [70.0])),),
        "ledger": ({"time": "2026-01-01T00:00:00+0000", "run": rows[-1].id, "images": 2000, "user": "me"},),
        "hardware": (
            Hardware(
                device=GPU,
                processor="AMD EPYC",
                threads=(1,),
                torch="2.13.0",
                python="3.12.1",
                numpy="2.4.6",
                system="Linux 6.1 x86_64",
                protege="0.1.0",
                git=None,
                host="here",
                runs=len(rows),
            ),
        ),
        "commands": ("protege study run tiny.yaml",),
        "costs": Costs(
            stated="2 hours on one H200",
            seconds=900.0,
            teacher_seconds=300.0,
            select_seconds=200.0,
            report_seconds=400.0,
            runs=len(rows),
            finished=sum(one.state == "finished" for one in rows),
        ),
        "study": {"question": "does it help?"},
        "made": "2026-01-01T12:00:00+0000",
    }
    facts = TeacherFacts(
        key="big",
        given=False,
        student_of=(),
        network=network("resnet20", 272_474, 41_000_000),
        assign="rotate",
        seeds=(0, 1),
        heldout=heldout(teachers),
        test=summaries(teachers),
        seconds=300.0,
    )
    return Findings(teachers=(facts,), cells=tuple(cells), runs=tuple(rows), **(made | fields))


def _selection(select: Sequence[RunRow]) -> Selection:
    candidates = tuple(
        Candidate(
            values=one.values,
            scores={100: one.heldout["final"]},
            mean=one.heldout["final"],
            sd=None,
            chosen=one.values["method.temperature"] == 4,
            ids=(one.id,),
        )
        for one in select
    )
    return Selection(
        arm="kd",
        pair=None,
        cell="kd",
        score="final",
        seeds=(100,),
        heldout_images=200,
        candidates=candidates,
        chosen={"method.temperature": 4},
        spread=0.7,
        standard_error=3.2,
        luck=0.5,
        is_noise=True,
        sentence="the choice is mostly noise.",
    )


def _grid() -> Grid:
    points = tuple(({"method.temperature": t}, summary_of([value])) for t, value in ((1, 67.0), (4, 68.0)))
    return Grid(arm="kd", pair=None, split="heldout", paths=("method.temperature",), points=points, luck=0.5)


def _published(measured: float) -> PublishedRow:
    return PublishedRow(
        label="kd",
        arm="kd",
        teacher=None,
        pair=None,
        values={},
        against=None,
        measure="accuracy",
        split="test",
        published=73.07,
        published_sd=None,
        published_seeds=None,
        measured=measured,
        measured_sd=0.5,
        measured_seeds=3,
        measured_interval=Interval(low=measured - 1, high=measured + 1),
        difference=measured - 73.07,
        note="the first of its tables",
    )


def awkward() -> Findings:
    """Names that are markup, formulas and LaTeX; one seed; failed runs; values that nobody knows."""
    arms: dict[str, Sequence[float | None]] = {"alone": ALONE, NASTY: TAUGHT, FORMULA: (71.0,), "lost": (None, None)}
    made = findings(arms, question=f"does {NASTY} help?", notes=(NASTY,), warnings=(NASTY,), commands=(NASTY,))
    unknown = made.teachers[0].model_copy(update={"network": network("?", 1, None), "seconds": None, "given": True})
    return made.model_copy(update={"teachers": (unknown,)})


def many_arms() -> Findings:
    """Forty arms of five seeds: two hundred runs and more."""
    arms = {f"arm {number}": tuple(70 + number / 10 + seed / 7 for seed in range(5)) for number in range(39)}
    return findings({"alone": (70.0, 70.5, 71.25, 70.75, 70.125), **arms})


# ---- folders of runs ----


def write_runs(found: Findings, root: Path, epochs: int = 12) -> None:
    """What training and evaluation would have left of the finished runs; no weights and no logits."""
    for one in found.runs:
        if one.state == "finished":
            _write_run(one, root / one.path, epochs)


def _write_run(one: RunRow, folder: Path, epochs: int) -> None:
    (folder / "evaluations").mkdir(parents=True)
    seed = one.seed or 0
    lines = [
        {
            "epoch": epoch,
            "terms": {"labels": 2.0 / (epoch + 1), "teacher": 0.5 + seed / 10},
            "train_accuracy": 0.5 + epoch / 100,
            "lr": 0.1,
            "heldout_accuracy": 0.4 + epoch / 100 + seed / 50,
            "heldout_nll": 1.5 - epoch / 100,
        }
        for epoch in range(epochs)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = run_record(one.id, {"classes": CLASSES})
    (folder / "run.json").write_text(json.dumps(record))
    if one.test:
        scored = evaluation(seed)
        found = {"run": one.id, "split": "test", "images": 30, "teachers": [], "final": scored, "best": scored}
        (folder / "evaluations" / "test.json").write_text(json.dumps(found))


def evaluation(seed: int) -> dict[str, Any]:
    """Of thirty images, ten a class; cats are taken for birds, with another seed more often."""
    wrong = 2 + seed % 3
    confusion = [[9, 1, 0], [0, 10, 0], [0, wrong, 10 - wrong]]
    bins = [{"confidence": 0.5, "accuracy": 0.25, "images": 10}, {"confidence": 0.9, "accuracy": 1.0, "images": 20}]
    scaled = {"temperature": 1.5, "nll": 0.5, "brier": 0.2, "ece": 0.05, "bins": bins}
    per_class = [0.9, 1.0, (10 - wrong) / 10]
    return {
        "images": 30,
        "accuracy": 0.9,
        "nll": 0.6,
        "brier": 0.25,
        "ece": 0.15,
        "confusion": confusion,
        "per_class": per_class,
        "bins": bins,
        "scaled": scaled,
    }
