"""Make the teacher that comes with protege: trained on CIFAR-10 without any image of `cifar10-mini`.

    python scripts/make_demo_teacher.py --data-dir DIR --runs runs/demo-teacher

It trains (about six minutes of one core; stopped, it goes on), reads the test set once, and writes what students need
into src/protege/teacher/of_cifar10_mini: the run, the marks of the images that it has seen, and a page that says where it is from.
"""

import argparse
import json
import shutil
from pathlib import Path

from protege.evaluate import evaluate
from protege.runs import Run
from protege.runs.config import Place
from protege.teacher.bundled import FILES
from protege.train import train

TEACHER = {
    "data": {"name": "cifar10", "without": "cifar10-mini", "heldout": 1000},
    "model": {"name": "quick_small", "dirac": True, "whiten": True},
    "views": {"padding": 2, "alternate": True},
    "optim": {
        "epochs": 10,
        "batch_size": 512,
        "lr": 0.75,
        "momentum": 0.85,
        "nesterov": True,
        "weight_decay": 0.00133,
        "schedule": "linear",
        "warmup_epochs": 2,
        "floor_lr": 0.05,
        "norm_bias_lr": 64,
        "look_ahead": 0.95,
        "precision": "bf16",
    },
    "evaluate_every": 2,
}
TARGET = Path(__file__).parents[1] / "src" / "protege" / "teacher" / "of_cifar10_mini"
COMMAND = "python scripts/make_demo_teacher.py --data-dir DIR"
MOST_BYTES = 1_500_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of CIFAR-10")
    parser.add_argument("--runs", type=Path, default=Path("runs/demo-teacher"))
    parser.add_argument("--target", type=Path, default=TARGET)
    arguments = parser.parse_args()
    place = Place(runs=arguments.runs, data_dir=arguments.data_dir, threads=1, compile=False)
    run = train(TEACHER, place)
    scores = run.evaluation("test") if (run.evaluations / "test.json").exists() else evaluate(run, place, test=True)
    pack(run, scores["final"]["accuracy"], arguments.target)


def pack(run: Run, accuracy: float, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    (target / "seen").mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(run.path / name, target / name)
    record = {**run.record(), "command": COMMAND}  # that of this machine names its folders
    (target / "run.json").write_text(json.dumps(record, indent=2) + "\n")
    for name in record["seen"]["sets"]:
        shutil.copyfile(run.path.parent / "seen" / f"{name}.u64", target / "seen" / f"{name}.u64")
    (target / "ORIGIN.md").write_text(origin(run, accuracy))
    if (size := (target / "model.safetensors").stat().st_size) > MOST_BYTES:
        raise SystemExit(f"The weights take {size:,} bytes, more than {MOST_BYTES:,}: choose a smaller network.")


def origin(run: Run, accuracy: float) -> str:
    result, record, optim = run.result(), run.record(), run.config().optim
    made = record["environment"]
    about = (
        f"A {run.config().model.name} ({result['parameters']:,} parameters), trained by protege for {optim.epochs} epochs on "
        f"{record['data']['train']:,} training images of CIFAR-10,\nnone of which is in `cifar10-mini`: compared by marks of "
        "their pixels, which lie in `seen/`."
    )
    return f"""# The teacher that comes with protege

{about}

| images | accuracy % |
|---|---:|
| {record["data"]["heldout"]:,} held out | {100 * result["heldout_accuracy"]:.2f} |
| {record["data"]["test"]:,} official test images, read once | {100 * accuracy:.2f} |

One seed ({run.config().seed}); {made["processor"]}, torch {made["torch"]}, {result["finished"][:10]}. Made by `{COMMAND}`.
"""


if __name__ == "__main__":
    main()
