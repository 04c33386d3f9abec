"""A search: what it may ask for, that it asks for the same however the runs end, that every arm spends the same."""

from __future__ import annotations

import json
import math
import random
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from record_cases import result_record, run_record

from protege.cli import main
from protege.cli.options import describe
from protege.errors import ConfigError, MissingExtra, RunError
from protege.launch.jobs import Job
from protege.launch.launcher import Outcome
from protege.report.material import collect
from protege.report.page.blocks import Figures, Words
from protege.report.page.table import Table
from protege.report.sections.searched import searched
from protege.runs import Run, read_json, write_json
from protege.runs.config import Place, RunConfig
from protege.study.conduct.jobs import jobs, progress
from protege.study.conduct.scores import mark_diverged
from protege.study.conduct.seen import Seen
from protege.study.conduct.select import standing
from protege.study.conduct.trials import trials
from protege.study.conduct.watching import Watching
from protege.study.findings.gather import gather
from protege.study.findings.selections import selection
from protege.study.question.load import study_of
from protege.study.question.plan import Plan
from protege.study.question.search import Axis
from protege.train import plan as plan_of

STUDY: dict[str, Any] = {
    "question": "which learning rate?",
    "base": {
        "data": {"name": "cifar10-mini", "classes": ["cat", "dog"], "limit": 128, "heldout": 100},
        "student": "resnet8",
        "optim": {"epochs": 8, "batch_size": 64},
    },
    "arms": {
        "alone": {"method": "supervised", "search": {"optim.lr": "0.01 0.5 log"}},
        "clipped": {"optim.clip_norm": 1.0, "search": {"optim.lr": "0.01 0.5 log", "optim.nesterov": [True, False]}},
    },
    "seeds": {"select": [100], "report": 2},
    "search": {"trials": 6, "stop": "halving"},
}
MACHINE = {"gpu": None, "processor": "Some CPU", "torch": "2", "protege": "0", "host": "here"}
Score = Callable[[RunConfig], float]


def planned(runs: Path, **changes: Any) -> Plan:
    return Plan(study_of("made", STUDY | changes), Place(runs=runs))


def near_a_tenth(config: RunConfig) -> float:
    """Held-out accuracy that is best at lr 0.1."""
    return 0.9 - 0.1 * abs(math.log10(config.optim.lr) + 1)


def pretend(job: Job, score: Score) -> None:
    """What a worker would leave: a line for each epoch, better towards the end, and a result at the end."""
    run, config = Run(job.place.runs / job.run), job.config
    if not run.record_file.exists():
        write_json(run.record_file, run_record(job.run, environment=MACHINE))
    until = job.place.until or config.optim.epochs
    values = [score(config) * (epoch + 1) / config.optim.epochs for epoch in range(until)]
    metrics = [
        {"epoch": epoch, "terms": {}, "train_accuracy": 0.5, "lr": 0.1, "heldout_accuracy": value, "heldout_nll": 1.0}
        for epoch, value in enumerate(values)
    ]
    times = [{"epoch": epoch, "seconds": 3.0, "images_per_second": 1.0} for epoch in range(until)]
    for file, lines in ((run.metrics_file, metrics), (run.times_file, times)):
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if until == config.optim.epochs:
        write_json(run.result_file, result_record(values[-1]))


def trained(
    plan: Plan, score: Score = near_a_tenth, order: random.Random | None = None, only: tuple[str, ...] = ()
) -> list[Job]:
    """All training of the study, a job at a time: the first that is listed, or any of them."""
    done = []
    while listed := [job for job in jobs(plan, only) if job.verb == "train"]:
        job = order.choice(listed) if order else listed[0]
        pretend(job, score)
        done.append(job)
    return done


def asked(plan: Plan) -> dict[str, list[list[dict[str, Any]]]]:
    return {cell.key: [[one.values for one in together] for together in plan.rounds(cell)] for cell in plan.cells}


