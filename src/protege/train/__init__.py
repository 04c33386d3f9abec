"""Training: the loop, what learns, how weights move, in which arithmetic; and `bench`, how quick all that is here."""

from typing import TYPE_CHECKING

from protege.lazy import at_first_use

if TYPE_CHECKING:
    from protege.train.loop import Plan as Plan
    from protege.train.loop import plan as plan
    from protege.train.loop import record_of as record_of
    from protege.train.loop import train as train
else:
    __getattr__ = at_first_use(__name__, {"protege.train.loop": "Plan plan record_of train"})
