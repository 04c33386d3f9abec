"""Training speed of three published pairs: ours against a plain PyTorch loop, one factor at a time, in one interleaved run.

    python benchmarks/speed.py                                     # everything: about 15 minutes on two quiet cores
    python benchmarks/speed.py --pair resnet50-resnet18 --what feature --minutes 4

Writes speed_<hardware>_<date>.json, .md and .svg into --out. `protege bench` measures the same of any other pair.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from goals import goals_table
from growth import Growth, growth_table, of
from picture import draw, refuse_without_matplotlib
from small_study import made

from protege.cli.bench import CompileOption, parse_slots, parse_whats
from protege.train.bench.conduct import Plan, measure
from protege.train.bench.tables import markdown
from protege.train.bench.variants import Pair, What
from protege.train.bench.written import setting_of, write

PAIRS = {
    "resnet32x4-resnet8x4": Pair(teacher="resnet32x4", student="resnet8x4", batch_size=64),
    "resnet34-mobilenet_v2": Pair(teacher="resnet34", student="mobilenet_v2", batch_size=128),
    "resnet50-resnet18": Pair(teacher="resnet50", student="resnet18", batch_size=128),
}
STUDIED = "resnet34-mobilenet_v2"  # a study takes minutes, so that of one pair is made unless another is named
HERE = Path(__file__).resolve().parent


def groups(pairs: list[str], whats: tuple[What, ...]) -> tuple[tuple[Pair, What], ...]:
    return tuple((PAIRS[pair], what) for pair in pairs for what in whats)


def grown(growths: list[Growth]) -> str:
    """How the time of a study grows, pair by pair."""
    parts = [f"### A study of {one.pair.label}, {one.how}\n\n{growth_table(one)}\n" for one in growths]
    return "\n".join(parts)


def main(
    pair: Annotated[list[str] | None, typer.Option("--pair", help=f"of {', '.join(PAIRS)}; may be repeated")] = None,
    what: Annotated[str, typer.Option("--what", help="with commas")] = "alone,kd,feature,reviewkd,slots,study",
    minutes: Annotated[float, typer.Option("--minutes", help="that it may take")] = 15.0,
    rounds: Annotated[int, typer.Option("--rounds", help="turns of each way to train")] = 5,
    slots: Annotated[str, typer.Option("--slots", help="runs at once")] = "1,2,4",
    compiled: CompileOption = None,
    data: Annotated[str, typer.Option("--data", help="whose images")] = "cifar10-mini",
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="folder of the data")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads (else all)")] = None,
    out: Annotated[Path, typer.Option("--out", help="folder of the results")] = HERE / "results",
) -> None:
    refuse_without_matplotlib()
    chosen = pair or list(PAIRS)
    if unknown := [name for name in chosen if name not in PAIRS]:
        raise typer.BadParameter(f"{unknown[0]}: there is {', '.join(PAIRS)}", param_hint="--pair")
    whats = parse_whats(",".join(word for word in what.split(",") if word != "study"))
    plan = Plan(groups=groups(chosen, whats), rounds=rounds, minutes=minutes, slots=parse_slots(slots))
    setting = setting_of(data, data_dir, device, threads, compiled)
    outcome = measure(plan, setting)
    studied = [PAIRS[one] for one in chosen if pair or one == STUDIED] if "study" in what.split(",") else []
    growths = [made(one, setting) for one in studied]
    growths += [growth for one in outcome.pairs if (growth := of(outcome, one))]
    more = f"\n{grown(growths)}\n## Goals\n\n{goals_table(outcome, growths)}\n"
    print(markdown(outcome) + more)
    figures, text = write(outcome, out, "speed", more)
    picture = text.with_suffix(".svg")
    draw(outcome, growths, picture)
    for file in (figures, text, picture):
        print(file)


if __name__ == "__main__":
    typer.run(main)