# ---- what may be asked for ----


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("0.01 0.5 log", Axis(low=0.01, high=0.5, log=True)),
        ("1e-5 1e-2 log", Axis(low=1e-5, high=1e-2, log=True)),
        ("1 16", Axis(low=1, high=16)),
        ([1, 2, 4], Axis(choices=(1, 2, 4))),
        ("sgd adamw", Axis(choices=("sgd", "adamw"))),
        ({"low": 0.1, "high": 0.9}, Axis(low=0.1, high=0.9)),
    ],
)
def test_a_range_is_written_as_one_would_type_it(given: Any, found: Axis) -> None:
    assert Axis.model_validate(given) == found


def test_numbers_between_whole_ones_are_whole_and_others_can_be_typed_again() -> None:
    assert Axis.model_validate("1 16").tidy(3.6) == 4
    assert Axis.model_validate("0.01 0.5 log").tidy(0.0123456) == 0.01235
    assert Axis.model_validate("0.01 0.5").tidy(0.50001) == 0.5  # never outside of the range


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": {"a": {"search": {"optim.lr": "0.5 0.01"}}}}, "from a low value to a higher one"),
        ({"arms": {"a": {"search": {"optim.lr": "0 0.5 log"}}}}, "begins above 0"),
        ({"arms": {"a": {"search": {"optim.lr": "0.1 log"}}}}, "log goes with two numbers"),
        ({"arms": {"a": {"search": {"optim.lrr": "0.1 0.5"}}}}, "Did you mean 'optim.lr'?"),
        ({"arms": {"a": {"search": {"optim.epochs": "2 9"}}}}, "the same for all trials"),
        ({"arms": {"a": {"search": {"data.heldout": "10 90"}}}}, "the same for all trials"),
        ({"arms": {"a": {"search": {"optim.momentum": "0.5 1.5"}}}}, "optim.momentum"),
        ({"arms": {"a": {"search": {"optim.lr": "0.1 0.5"}, "vary": {"optim.lr": [0.1]}}}}, "vary and search"),
        ({"arms": {"a": {"search": {"optim.nesterov": [True, False]}}}}, "Try them all with `vary`"),
        ({"arms": {"a": {"method": "supervised"}}}, "no arm searches"),
        ({"search": {"trials": 8, "minutes": 5}}, "two budgets"),
        ({"base": STUDY["base"] | {"optim.epochs": 1}}, "too short"),
        ({"protocol": "literature", "seeds": {}}, "chooses nothing"),
    ],
)
def test_what_cannot_be_searched_is_told_before_anything_is_trained(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        study_of("made", STUDY | changes)
    assert said in str(error.value)


def test_without_the_library_one_line_says_what_to_install(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"pip install 'protege\[search\]'"):
        jobs(planned(runs))


# ---- the same trials ----


def test_the_same_study_asks_for_the_same_trials_in_whatever_order_its_runs_end(tmp_path: Path) -> None:
    plans = [planned(tmp_path / name) for name in ("one", "other")]
    for plan, order in zip(plans, (None, random.Random(1)), strict=True):
        trained(plan, order=order)
    first = asked(plans[0])
    assert [len(together) for together in first["clipped"]] == [4, 2]
    assert asked(plans[1]) == first


def test_a_study_that_was_killed_goes_on_with_the_trials_that_it_had_asked_for(runs: Path, tmp_path: Path) -> None:
    """What was asked for is on the disk before its first run begins, and no second asking changes it."""
    plan = planned(runs)
    listed = jobs(plan)
    before = asked(plan)
    assert [len(together) for together in before["alone"]] == [4] and len(listed) == 8
    assert asked(planned(runs)) == before and {job.run for job in jobs(planned(runs))} == {job.run for job in listed}
    trained(plan)
    whole = planned(tmp_path / "whole")
    trained(whole)
    assert asked(plan) == asked(whole)


def test_later_trials_follow_from_what_earlier_ones_gave(tmp_path: Path) -> None:
    one, other = planned(tmp_path / "one"), planned(tmp_path / "other")
    trained(one)
    trained(other, lambda config: 1 - near_a_tenth(config))
    assert asked(one)["alone"][0] == asked(other)["alone"][0]  # nothing is known yet
    assert asked(one)["alone"][1] != asked(other)["alone"][1]


def test_all_trials_differ_and_lie_in_their_ranges(runs: Path) -> None:
    arms = {"a": {"search": {"optim.batch_size": "16 64", "optim.optimizer": "sgd adamw", "optim.lr": "0.001 0.1 log"}}}
    plan = planned(runs, arms=arms, search={"trials": 20, "at_once": 10, "sampler": "random"})
    trained(plan)
    values = [one for together in asked(plan)["a"] for one in together]
    assert len({json.dumps(one) for one in values}) == 20
    assert all(16 <= one["optim.batch_size"] <= 64 and isinstance(one["optim.batch_size"], int) for one in values)
    assert all(0.001 <= one["optim.lr"] <= 0.1 for one in values)
    assert {one["optim.optimizer"] for one in values} == {"sgd", "adamw"}


# ---- the same budget ----


def test_every_arm_that_searches_trains_as_many_trials_and_as_many_epochs(runs: Path) -> None:
    """Of 8 epochs: 4 trials for 2, 2 of them for 4, 1 for 8; and of the last 2 one for 4 and for 8."""
    plan = planned(runs)
    trained(plan)
    of_a_round = [8, 4, 2, 2]
    for cell in plan.cells:
        found = trials(plan, cell)
        assert sorted((one.epochs for one in found[:4]), reverse=True) == of_a_round
        assert [sum(one.state == "finished" for one in found), len(found)] == [2, 6]
    alone, clipped = gather(plan).budgets
    assert (alone.configurations, alone.runs, alone.epochs) == (6, 6, 16 + 10)
    assert (clipped.configurations, clipped.runs, clipped.epochs) == (6, 6, 16 + 10)


def test_halving_stops_the_worse_ones(runs: Path) -> None:
    plan = planned(runs)
    trained(plan)
    first = [one for one in trials(plan, plan.cells[0]) if one.round == 1]
    order = sorted(first, key=lambda one: near_a_tenth(one.runs[0].config), reverse=True)
    assert [one.epochs for one in order] == [8, 4, 2, 2]
    assert [one.state for one in order] == ["finished", "stopped", "stopped", "stopped"]


def test_whoever_watches_tells_trials_that_rest_from_those_that_were_stopped(runs: Path) -> None:
    """And neither from divergence, which is none of both."""
    plan = planned(runs)

    def seen() -> Seen:
        return Watching(plan, 15, "").look()

    first, *_ = jobs(plan)
    pretend(first, near_a_tenth)
    assert (seen().count("waiting"), seen().count("to do"), seen().count("stopped early")) == (1, 7, 0)
    trained(plan)
    counts = {state: seen().count(state) for state in ("finished", "stopped early", "diverged", "waiting")}
    assert counts == {"finished": 2 * 2 + 4, "stopped early": 2 * 4, "diverged": 0, "waiting": 0}
    assert seen().trained
    stopped = next(one for one in trials(plan, plan.cells[0]) if one.state == "stopped")
    mark_diverged(runs, stopped.runs[0].id, "no number")
    assert seen().count("diverged") == 1


def test_a_run_that_is_trained_in_parts_is_a_job_for_each(runs: Path) -> None:
    done = [job for job in trained(planned(runs)) if job.config.optim.clip_norm is None and job.config.seed == 100]
    assert [sum(job.place.until == until for job in done) for until in (2, 4, None)] == [6, 3, 2]
    assert len({job.key for job in done}) == len(done)


def test_minutes_end_a_search_after_the_round_that_spends_them(runs: Path) -> None:
    """A trial takes 8 epochs of 3 s; a round of four 96 s."""
    plan = planned(runs, search={"minutes": 2})
    trained(plan)
    assert [len(together) for together in asked(plan)["alone"]] == [4, 4]
    assert all(standing(plan, cell).settled for cell in plan.cells)


def test_arms_that_do_not_search_are_said(runs: Path) -> None:
    arms = STUDY["arms"] | {"plain": {"method": "supervised"}}
    plan = planned(runs, arms=arms)
    trained(plan)
    (said,) = (warning for warning in gather(plan).warnings if "Tuning budgets differ" in warning)
    assert "alone 6, clipped 6, plain 1" in said


# ---- the choice ----


def test_the_best_trial_is_reported_with_fresh_seeds(runs: Path) -> None:
    plan = planned(runs)
    done = trained(plan)
    for cell in plan.cells:
        ended = [one for one in trials(plan, cell) if one.state == "finished"]
        best = max(ended, key=lambda one: one.score or 0.0)
        assert standing(plan, cell).chosen == best.configuration
    reports = [job for job in done if job.config.seed in (0, 1)]
    assert len(reports) == 4 and {job.place.until for job in reports} == {None}


def test_no_test_image_is_seen_while_another_arm_still_searches(runs: Path) -> None:
    plan = planned(runs)
    trained(plan, only=("alone",))
    assert jobs(plan, ["alone"]) == [] and not (plan.folder / "choices.json").exists()
    trained(plan)
    assert {job.verb for job in jobs(plan)} == {"evaluate"}
    chosen = {cell.key: standing(plan, cell).chosen for cell in plan.cells}
    assert read_json(plan.folder / "choices.json")["chosen"] == {key: one.values for key, one in chosen.items() if one}


def test_a_trial_that_diverges_is_not_chosen_and_does_not_stop_the_search(runs: Path) -> None:
    plan = planned(runs)
    lost = jobs(plan)[0]
    mark_diverged(runs, lost.run, "no number")
    trained(plan)
    first = trials(plan, plan.cells[0])[0]
    assert first.state == "diverged" and standing(plan, plan.cells[0]).settled
    assert lost.run not in {job.run for job in jobs(plan)}


def test_how_far_a_search_is_counts_what_will_be_trained_to_its_end(runs: Path) -> None:
    plan = planned(runs)
    jobs(plan)
    now = progress(plan)
    assert (now.finished, now.planned) == (0, 2)  # of each arm's first four one
    trained(plan)
    now = progress(plan)
    assert (now.finished, now.planned, now.still_to_come) == (8, 8, 0)


def test_a_study_without_a_search_is_known_by_what_it_was(runs: Path) -> None:
    """The fields of a search enter the identity of a study that searches, and of no other."""
    arms = {"alone": {"method": "supervised"}}
    named = [planned(runs, arms=arms, search={}).identity, planned(runs, **{"arms": STUDY["arms"]}).identity]
    more = planned(runs, search={"trials": 7}).identity
    wider = planned(runs, arms={"alone": {"search": {"optim.lr": "0.01 0.6 log"}}, "clipped": STUDY["arms"]["clipped"]})
    assert len({*named, more, wider.identity}) == 4
    assert named[0] == "83c069af"


def test_a_damaged_record_of_trials_is_one_line(runs: Path) -> None:
    plan = planned(runs)
    jobs(plan)
    file = next((plan.folder / "trials").iterdir())
    file.write_text("{")
    with pytest.raises(RunError, match=file.name):
        jobs(planned(runs))


def test_the_study_of_the_how_to_searches_as_it_says(runs: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "how-to.md").read_text()
    text = page.partition("<!-- search -->\n```yaml\n")[2].partition("```")[0]
    plan = Plan(study_of("best-rates", yaml.safe_load(text)), Place(runs=runs))
    done = trained(plan)
    assert [len(trials(plan, cell)) for cell in plan.cells] == [12, 12]
    ends = [job for job in done if job.place.until is None and job.config.seed == 100]
    assert len(ends) == 6  # one of each round of four, for each arm


# ---- one run ----


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """A command as in a shell, with runs that are pretended."""

    def conducted(more: Callable[[], list[Job]], watch: object, launcher: object) -> Outcome:
        while listed := more():
            assert {job.verb for job in listed} == {"train"}  # nothing is ever evaluated on the test set
            pretend(listed[0], near_a_tenth)
        return Outcome()

    def type_in(command: str) -> None:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code

    monkeypatch.setattr("protege.study.single.run_jobs", conducted)
    monkeypatch.chdir(tmp_path)
    return type_in


def test_one_run_is_trained_with_the_best_of_a_few_trials(
    typed: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """As the how-to says; the id is that of the same values typed."""
    page = (Path(__file__).parents[1] / "docs" / "how-to.md").read_text()
    command = page.partition("<!-- search one -->\n```\n")[2].partition("\n")[0]
    typed(f"{command} --seed 3 --json --quiet")
    found = json.loads(capsys.readouterr().out)
    assert len(found["trials"]) == 12 and found["chosen"] in [one["values"] for one in found["trials"]]
    best = max(found["trials"], key=lambda one: one["heldout"])
    assert best["values"] == found["chosen"]
    values = " ".join(f"--{path} {value}" for path, value in found["chosen"].items())
    config = describe(None, shlex.split(f"--model resnet8 --optim.epochs 8 --seed 3 {values}"), [])
    assert plan_of(config, Place()).id == Path(found["path"]).name
    again = found["trials"]
    typed(f"{command} --seed 3 --json --quiet")
    assert json.loads(capsys.readouterr().out)["trials"] == again


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--search", "--search needs a field and its range"),
        ("--search optim.lr 0.1", "--search needs a field and its range"),
        ("--search optim.lrr 0.1 0.5", "Did you mean '--optim.lr'?"),
        ("--search optim.lr 0.5 0.1 log", "from a low value to a higher one"),
        ("--search optim.lr 0.1 0.5 --data.heldout 0", "no images are held out"),
    ],
)
def test_a_search_of_one_run_that_cannot_be_is_one_line(
    options: str,
    said: str,
    typed: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["protege", "train", *shlex.split(options)])
    with pytest.raises(SystemExit) as end:
        main()
    lines = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 2 and len(lines) == 1 and said in lines[0]


