"""Out of the door: predict, export, quantise, measure. `load(RUN_OR_FILE)` gives what answers; torch waits to be needed."""

from __future__ import annotations

from protege.ship.shipped import Prediction, Shipped, load

__all__ = ["Prediction", "Shipped", "load"]
