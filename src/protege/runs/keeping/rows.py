"""What is said of a run in a row: on a terminal, in a notebook, in a table of somebody else's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protege.errors import ProtegeError
from protege.runs.config import by_path
from protege.runs.files import allocated

if TYPE_CHECKING:
    from protege.runs.folder import Run

Row = dict[str, Any]


def rows(runs: Iterable[Run]) -> list[Row]:
    """A flat row for each run, as `pandas.DataFrame(rows(every("runs")))` takes them: what `protege list` shows, and all fields
    of its description by their paths."""
    return [{key: value for key, value in row.items() if key != "fields"} | row["fields"] for row in map(row_of, runs)]


def row_of(run: Run) -> Row:
    """What a list says of a run. `fields` is its whole description, by dotted paths."""
    row: Row = {"id": run.id, "path": str(run.path), "bytes": allocated(run.path)}
    try:
        record, result = run.record(), run.result() if run.finished else {}
        config = record["config"]
        epochs = config["optim"]["epochs"]
        return row | {
            "data": record["data"]["name"],
            "model": config["model"]["name"],
            "method": config["method"]["name"],
            "seed": config["seed"],
            "teachers": _teachers(record),
            "state": "finished" if run.finished else f"epoch {len(run.metrics())} of {epochs}",
            "heldout_accuracy": result.get("heldout_accuracy"),
            "parameters": result.get("parameters"),
            "seconds": result.get("seconds"),
            "smaller": _smaller(config.get("compress")),
            "fields": by_path(config),
        }
    except ProtegeError:
        return row | {
            "data": "-", "model": "-", "method": "-", "seed": "-", "teachers": [], "state": "damaged",
            "heldout_accuracy": None, "parameters": None, "seconds": None, "smaller": None, "fields": {},
        }  # fmt: skip


def _teachers(record: Mapping[str, Any]) -> list[str]:
    """Runs by their ids, and files by the names that they had."""
    given = record["config"].get("teacher")
    given = (
        given if isinstance(given, list) and len(given) == len(record["teachers"]) else [None] * len(record["teachers"])
    )
    names = []
    for identity, one in zip(record["teachers"], given, strict=True):
        kind, name, _ = identity.split(":", 2)
        source = one.get("source") if isinstance(one, dict) else None
        names.append(short(source) if kind in ("file", "hub") and isinstance(source, str) else name)
    return names


def _smaller(compress: Mapping[str, Any] | None) -> str | None:
    """What a run takes away from the network that it begins from: share of the multiply-adds, bits of weights / activations."""
    if not compress:
        return None
    share, bits = compress.get("prune"), [compress.get(kind) for kind in ("weights", "activations")]
    said = [f"pruned to {share:g}"] if share else []
    return ", ".join(said + ([f"{bits[0] or 32}/{bits[1] or 32} bits"] if any(bits) else [])) or None


def short(source: str) -> str:
    """A file without its folders; a repository of a hub with the beginning of its commit."""
    return re.sub(r"(@[0-9a-f]{7})[0-9a-f]{33}$", r"\1", source) if source.startswith("hub:") else Path(source).name


# ---- in a notebook ----


def table_html(head: Sequence[str], lines: Iterable[Sequence[object]], above: str = "") -> str:
    """A table below a sentence; nothing in it is markup."""
    title = f"<p>{escape(above)}</p>" if above else ""
    heads = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in line) + "</tr>" for line in lines)
    return f"{title}<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>" if head else title


def html_of(run: Run) -> str:
    """What a run is and how good, as a notebook shows it."""
    row = row_of(run)
    accuracy = row["heldout_accuracy"]
    row["held-out accuracy"] = "-" if accuracy is None else f"{100 * accuracy:.2f} %"
    shown = ("state", "data", "model", "method", "seed", "teachers", "held-out accuracy", "parameters", "path")
    lines = [(name, ", ".join(row[name]) if isinstance(row[name], list) else row[name]) for name in shown]
    return table_html(("run", row["id"]), lines)
