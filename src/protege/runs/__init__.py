"""A run: what it is (`config`), where it lies (`folder`, `files`), what it is made on (`process`, `hardware`, `tuning`),
how it looks, and who else is told (`display`)."""

from typing import TYPE_CHECKING

from protege.lazy import at_first_use

if TYPE_CHECKING:
    from protege.runs.files import append_line as append_line
    from protege.runs.files import keep_lines as keep_lines
    from protege.runs.files import read_json as read_json
    from protege.runs.files import read_lines as read_lines
    from protege.runs.files import read_weights as read_weights
    from protege.runs.files import whole as whole
    from protege.runs.files import write_json as write_json
    from protege.runs.files import write_weights as write_weights
    from protege.runs.folder import LEDGER as LEDGER
    from protege.runs.folder import Run as Run
    from protege.runs.folder import drop_checkpoints as drop_checkpoints
    from protege.runs.folder import every as every
    from protege.runs.folder import find as find
    from protege.runs.folder import load_checkpoint as load_checkpoint
    from protege.runs.folder import locked as locked
    from protege.runs.folder import read_ledger as read_ledger
    from protege.runs.folder import save_checkpoint as save_checkpoint
    from protege.runs.folder import start as start
    from protege.runs.folder import write_ledger as write_ledger
    from protege.runs.hardware import cores as cores
    from protege.runs.hardware import environment as environment
else:
    __getattr__ = at_first_use(
        __name__,
        {
            "protege.runs.files": "append_line keep_lines read_json read_lines read_weights whole write_json write_weights",
            "protege.runs.folder": "LEDGER Run drop_checkpoints every find load_checkpoint locked read_ledger save_checkpoint "
            "start write_ledger",
            "protege.runs.hardware": "cores environment",
        },
    )
