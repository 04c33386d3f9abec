"""Whether the files here are what they are said to be: bytes, and accuracy on the 10,000 official test images of CIFAR-10.

    python results/studies/tiny/check.py --data-dir DIR

`claims.json` beside this file holds what is claimed, {"resnet8.onnx": {"bytes": ..., "accuracy": ...}}; it ends with 1 where a claim fails.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protege import data
from protege.ship import load

HERE = Path(__file__).parent
NEAR = 0.02  # points: another processor may round a tie otherwise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of CIFAR-10")
    place = parser.parse_args().data_dir
    claims = HERE / "claims.json"
    if not claims.exists():
        raise SystemExit(f"{claims} is missing: nothing is claimed here yet.")
    test = data.load("cifar10", place).test
    pixels, labels = test.pixels[:].numpy(), test.labels.numpy()
    kept = [check(HERE / name, claim, pixels, labels) for name, claim in json.loads(claims.read_text()).items()]
    raise SystemExit(0 if all(kept) else 1)


def check(file: Path, claim: dict[str, float], pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> bool:
    """One file; says what was found beside what was claimed."""
    shipped = load(file)
    said = np.concatenate([shipped.probabilities(part).argmax(1) for part in np.array_split(pixels, 20)])
    size, accuracy = file.stat().st_size, 100 * float((said == labels).mean())
    kept = size == claim["bytes"] and abs(accuracy - claim["accuracy"]) <= NEAR
    print(
        f"{file.name}: {size:,} bytes ({claim['bytes']:,} claimed), {accuracy:.2f} % ({claim['accuracy']:.2f} % claimed): "
        f"{'kept' if kept else 'NOT kept'}"
    )
    return kept


if __name__ == "__main__":
    main()
