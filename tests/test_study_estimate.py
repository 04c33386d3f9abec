"""What a study will take: from a probe of each kind of run, with each view of an image asked about once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protege.launch.jobs import Job, Reply
from protege.launch.probe import Probe
from protege.runs.config import Place
from protege.runs.hardware import left_in_container
from protege.study.conduct.estimate import estimate
from protege.study.conduct.jobs import left
from protege.study.conduct.probing import keep_probe, kinds, known_probes, probe_all
from protege.study.question.load import study_of
from protege.study.question.plan import Plan

PROBE = Probe(seconds_per_image=1e-3, seconds_per_asked=1e-2, seconds_per_look=1e-4, weights=10**6, memory=10**9)


def planned(runs: Path, kd: dict[str, float] | None = None, **optim: Any) -> Plan:
    raw = {
        "question": "how long?",
        "base": {
            "data": {"name": "cifar10-mini", "limit": 1000, "heldout": 100},
            "teacher": "resnet14",
            "student": "resnet8",
            "optim": {"epochs": 10, "batch_size": 64} | optim,
        },
        "arms": {"alone": {"method": "supervised"}, "kd": {"method": {"name": "kd", **(kd or {})}}},
        "seeds": {"report": 3},
    }
    return Plan(study_of("made", raw), Place(runs=runs, device="cpu"))


def probed(plan: Plan) -> Plan:
    probe_all(plan, left(plan), 1, lambda job: Reply(key=job.key, outcome="finished", found=PROBE.model_dump()))
    return plan


def test_there_is_a_probe_for_each_kind_of_run_and_not_for_each_run(runs: Path) -> None:
    plan = planned(runs)
    found = kinds(plan, left(plan), threads=1)
    assert len(left(plan)) == 7
    assert sorted(job.label for job in found.values()) == ["resnet14 supervised", "resnet8 kd", "resnet8 supervised"]
    (taught,) = [job for job in found.values() if job.stand_ins]
    assert [model.name for model in taught.stand_ins] == ["resnet14"]  # the teacher is not trained yet


def test_what_changes_no_step_needs_no_other_probe(runs: Path) -> None:
    plan, longer, bigger = planned(runs), planned(runs, epochs=20, lr=0.01), planned(runs, batch_size=128)
    assert set(kinds(plan, left(plan), 1)) == set(kinds(longer, left(longer), 1))
    assert not set(kinds(plan, left(plan), 1)) & set(kinds(bigger, left(bigger), 1))
    assert not set(kinds(plan, left(plan), 1)) & set(kinds(plan, left(plan), 2))  # another number of threads
    warmer = planned(runs, kd={"temperature": 9.0, "kd_weight": 0.1})
    assert set(kinds(plan, left(plan), 1)) == set(kinds(warmer, left(warmer), 1))
    without = planned(runs, kd={"kd_weight": 0.0})
    assert set(kinds(plan, left(plan), 1)) != set(kinds(without, left(without), 1))


def test_a_probe_is_made_once_and_kept(runs: Path) -> None:
    plan, asked = planned(runs), list[Job]()

    def ask(job: Job) -> Reply:
        asked.append(job)
        return Reply(key=job.key, outcome="finished", found=PROBE.model_dump())

    assert probe_all(plan, left(plan), 1, ask) == {} and len(asked) == 3
    assert probe_all(plan, left(plan), 1, ask) == {} and len(asked) == 3
    assert list(known_probes(runs).values()) == [PROBE] * 3


def test_a_probe_that_fails_is_told_and_leaves_no_estimate(runs: Path) -> None:
    plan = planned(runs)
    failed = probe_all(plan, left(plan), 1, lambda job: Reply(key=job.key, outcome="failed", message="no memory"))
    assert set(failed.values()) == {"no memory"}
    assert estimate(plan, left(plan), threads=1, slots=1) is None


def test_seconds_add_up(runs: Path) -> None:
    """10 epochs of 1,000 images at 1 ms, and 100 held-out images a look at 0.1 ms: 10.1 s for each of 7 runs.

    The three taught runs ask their teacher about the same 162 views at 10 ms: 30 epochs show 162 (1 - (161/162)^30) = 27.5 of them.
    """
    plan = probed(planned(runs))
    found = estimate(plan, left(plan), threads=1, slots=1)
    assert found is not None
    alone = [found.by_run[run.id] for run in left(plan) if not run.tutors]
    assert alone == [pytest.approx(10.1)] * 4
    assert found.seconds == pytest.approx(7 * 10.1 + 27.47 * 1000 * 1e-2, rel=1e-3)
    assert found.memory == 10**9


def test_more_slots_keep_more_checkpoints(runs: Path) -> None:
    """Each holds two, of weights, momentum and the best epoch: 2 x 3 MB."""
    plan = probed(planned(runs))
    one, two = (estimate(plan, left(plan), threads=1, slots=slots) for slots in (1, 2))
    assert one is not None and two is not None
    assert two.disk - one.disk == 6 * 10**6


def test_probes_lie_with_the_runs_and_survive(runs: Path) -> None:
    keep_probe(runs, "one", PROBE.model_dump())
    keep_probe(runs, "two", PROBE.model_dump())
    assert known_probes(runs) == {"one": PROBE, "two": PROBE}


def test_a_container_has_what_its_limit_leaves_and_its_cache_gives_back(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\nfile 300\n")
    assert left_in_container(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert left_in_container(tmp_path) is None
    assert left_in_container(tmp_path / "nowhere") is None
