"""The machines and versions that runs were made with, from their records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from protege.study.findings import Hardware

VERSIONS = ("processor", "torch", "python", "numpy", "system", "protege", "git", "host")  # of `runs.environment`


def machines(records: Iterable[Mapping[str, Any]]) -> Iterator[Hardware]:
    """A machine with its versions a row, however many runs it made."""
    found: dict[tuple[str | None, ...], list[int]] = {}
    for record in records:
        known = record["environment"]
        device = known["gpu"] if str(record["device"]).startswith("cuda") else "cpu"
        found.setdefault((device, *(known.get(name) for name in VERSIONS)), []).append(record["threads"])
    for (device, *versions), threads in found.items():
        described = {"device": device, "threads": sorted(set(threads)), "runs": len(threads)}
        yield Hardware.model_validate(described | dict(zip(VERSIONS, versions, strict=True)))
