"""Write the generated part of `docs/studies.md`: every field of a study and of a run, from the code that reads them.

    python scripts/write_studies_page.py

The text above the marker is written by hand and kept. Meanings and defaults are those of the schema; an example of each
field stands here, as lines to put into `STUDY`, and a test reads them all.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from generated import below
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from protege.cli.options import default_of
from protege.runs.config import RunConfig, fields_below
from protege.study.question import schema, search

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "studies.md"
STUDY = """\
question: does it help?
base: {data: cifar10-mini, student: resnet8, optim.epochs: 4}
pairs:
  - {name: wide, teacher: resnet8x4, student: resnet8}
  - {name: deep, teacher: resnet20, student: resnet8}
arms:
  alone: {method: supervised}
  kd: {method: kd}
  tuned: {method: kd, vary: {method.temperature: [1, 4]}}
seeds: {report: 3}
"""
SEARCHING = "arms: {tuned: {method: kd, search: {method.temperature: 1.0 16.0 log}}}"
COMPUTED = {schema.Study: {"name", "changes", "differs"}, schema.Teacher: {"over_every_run"}}
RUN_FIELDS = {  # where run fields stand among a part's own
    schema.Arm: "arms: {kd: {method: kd, optim.lr: 0.05}}",
    schema.Teacher: "teachers: {resnet20: {model: resnet20, optim.epochs: 10}}",
    schema.Pair: "pairs: [{student: resnet8, teacher: resnet20, optim.lr: 0.05}]",
}
PARTS: dict[type[BaseModel], tuple[str, dict[str, str]]] = {
    schema.Study: (
        "The file",
        {
            "question": "question: does a wide teacher help more?",
            "base": "base: {data: cifar10-mini, student: resnet8, optim: {epochs: 4}}",
            "every_run": "every_run: {data.limit: 1000}",
            "teachers": "teachers: {resnet20: {model: resnet20, optim.epochs: 10}}",
            "arms": "arms: {alone: {method: supervised}, kd: {method: kd}}",
            "pairs": "pairs: [{teacher: resnet20, student: resnet8}]",
            "seeds": "seeds: {select: [100, 101], report: 5}",
            "protocol": "protocol: literature",
            "report": "report: best",
            "search": "{search: {trials: 8}, arms: {tuned: {method: kd, search: {method.temperature: 1.0 16.0 log}}}}",
            "choose_by": "choose_by: nll",
            "ship": "ship: true",
            "compare": "compare: [{treatment: kd, primary: true}]",
            "published": "published: [{arm: kd, pair: wide, value: 70.66}]",
            "notes": "notes: the publication trained for 240 epochs",
            "cost": "cost: {hours: 2, hardware: one H200}",
            "reduced": "reduced: {differs: one epoch, every_run: {optim.epochs: 1}}",
        },
    ),
    schema.Arm: (
        "`arms`: ways of training",
        {
            "vary": "arms: {tuned: {method: kd, vary: {method.temperature: [1, 2, 4]}}}",
            "init": "arms: {alone: {method: supervised}, half: {method: supervised, init: alone, compress.prune: 0.5}}",
            "search": "arms: {tuned: {method: kd, search: {optim.lr: 0.01 0.5 log, method.temperature: [1, 2, 4, 8]}}}",
        },
    ),
    search.Search: (
        "`search`: what each arm that searches may spend",
        {
            "trials": f"{{search: {{trials: 24}}, {SEARCHING}}}",
            "minutes": f"{{search: {{minutes: 60}}, {SEARCHING}}}",
            "at_once": f"{{search: {{trials: 24, at_once: 8}}, {SEARCHING}}}",
            "sampler": f"{{search: {{sampler: random}}, {SEARCHING}}}",
            "stop": f"{{search: {{stop: halving}}, {SEARCHING}}}",
            "seed": f"{{search: {{seed: 1}}, {SEARCHING}}}",
        },
    ),
    search.Axis: (
        "a range or choices of `search`, in full",
        {
            "low": "arms: {tuned: {method: kd, search: {optim.lr: {low: 0.01, high: 0.5}}}}",
            "high": "arms: {tuned: {method: kd, search: {optim.lr: {low: 0.01, high: 0.5}}}}",
            "log": "arms: {tuned: {method: kd, search: {optim.lr: {low: 0.01, high: 0.5, log: true}}}}",
            "choices": "arms: {tuned: {method: kd, search: {optim.lr: 0.01 0.5 log, optim.optimizer: {choices: [sgd, adamw]}}}}",
        },
    ),
    schema.Teacher: (
        "`teachers`: networks that teach",
        {
            "from": "teachers: {resnet20: {from: runs/resnet20-supervised-1a2b3c4d5e6f}}",
            "weights": "teachers: {resnet20: {model: resnet20, weights: best}}",
            "mean": "teachers: {resnet20: {model: resnet20, from: w.pth, mean: [.49, .48, .45], std: [.25, .24, .26]}}",
            "std": "teachers: {resnet20: {model: resnet20, from: w.pth, mean: [.49, .48, .45], std: [.25, .24, .26]}}",
            "seeds": "teachers: {resnet20: {model: resnet20, seeds: 3}}",
            "assign": "teachers: {resnet20: {model: resnet20, seeds: 3, assign: cross}}",
        },
    ),
    schema.Pair: (
        "`pairs`: teachers and students that all arms are crossed with",
        {
            "name": "pairs: [{name: deep, teacher: resnet20, student: resnet8}]",
            "arms": "pairs: [{teacher: resnet20, student: resnet8, arms: {kd: {method.temperature: 2}}}]",
        },
    ),
    schema.Seeds: ("`seeds`", {"select": "seeds: {select: 3}", "report": "seeds: {report: [0, 1, 2, 3]}"}),
    schema.Hypothesis: (
        "`compare`: what is asked, before the first run",
        {
            "treatment": "compare: [{treatment: kd}]",
            "control": "compare: [{treatment: tuned, control: kd}]",
            "control_pair": "compare: [{treatment: kd, control: kd, pair: wide, control_pair: deep}]",
            "at": "{protocol: literature, compare: [{treatment: tuned, at: {method.temperature: 4}}]}",
            "control_at": "{protocol: literature, compare: [{treatment: tuned, control: tuned, at: {method.temperature: 4}, "
            "control_at: {method.temperature: 1}}]}",
            "than": "compare: [{treatment: kd, pair: wide, than: {pair: deep}}]",
            "among": "{protocol: literature, compare: [{among: tuned}]}",
            "pair": "compare: [{treatment: kd, pair: deep}]",
            "measure": "compare: [{treatment: kd, measure: ece}]",
            "test": "compare: [{treatment: kd, test: paired}]",
            "margin": "compare: [{treatment: kd, margin: 0.5}]",
            "primary": "compare: [{treatment: kd, primary: true}, {treatment: tuned}]",
        },
    ),
    schema.Than: (
        "`than`: the other difference of a difference of differences",
        {
            "treatment": "compare: [{treatment: kd, than: {treatment: tuned}}]",
            "control": "compare: [{treatment: tuned, control: alone, than: {control: kd}}]",
            "pair": "compare: [{treatment: kd, pair: wide, than: {pair: deep}}]",
        },
    ),
    schema.Published: (
        "`published`: figures to stand beside ours",
        {
            "arm": "published: [{arm: kd, pair: deep, value: 70.66}]",
            "teacher": "published: [{teacher: resnet20, value: 92.4}]",
            "pair": "published: [{arm: kd, pair: deep, value: 70.66}]",
            "at": "{protocol: literature, published: [{arm: tuned, pair: deep, at: {method.temperature: 4}, value: 70.66}]}",
            "against": "published: [{arm: kd, pair: deep, against: alone, value: 1.6}]",
            "value": "published: [{arm: kd, pair: deep, value: 70.66}]",
            "sd": "published: [{arm: kd, pair: deep, value: 70.66, sd: 0.2, seeds: 5}]",
            "seeds": "published: [{arm: kd, pair: deep, value: 70.66, seeds: 5}]",
            "measure": "published: [{arm: kd, pair: deep, measure: gap_recovered, value: 48}]",
            "split": "published: [{arm: kd, pair: deep, split: heldout, value: 71.2}]",
            "note": "published: [{arm: kd, pair: deep, value: 70.66, note: best of five epochs}]",
        },
    ),
    schema.Cost: (
        "`cost`: of the full form",
        {"hours": "cost: {hours: 0.5, hardware: 2 cores}", "hardware": "cost: {hours: 2, hardware: one H200}"},
    ),
}


def main() -> None:
    PAGE.write_text(page())


def page() -> str:
    """The whole page: its text as it stands, and everything below the marker anew."""
    return below(PAGE, "write_studies_page.py", [*study_fields(), *run_fields()])


def study_fields() -> Iterator[str]:
    yield "## Every field of a study\n"
    yield "The examples are lines for this file:\n"
    yield f"```yaml\n{STUDY}```\n"
    for part, (title, examples) in PARTS.items():
        yield f"### {title}\n"
        yield f"{textwrap.dedent(part.__doc__ or '').strip().splitlines()[0]}\n"
        yield "| field | default | meaning | example |"
        yield "|---|---|---|---|"
        if part in RUN_FIELDS:
            yield f"| *any field of a run* | - | {part.model_fields['fields'].description} | `{RUN_FIELDS[part]}` |"
        for name, info in own_fields(part):
            yield f"| `{name}` | {default(info)} | {cell(info.description or '')} | `{examples[name]}` |"
        yield ""


def own_fields(part: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """As they are written in a file, without those that are worked out."""
    for name, info in part.model_fields.items():
        if name != "fields" and name not in COMPUTED.get(part, ()):
            yield info.alias or name, info


def run_fields() -> Iterator[str]:
    yield "## Every field of a run\n"
    yield "In `base`, `every_run`, an arm, a teacher or a pair; `student` is the same as `model`. As an option: `--optim.lr 0.05`.\n"
    yield "| field | default | meaning |"
    yield "|---|---|---|"
    for path, info, _ in fields_below(RunConfig):
        if path != "seed":
            yield f"| `{path}` | {default(info)} | {cell(info.description or '')} |"
    yield ""


def default(info: FieldInfo) -> str:
    """As a file would say it; what is worked out where it is left out has none."""
    if (info.description or "").startswith("default"):
        return "-"
    told = info.default
    if isinstance(told, BaseModel):
        return f"`{told.model_dump(mode='json', exclude_none=True)}`"
    if isinstance(told, bool):
        return f"`{str(told).lower()}`"
    text = str(list(told)) if isinstance(told, tuple) and told else default_of(info) or "-"
    return text if text in ("-", "must be given") else f"`{text}`"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
