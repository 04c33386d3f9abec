"""The numbers behind curves and diagrams, for those who want to draw their own."""

from __future__ import annotations

from protege.report.material import Material
from protege.report.page.table import Column, Range, Row, Table, headed


def curves(material: Material) -> Table:
    columns = headed([
        "network", "quantity", Column("epoch", "count"), Column("mean", "number", 6),
        Column("lowest to highest seed", "range", 6), Column("seeds", "count"),
    ])  # fmt: skip
    rows = [
        Row((one.label, name, epoch, mean, Range(low, high), curve.n), one.hardware)
        for one in material.subjects
        for name, curve in material.curves.get(one.id, {}).items()
        for epoch, mean, low, high in zip(curve.epochs, curve.mean, curve.low, curve.high, strict=True)
    ]
    return Table("curves", "Curves", columns, tuple(rows), only_data=True)


def bins(material: Material) -> Table:
    columns = headed([
        "network", "temperature", Column("confidence", "number", 4), Column("accuracy", "number", 4),
        Column("images", "count"), Column("runs", "count"),
    ])  # fmt: skip
    rows = [
        Row((one.label, name, bin_.confidence, bin_.accuracy, bin_.images, len(detail.runs)), one.hardware)
        for one in material.subjects
        if (detail := material.details.get(one.id)) is not None
        for name, those in (("1", detail.bins), ("fitted", detail.scaled_bins))
        for bin_ in those
    ]
    return Table("reliability", "Reliability diagrams", columns, tuple(rows), only_data=True)
