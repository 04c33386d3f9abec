"""Distil big image classifiers into small ones worth shipping, with honest evidence that it helped.

    from protege.train import train
    from protege.evaluate import compare, evaluate

    teacher = train({"data": "cifar10-mini", "model": "resnet20"})
    student = train({"data": "cifar10-mini", "model": "resnet8", "teacher": teacher, "method": "kd"})

Each station of the flow is a module of its own, and is imported when it is needed.
"""

import os

__version__ = "0.1.0"

# Threads that wait for each other by spinning starve beside a busy neighbour, who has the core of the one they wait for. A short spin
# bridges what lies between two operations; then the core is given up. Read by libgomp, which comes with torch, when it is loaded.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "20000"
