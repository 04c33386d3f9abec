"""An outcome as files, named for what was measured, on which hardware, when."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ValidationError

from protege.data.config import DataConfig
from protege.errors import ConfigError
from protege.runs import cores, whole
from protege.runs.config import Place
from protege.train.bench.outcome import Outcome
from protege.train.bench.tables import markdown, threads_of
from protege.train.bench.variants import Setting


def setting_of(
    data: str, data_dir: Path | None, device: str, threads: int | None, compiled: bool | None = None
) -> Setting:
    """What the user said, made definite."""
    from protege.runs.hardware import device_of

    try:
        described = DataConfig(name=data)
    except ValidationError as error:
        raise ConfigError(f"--data {data}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    return Setting(
        data=described,
        data_dir=data_dir.absolute() if data_dir else None,
        device=str(device_of(Place(device=device))),
        threads=threads or cores(),
        compile=compiled,
    )


def write(outcome: Outcome, folder: Path, what: str, more: str = "") -> list[Path]:
    """The figures (.json) and the table (.md, with `more` below it)."""
    stem = f"{what}_{hardware(outcome)}_{outcome.date}"
    figures, text = (folder / f"{stem}.{ending}" for ending in ("json", "md"))
    with whole(figures) as partial:
        partial.write_text(outcome.model_dump_json(indent=1) + "\n")
    with whole(text) as partial:
        partial.write_text(f"# Training speed\n\n{markdown(outcome)}{more}")
    return [figures, text]


def hardware(outcome: Outcome) -> str:
    """`nvidia-h200` or `2-threads-amd-epyc`."""
    about = outcome.environment
    named = about.get("gpu") or f"{threads_of(outcome)} {about.get('processor')}"
    return re.sub(r"[^a-z0-9]+", "-", str(named).lower()).strip("-")
