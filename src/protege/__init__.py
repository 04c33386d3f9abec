"""Distil big image classifiers into small ones worth shipping, with honest evidence that it helped.

    from protege import compare, fit, score

    teacher = fit({"data": "cifar10-mini", "model": "resnet20"})
    student = fit({"data": "cifar10-mini", "model": "resnet8", "teacher": teacher, "method": "kd"})
    score(student)["final"]["accuracy"]

The names in `__all__` are what other people's code may rely on (docs/python.md); all else may change. Each is imported, and torch with
it, when it is first asked for.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protege.errors import ProtegeError as ProtegeError
    from protege.errors import Stopped as Stopped
    from protege.evaluate import compare as compare
    from protege.evaluate import evaluate as score
    from protege.evaluate import predictor_of as predictor_of
    from protege.methods import Method as Method
    from protege.report.make import make_report as make_report
    from protege.runs import Run as Run
    from protege.runs import every as every
    from protege.runs import find as find
    from protege.runs.config import Place as Place
    from protege.runs.config import RunConfig as RunConfig
    from protege.runs.config import check_run as check_run
    from protege.runs.keeping.rows import rows as rows
    from protege.study.findings.record import Findings as Findings
    from protege.study.run import study as run_study
    from protege.train import train as fit

__all__ = [
    "Findings",
    "Method",
    "Place",
    "ProtegeError",
    "Run",
    "RunConfig",
    "Stopped",
    "check_run",
    "compare",
    "every",
    "find",
    "fit",
    "make_report",
    "predictor_of",
    "rows",
    "run_study",
    "score",
]

HOMES = {
    "Findings": "protege.study.findings.record:Findings",
    "Method": "protege.methods:Method",
    "Place": "protege.runs.config:Place",
    "ProtegeError": "protege.errors:ProtegeError",
    "Run": "protege.runs:Run",
    "RunConfig": "protege.runs.config:RunConfig",
    "Stopped": "protege.errors:Stopped",
    "check_run": "protege.runs.config:check_run",
    "compare": "protege.evaluate:compare",
    "every": "protege.runs:every",
    "find": "protege.runs:find",
    "fit": "protege.train:train",
    "make_report": "protege.report.make:make_report",
    "predictor_of": "protege.evaluate:predictor_of",
    "rows": "protege.runs.keeping.rows:rows",
    "run_study": "protege.study.run:study",
    "score": "protege.evaluate:evaluate",
}

__version__ = "0.1.0"

# Threads that wait for each other by spinning starve beside a busy neighbour, who has the core of the one they wait for. A short spin
# bridges what lies between two operations; then the core is given up. Read by libgomp, which comes with torch, when it is loaded.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "20000"


def __getattr__(name: str) -> object:
    """One of the names above, from its home; modules of the package are found without this."""
    import importlib

    if name not in HOMES:
        raise AttributeError(f"module 'protege' has no attribute '{name}'")
    module, _, own = HOMES[name].partition(":")
    return getattr(importlib.import_module(module), own)
