"""The process that trains: what it settles on its machine, and the others that make the same run."""

from typing import TYPE_CHECKING

from protege.lazy import at_first_use

if TYPE_CHECKING:
    from protege.runs.process.settled import begun_by as begun_by
    from protege.runs.process.settled import compute_alike as compute_alike
    from protege.runs.process.settled import keep_freed_memory as keep_freed_memory
    from protege.runs.process.settled import settle as settle
    from protege.runs.process.settled import stoppable as stoppable
else:
    __getattr__ = at_first_use(
        __name__, {"protege.runs.process.settled": "begun_by compute_alike keep_freed_memory settle stoppable"}
    )