# ---- what is told of it ----


def test_the_page_has_the_best_so_far_what_mattered_and_every_trial(runs: Path) -> None:
    plan = planned(runs, search={"trials": 8})
    trained(plan)
    found = gather(plan)
    section = searched(collect(found, runs))
    assert section is not None
    assert isinstance(section.blocks[0], Words) and "8 trials" in section.blocks[0].text
    figures = [block for block in section.blocks if isinstance(block, Figures)]
    assert [len(one.drawings) for one in figures] == [2, 2]  # best so far, and along lr
    tables = {block.name: block for block in section.blocks if isinstance(block, Table)}
    assert list(tables) == ["trials_1", "importance_2", "trials_2"]  # one field alone cannot matter more than others
    assert [len(tables[name].rows) for name in ("trials_1", "trials_2")] == [8, 8]
    assert sum(row.marked for row in tables["trials_1"].rows) == 1
    first = (
        max(found.selections[1].search.importance.items(), key=lambda one: one[1])
        if found.selections[1].search
        else ("",)
    )
    assert first[0] == "optim.lr"


def test_what_is_known_is_shown_without_the_library(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(runs)
    trained(plan)
    monkeypatch.setitem(sys.modules, "optuna", None)
    found = selection(plan, plan.cells[1], heldout_images=100)
    assert found.search is not None and found.search.importance == {} and len(found.search.trials) == 6
