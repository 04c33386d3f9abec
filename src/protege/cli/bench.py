"""How quick it is here, and what works: `protege bench`, training speed of one's own pair, and `protege doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protege.cli.places import JsonOption, RunsOption
from protege.data.fields import MOST_THREADS
from protege.errors import ConfigError, suggest
from protege.runs.display import out, table_of

if TYPE_CHECKING:
    from protege.train.bench.variants import What


CompileOption = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile", help="students by torch.compile (else where it pays in a run of 200 epochs)"
    ),
]


def bench(
    teacher: Annotated[str, typer.Option("--teacher", help="network of the teacher")] = "resnet34",
    student: Annotated[str, typer.Option("--student", help="network of the student")] = "mobilenet_v2",
    batch_size: Annotated[int, typer.Option("--batch-size", min=2, help="images a step")] = 128,
    what: Annotated[
        str, typer.Option("--what", help="of alone, kd, feature, reviewkd, slots; several with commas")
    ] = "alone,kd",
    minutes: Annotated[float, typer.Option("--minutes", min=0, help="that it may take; more makes turns longer")] = 5.0,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="turns of each way to train")] = 5,
    slots: Annotated[str, typer.Option("--slots", help="runs at once, for --what slots")] = "1,2,4",
    compiled: CompileOption = None,
    data: Annotated[str, typer.Option("--data", help="whose images: their size is what matters")] = "cifar10-mini",
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="folder of the data (else PROTEGE_DATA, else the cache)")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda")] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=MOST_THREADS, help="CPU threads (else all)")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="folder for the table and the figures")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress display")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of text")] = False,
) -> None:
    """How quick training is here: ours against a plain PyTorch loop, one factor at a time, in one interleaved run."""
    from protege.train.bench.conduct import Plan, measure
    from protege.train.bench.tables import markdown
    from protege.train.bench.variants import Pair
    from protege.train.bench.written import setting_of, write

    pair = Pair(teacher=teacher, student=student, batch_size=batch_size)
    refuse_unknown([pair.teacher, pair.student])
    plan = Plan(
        groups=tuple((pair, one) for one in parse_whats(what)),
        rounds=rounds,
        minutes=minutes,
        slots=parse_slots(slots),
    )
    outcome = measure(plan, setting_of(data, data_dir, device, threads, compiled), quiet)
    if out is not None:
        write(outcome, out, "speed")
    print(outcome.model_dump_json() if as_json else markdown(outcome))


def parse_whats(text: str) -> tuple[What, ...]:
    from protege.train.bench.variants import WORDS

    words = list(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        if word not in WORDS:
            raise ConfigError(f"--what {word}: there is {', '.join(WORDS)}.{suggest(word, list(WORDS))}")
    return tuple(what for what in WORDS if what in words)


def parse_slots(text: str) -> tuple[int, ...]:
    """Begins with 1, which the others are compared with."""
    if not all(part.strip().isdigit() and int(part) > 0 for part in text.split(",")):
        raise ConfigError(f"--slots {text}: give numbers with commas, such as 1,2,4.")
    return tuple(sorted({1, *(int(part) for part in text.split(","))}))


def refuse_unknown(names: list[str]) -> None:
    """Before any process is begun."""
    from protege.models import check
    from protege.models.config import ModelConfig

    for name in names:
        check(ModelConfig(name=name))


def doctor(runs: RunsOption = Path("runs"), as_json: JsonOption = False) -> None:
    """What works here, tried: folder, locks, disk, PyTorch, GPUs, SLURM, extras. Exit code 1 where something needed is broken."""
    from protege.launch.trials import examined

    found = list(examined(runs))
    broken = [finding.what for finding in found if finding.works == "no"]
    if as_json:
        print(json.dumps([asdict(finding) for finding in found]))
    else:
        table = table_of("what works here", "", "works", "found", "what it means")
        for finding in found:
            table.add_row(finding.what, finding.works, finding.found, finding.means)
        out.print(table)
        out.print(f"broken: {', '.join(broken)}" if broken else "Nothing that training needs is broken.", style="bold")
    raise typer.Exit(1 if broken else 0)
