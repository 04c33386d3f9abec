"""What the networks of the answer see in the same images: features, where they look, whose mistakes, what the teacher says."""

from __future__ import annotations

from dataclasses import replace

from protege.report.look.drawn import sections
from protege.report.look.seen import Seen
from protege.report.material import Material
from protege.report.page.blocks import Block, Figures, Section, Words
from protege.study.findings import RunRow


def looked(material: Material) -> Section | None:
    if material.looked is None:
        return None
    seen, rows = material.looked.seen, (material.looked.control, material.looked.treatment)
    names = [*(one.name for one in seen.everybody if one is seen.teacher), *map(_one, seen.students, rows)]
    words = (
        f"One training of each, asked about the first {len(seen.images)} held-out images: {', '.join(names)}. "
        "Another seed may see otherwise: these are pictures, and no evidence."
    )
    parts = (block for part in sections(seen, "pca") for block in _under(part))
    return Section("look", "What they see in the same images", [Words(words), *parts])


def _one(seen: Seen, row: RunRow) -> str:
    return f"{seen.name} (seed {row.seed}, {row.id})"


def _under(part: Section) -> list[Block]:
    """The blocks of a page's section; a drawing that comes first bears its title, as a table has one."""
    first, *others = part.blocks
    return [replace(first, title=part.title) if isinstance(first, Figures) else first, *others]
