"""`protege study`: run a question to its report, look at how far it is, and ask how many seeds it takes."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from protege.cli.places import (
    OPEN,
    DataDirOption,
    DetachOption,
    JsonOption,
    LogOption,
    OnOption,
    RunsOption,
    place_of,
    where_of,
)
from protege.data.fields import MOST_THREADS
from protege.errors import ConfigError, suggest, visible
from protege.study import words

if TYPE_CHECKING:
    from protege.launch.where import Where
    from protege.runs.config import Place
    from protege.study.findings.record import Findings
    from protege.study.question.plan import Plan

app = typer.Typer(
    no_args_is_help=True, help="A question in a YAML file -> runs -> findings, with the test set sealed until the end."
)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE.yaml", help="the study")]
ScaleOption = Annotated[
    Literal["full", "reduced"], typer.Option("--scale", help="full, or the small form that the file describes")
]


@app.command(context_settings=OPEN)
def run(
    context: typer.Context,
    file: FileArgument,
    scale: ScaleOption = "full",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="train this arm alone (may be repeated); the test set stays sealed"),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="say what is planned, and train nothing; with --probe also what it takes"),
    ] = False,
    slots: Annotated[int, typer.Option("--slots", min=1, help="runs at a time, each in a process of its own")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, max=MOST_THREADS, help="CPU threads of each slot (else the cores are shared out)"
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda, or several to share the slots: cuda:0,cuda:1")
    ] = "auto",
    probe: Annotated[
        bool | None,
        typer.Option(
            "--probe/--no-probe",
            help="try a few steps of each kind of run first, for time, disk and memory (else before training, and not for --dry-run)",
        ),
    ] = None,
    runs: RunsOption = Path("runs"),
    data_dir: DataDirOption = None,
    memory_dir: Annotated[
        Path | None, typer.Option("--memory-dir", help="folder of what teachers said (else RUNS/memory)")
    ] = None,
    memory_limit: Annotated[
        float | None,
        typer.Option(
            "--memory-limit",
            min=0,
            help="gigabytes that this folder may grow to (else a tenth of the free disk more, and not above 20)",
        ),
    ] = None,
    with_report: Annotated[
        bool,
        typer.Option("--report/--no-report", help="end with the page and its tables, in `report` beside the findings"),
    ] = True,
    log: LogOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress display")] = False,
    on: OnOption = "local",
    detach: DetachOption = False,
    as_json: JsonOption = False,
) -> None:
    """Do what is left of a study, as far as it goes; stop it at any moment, and give the same command again. Ends with its report."""
    from protege.study.run import run_study

    where = _where(on, context, detach)
    place, devices = _place(runs, data_dir, device)
    place = place.model_copy(
        update={"memory_dir": memory_dir and memory_dir.absolute(), "memory_limit": memory_limit or None}
    )
    place = _told(place, log)
    plan = _plan(file, scale, place)
    _refuse_unknown(only or [], plan)
    if detach and not dry_run:
        _detach(plan, where)
        return
    planned, findings = run_study(
        plan, only=only or (), slots=slots, threads=threads, devices=devices, probing=probe, dry_run=dry_run, quiet=quiet,
        command=shlex.join(["protege", *sys.argv[1:]]),
        where=where,
    )  # fmt: skip
    if as_json:
        print(json.dumps(planned) if findings is None else findings.model_dump_json())
    elif findings is None:
        words.say_plan(planned)
        _say_scripts(planned["scripts"])
    else:
        words.say_findings(findings, plan.folder)
    if findings is not None and with_report:
        _report(findings, plan, silent=as_json)
    if findings is not None and any(row.state == "failed" for row in findings.runs):
        raise SystemExit(1)


@app.command()
def show(
    file: FileArgument,
    scale: ScaleOption = "full",
    runs: RunsOption = Path("runs"),
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """How far a study is, what was chosen, and what came out. Trains nothing and opens nothing."""
    from protege.study.findings.gather import gather
    from protege.study.run import commands_so_far

    place, _ = _place(runs, data_dir, "auto")
    plan = _plan(file, scale, place)
    findings = gather(plan, commands=commands_so_far(plan))
    if as_json:
        print(findings.model_dump_json())
    else:
        words.say_findings(findings, plan.folder)


@app.command()
def watch(
    file: FileArgument,
    scale: ScaleOption = "full",
    runs: RunsOption = Path("runs"),
    data_dir: DataDirOption = None,
    every: Annotated[
        float, typer.Option("--every", min=1, help="seconds between looks; a scheduler is asked once each")
    ] = 15,
    once: Annotated[bool, typer.Option("--once", help="look once")] = False,
    as_json: JsonOption = False,
) -> None:
    """What runs where, how far it is, and how long it still takes. Where nothing more will happen it says why, with exit code 1."""
    from protege.study.conduct.watching import Watching, show

    plan = _plan(file, scale, _place(runs, data_dir, "auto")[0])
    again = shlex.join(["protege", "study", "run", str(file), "--scale", scale, "--runs", str(runs)])
    watching = Watching(plan, every, again)
    if as_json:
        print(json.dumps(watching.look().record()))
    elif not show(watching, every, once):
        raise SystemExit(1)


@app.command()
def cancel(
    file: FileArgument, scale: ScaleOption = "full", runs: RunsOption = Path("runs"), data_dir: DataDirOption = None
) -> None:
    """End the jobs that a study has on a SLURM cluster, and no others. What they trained stays, and is gone on from."""
    from protege.launch.slurm.conductor import cancel_all
    from protege.launch.where import slurm_folder

    plan = _plan(file, scale, _place(runs, data_dir, "auto")[0])
    ended = cancel_all(slurm_folder(plan.folder, plan.study.name))
    print(visible(f"{plan.study.name}: {ended} job{'' if ended == 1 else 's'} cancelled"))


@app.command()
def power(
    sd: Annotated[float, typer.Option("--sd", help="spread over seeds of one arm, in points")],
    effect: Annotated[
        float | None, typer.Option("--effect", help="the difference that you want to find: how many seeds?")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=2, help="seeds an arm: what do they find?")] = None,
    margin: Annotated[
        float | None, typer.Option("--margin", help="the difference too small to matter: how many seeds show equality?")
    ] = None,
    wanted: Annotated[float, typer.Option("--power", help="how often a true difference is to be found")] = 0.8,
    comparisons: Annotated[int, typer.Option("--comparisons", min=1, help="comparisons that are corrected for")] = 1,
    correlation: Annotated[
        float | None, typer.Option("--correlation", help="of same-seed results, for a paired test")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How many seeds does it take? Before they are spent."""
    from protege import stats

    if effect is None and seeds is None and margin is None:
        raise ConfigError(
            "Say what you know: --effect (how many seeds?), --seeds (what do they find?), or --margin (how many show equality?)."
        )
    found: dict[str, Any] = {"sd": sd, "power": wanted, "comparisons": comparisons, "correlation": correlation}
    if effect is not None:
        found["effect"] = effect
        found["seeds_needed"] = stats.seeds_needed(effect, sd, wanted, comparisons=comparisons, correlation=correlation)
    if seeds is not None:
        found["seeds"] = seeds
        found["smallest_detectable"] = stats.smallest_detectable(
            sd, seeds, wanted, comparisons=comparisons, correlation=correlation
        )
        if effect is not None:
            found["power_of_seeds"] = stats.power_of(seeds, effect, sd, 0.05 / comparisons, correlation)
    if margin is not None:
        found["margin"] = margin
        found["seeds_for_equivalence"] = stats.seeds_for_equivalence(margin, sd, wanted)
    print(json.dumps(found)) if as_json else words.say_power(found)


