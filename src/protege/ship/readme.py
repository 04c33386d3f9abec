"""README.md of a pushed run: its scores in the hub's own form at the head, then what it is and how to load it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from protege.data.outside.code import is_own
from protege.runs import Run, read_json
from protege.runs.keeping.rows import row_of
from protege.ship.runtimes import about_run
from protege.stats import proportion_interval

DATASETS = {"cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}  # as the hub calls them
IN_CACHE = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/")
MOST_CLASSES = 100  # that are named


def readme(run: Run, folder: Path, repo: str, licence: str | None) -> str:
    """Of what was laid out in `folder`, so that it says no more of this machine than the rest does."""
    import yaml

    data = read_json(folder / "run.json")["data"]
    head = yaml.safe_dump(front(run, data, repo, licence), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{head}---\n\n{_text(run, data, folder, repo)}"


# ---- what the hub's pages and searches read ----


def front(run: Run, data: Mapping[str, Any], repo: str, licence: str | None) -> dict[str, Any]:
    config = run.config()
    taught = ["knowledge-distillation"] if config.teacher else []
    timm = ["timm"] if config.model.name.startswith("timm:") else []
    found = {
        "license": licence,
        "library_name": "protege",
        "pipeline_tag": "image-classification",
        "tags": ["protege", *taught, *timm],
        "datasets": [DATASETS[data["name"]]] if data["name"] in DATASETS else None,
        "base_model": began_as(config.model.weights),
        "teacher": [one for one in row_of(run)["teachers"] if one.startswith("hub:")] or None,
        "metrics": ["accuracy"],
        "model-index": [{"name": repo.partition("/")[2], "results": [*_results(run, data)]}],
    }
    return {key: value for key, value in found.items() if value}


def began_as(weights: str | None) -> str | None:
    """The repository that initial weights were fetched from."""
    found = IN_CACHE.search(weights or "")
    return f"{found[1]}/{found[2]}" if found else None


def _results(run: Run, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind = DATASETS.get(data["name"], re.sub(r"[^\w.-]+", "-", data["name"]))
    for split, words, scores in _scores(run):
        figures = {"accuracy": scores["accuracy"], **{key: scores[key] for key in ("nll", "ece") if key in scores}}
        yield {
            "task": {"type": "image-classification", "name": "Image classification"},
            "dataset": {"type": kind, "name": data["name"], "split": split},
            "metrics": [
                {"type": name, "value": round(value, 6), "name": f"{name}, {scores['images']:,} {words}"}
                for name, value in figures.items()
            ],
        }


def _scores(run: Run) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Split, its images in words, and the last epoch's scores, as far as it was judged."""
    for split, words in (("test", "test images"), ("heldout", "held-out images")):
        if (run.evaluations / f"{split}.json").exists():
            yield ("test" if split == "test" else "validation"), words, run.evaluation(split)["final"]
        elif split == "heldout" and (accuracy := run.result()["heldout_accuracy"]) is not None:
            yield "validation", words, {"accuracy": accuracy, "images": run.record()["data"]["heldout"]}


# ---- what people read ----


def _text(run: Run, data: Mapping[str, Any], folder: Path, repo: str) -> str:
    config, about = run.config(), about_run(run)
    network, teachers = Path(config.model.name).name, row_of(run)["teachers"]
    classes = f"{', '.join(about.classes[:MOST_CLASSES])}{', ...' if len(about.classes) > MOST_CLASSES else ''}"
    rows = {
        "network": f"{network}, {run.result()['parameters']:,} parameters",
        "trained on": f"{data['train']:,} images of {data['name']} (fingerprint {data['fingerprint'][:12]})",
        "method, taught by": f"{config.method.name.rpartition('/')[2]}, {', '.join(teachers) or 'nobody'}",
        **{f"accuracy, {words}": _judged(scores) for _, words, scores in _scores(run)},
        "temperature": "not fitted"
        if about.temperature is None
        else f"{about.temperature:.3f}, fitted on held-out images",
        "trained with": f"torch {run.record()['environment'].get('torch')}, on {_machine(run)}",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""# {repo.partition("/")[2]}

An image classifier of {len(about.classes)} classes, made with protege.

{_loading(repo, is_own(config.model.name), network, data["name"])}
| | |
|---|---|
{table}

**Input**: {about.preprocessing}.

**Classes**: {classes}.

Held-out images chose among runs, perhaps; they are no test set.
Meant for pictures like those that it was trained on: of others it names a class all the same.

`run.json` is the whole description. `seen/` tells by 64 bits of each image what it and its teachers were trained on, and holds
no image: protege refuses to judge a student of it by those.
{_exports(folder)}"""


def _loading(repo: str, own: bool, network: str, data: str) -> str:
    if own:
        return f"""Its network is code, which is not here. Where you have that file: `--teacher hub:{repo} --teacher.model {network}`.
"""
    return f"""```python
from protege.ship import load  # pip install 'protege[hub]'

shipped = load("hub:{repo}")
said = shipped.predict("photo.jpg")
print(said.name, said.probability)
```

```sh
protege predict hub:{repo} photo.jpg
protege train --data {"folder:photos" if ":" in data else data} --model resnet8 --teacher hub:{repo} --method kd
```
"""


def _judged(scores: Mapping[str, Any]) -> str:
    share, images = scores["accuracy"], scores["images"]
    low, high = (100 * one for one in proportion_interval(round(share * images), images))
    return f"{100 * share:.2f} % of {images:,} (95 % interval {low:.2f} to {high:.2f})"


def _machine(run: Run) -> str:
    environment = run.record()["environment"]
    on_gpu = run.record()["device"].startswith("cuda")
    return str(environment.get("gpu") if on_gpu else environment.get("processor"))


def _exports(folder: Path) -> str:
    cards = sorted((folder / "export").glob("*/card.json"))
    lines = [
        f"- `{card.parent.relative_to(folder)}/{found['file']}`: {found['format']} {found['precision']}, {found['bytes']:,} bytes"
        for card in cards
        for found in [read_json(card)]
    ]
    return (
        "\n".join(["\nExported files, each with its card and a check that needs no protege:\n", *lines, ""])
        if lines
        else ""
    )