def _report(findings: Findings, plan: Plan, *, silent: bool) -> None:
    """Whatever goes wrong here, the findings are written already, and the page can be made again."""
    try:
        from protege.report.make import make_report

        made = make_report(findings, plan.place.runs, plan.folder / "report", plan.place.data_dir)
    except Exception as error:  # hours of training must not end in a traceback about a page
        again = shlex.join(["protege", "report", plan.folder.name, "--runs", str(plan.place.runs)])
        said = " ".join(str(error).split()) or type(error).__name__
        print(
            f"warning: the report could not be written ({said}). The findings are; `{again}` tries again.",
            file=sys.stderr,
        )
        return
    if not silent:
        words.say_report(made.sentence(), made.unread)


# ---- clusters ----


def _where(on: str, context: typer.Context, detach: bool) -> Where:
    from protege.cli.options import flags_of

    where, others = where_of(on, list(context.args), flags_of(context), detach)
    if others:
        known = [*flags_of(context), "slurm.partition", "slurm.time"]
        raise ConfigError(f"there is no option {others[0]}.{suggest(others[0], ['--' + one for one in known])}")
    return where


def _detach(plan: Plan, where: Where) -> None:
    from protege.launch.slurm.conductor import detach
    from protege.launch.where import slurm_folder

    command = [one for one in sys.argv[1:] if one != "--detach"]
    number = detach(slurm_folder(plan.folder, plan.study.name), where.slurm, command)
    print(visible(f"{plan.study.name}: job {number} looks after it. `protege study watch` shows how far it is."))


def _say_scripts(files: list[str]) -> None:
    """As they would be submitted."""
    for file in files:
        print(f"\n==> {file} <==\n{Path(file).read_text()}", end="")


# ---- what the options mean ----


def _place(runs: Path, data_dir: Path | None, device: str) -> tuple[Place, list[str]]:
    from protege.runs.config import Place

    devices = [one.strip() for one in device.split(",") if one.strip()] or ["auto"]
    return Place(runs=runs.absolute(), data_dir=data_dir.absolute() if data_dir else None, device=devices[0]), devices


def _told(place: Place, log: list[str] | None) -> Place:
    """Trackers that are missing are said now, and not by the first run."""
    from protege.runs.display.trackers import refuse_missing

    told = place_of(**{**place.model_dump(), "log": tuple(log or ())})
    refuse_missing(told.log)
    return told


def _plan(file: Path, scale: Literal["full", "reduced"], place: Place) -> Plan:
    from protege.study.question.load import load

    study = load(file, scale)
    from protege.study.question.plan import Plan

    return Plan(study, place, scale)


def _refuse_unknown(only: list[str], plan: Plan) -> None:
    for arm in only:
        if arm not in plan.study.arms:
            known = list(plan.study.arms)
            raise ConfigError(
                f"--only {arm}: the study has no such arm.{suggest(arm, known)} There are {', '.join(known)}."
            )
