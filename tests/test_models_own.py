"""A network from a file of one's own: found, made, known by its code, and never run without its user's word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hostile_world import command
from torch import nn

from protege.errors import ModelError
from protege.models import ModelConfig, build
from protege.models.measure import describe
from protege.models.network import wrap
from protege.runs.config import check_run
from protege.runs.identity import run_id

NETS = """
from torch import nn

class SmallNet(nn.Module):
    def __init__(self, num_classes, width=1.0):
        super().__init__()
        channels = int(8 * width)
        self.first = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1), nn.ReLU(inplace=True))
        self.second = nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, 2, 1), nn.ReLU())
        self.out = nn.Linear(2 * channels, num_classes)

    def forward(self, images):
        return self.out(self.second(self.first(images)).mean((2, 3)))

def ten():
    return SmallNet(10)

def passing(**kwargs):
    return SmallNet(**kwargs)

def needing(depth):
    return SmallNet(10)

def broken(num_classes):
    raise RuntimeError("no luck")

made = SmallNet(10)
nothing = len
"""

# As CIFAR's ResNets are written where shortcuts have no weights: every second pixel, and channels of zeros on both sides.
THEIRS = """
import torch
import torch.nn as nn
import torch.nn.functional as F

class LambdaLayer(nn.Module):
    def __init__(self, lambd):
        super().__init__()
        self.lambd = lambd

    def forward(self, x):
        return self.lambd(x)

class Block(nn.Module):
    def __init__(self, before, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != planes:
            self.shortcut = LambdaLayer(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4)))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))

class ResNet(nn.Module):
    def __init__(self, blocks, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._layer(16, 16, blocks, 1)
        self.layer2 = self._layer(16, 32, blocks, 2)
        self.layer3 = self._layer(32, 64, blocks, 2)
        self.linear = nn.Linear(64, num_classes)

    def _layer(self, before, planes, blocks, stride):
        return nn.Sequential(*(Block(before if n == 0 else planes, planes, stride if n == 0 else 1) for n in range(blocks)))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.linear(F.avg_pool2d(out, out.size()[3]).view(out.size(0), -1))

def resnet8():
    return ResNet(1)
"""
TINY = ["--data", "cifar10-mini", "--data.limit", "100", "--optim.epochs", "1", "--quiet", "--json"]


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def test_a_class_is_called_with_the_number_of_classes_and_what_it_is_given() -> None:
    network = build(ModelConfig(name="nets.py:SmallNet", args={"width": 0.5}), 7)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert network.get_parameter("first.0.weight").shape[0] == 4


@pytest.mark.parametrize("name", ["ten", "passing"])
def test_a_function_may_take_no_number_or_pass_it_on(name: str) -> None:
    assert build(ModelConfig(name=f"nets.py:{name}"), 10)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_stages_and_classifier_are_found_and_not_overwritten() -> None:
    config = ModelConfig(name="nets.py:SmallNet")
    network = wrap(build(config, 7), config)
    assert network.classifier == "out"
    images = torch.randn(2, 3, 32, 32)
    first = network(images, ("stages",))[1]["stage1"]
    assert torch.equal(first, network.module.get_submodule("first")(images))


@pytest.mark.parametrize(
    ("name", "args", "complaint"),
    [
        ("SmallNett", {}, "has no 'SmallNett'. Did you mean 'SmallNet'"),
        ("SmallNet", {"widht": 1}, "takes no argument 'widht'. Did you mean 'width'"),
        ("ten", {"width": 1}, "takes no argument 'width'. It takes none"),
        ("needing", {}, "needs depth: give model.args.depth"),
        ("broken", {}, r"broken\(num_classes=10\) fails: RuntimeError: no luck"),
        ("made", {}, "Name a class of network"),
        ("nothing", {}, "made a|fails"),
        ("nn", {}, "is a module"),
    ],
)
def test_what_makes_no_network_is_said(name: str, args: dict[str, object], complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        build(ModelConfig.model_validate({"name": f"nets.py:{name}", "args": args or None}), 10)


def test_its_code_and_its_arguments_are_in_the_id_and_its_place_is_not(nets: Path) -> None:
    def identity(name: str, **args: float) -> str:
        model = {"name": name, "args": args} if args else name
        return run_id(check_run({"model": model}), "data", [], Path("nowhere"))

    one = identity("nets.py:SmallNet")
    assert one.startswith("SmallNet-supervised-")
    (nets / "sub").mkdir()
    (nets / "sub" / "moved.py").write_text(NETS)
    assert identity("sub/moved.py:SmallNet") == one == identity(f"{nets}/nets.py:SmallNet")
    assert identity("nets.py:SmallNet", width=0.5) != one
    (nets / "nets.py").write_text(NETS.replace("8 * width", "9 * width"))
    assert identity("nets.py:SmallNet") != one


def test_files_that_it_imports_from_beside_it_belong_to_it(nets: Path) -> None:
    (nets / "theirs").mkdir()
    (nets / "theirs" / "net.py").write_text("import blocks\nfrom .more import deep\nfrom torch import nn\n" + CHAINED)
    (nets / "theirs" / "blocks.py").write_text("WIDTH = 4\n")
    (nets / "theirs" / "more").mkdir()
    (nets / "theirs" / "more" / "__init__.py").write_text("")
    (nets / "theirs" / "more" / "deep.py").write_text("from ..blocks import WIDTH\n")
    config = {"model": "theirs/net.py:make"}
    before = run_id(check_run(config), "data", [], Path("nowhere"))
    assert build(ModelConfig(name="theirs/net.py:make"), 3)(torch.zeros(1, 3, 8, 8)).shape == (1, 3)
    (nets / "theirs" / "blocks.py").write_text("WIDTH = 6\n")
    assert run_id(check_run(config), "data", [], Path("nowhere")) != before
    assert (
        sum(weight.numel() for weight in build(ModelConfig(name="theirs/net.py:make"), 3).parameters()) == 6 * 28 + 21
    )


CHAINED = """
def make(num_classes):
    assert blocks.WIDTH == deep.WIDTH
    return nn.Sequential(nn.Conv2d(3, blocks.WIDTH, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(blocks.WIDTH, num_classes))
"""


def test_importing_the_file_does_not_move_the_first_weights(nets: Path) -> None:
    """Else a run that is resumed, whose file is imported at another moment, would begin otherwise."""
    (nets / "noisy.py").write_text(NETS + "\nimport torch\ntorch.manual_seed(5)\ntorch.rand(3)\n")
    torch.manual_seed(0)
    drawn = [build(ModelConfig(name="noisy.py:SmallNet"), 3).get_parameter("out.weight").clone()]
    torch.manual_seed(0)
    drawn.append(build(ModelConfig(name="noisy.py:SmallNet"), 3).get_parameter("out.weight").clone())
    assert torch.equal(*drawn)


def test_it_is_counted_like_our_own() -> None:
    row = describe(ModelConfig(name="nets.py:SmallNet", args={"width": 0.5}), 10, 32)
    assert row["parameters"] == 3 * 4 * 9 + 4 + 4 * 8 * 9 + 8 + 8 * 10 + 10
    assert row["stages"] == {"stage1": (4, 16, 16), "stage2": (8, 8, 8)}


def test_another_number_of_classes_than_the_data_have_is_said() -> None:
    said = command(["train", *TINY, "--model", "nets.py:ten", "--data.classes", "[cat, dog]"])
    assert said.code == 2
    assert "tells 10 classes apart, and the data have 2" in said.err
    assert not Path("runs").exists()


def test_a_foreign_repository_teaches_by_two_options_with_its_authors_accuracy(nets: Path) -> None:
    """Logits of the teacher through protege are those that its own code makes of images normalised as its author did."""
    from protege import data, runs
    from protege.evaluate import evaluate

    (nets / "theirs.py").write_text(THEIRS)
    space: dict[str, object] = {}
    exec(THEIRS, space)
    torch.manual_seed(3)
    theirs = nn.DataParallel(space["resnet8"]())  # type: ignore[operator]
    torch.save({"state_dict": theirs.state_dict(), "best_prec1": 12.3}, "resnet8.th")
    author = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    said = command(
        ["train", *TINY, "--model", "nets.py:SmallNet", "--teacher", "resnet8.th", "--teacher.model", "theirs.py:resnet8",
         "--teacher.mean", str(author["mean"]), "--teacher.std", str(author["std"]), "--remember", "none"]
    )  # fmt: skip
    assert said.code == 0, said.err
    run = runs.find(Path("runs"), json.loads(said.out)["id"])
    heldout = data.load(run.config().data).heldout
    assert heldout is not None
    mean, std = (torch.tensor(author[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        logits = theirs.module.eval()((heldout.pixels[:] / 255 - mean) / std)
    by_hand = (logits.argmax(1) == heldout.labels).double().mean().item()
    assert evaluate(run)["teacher"]["accuracy"] == pytest.approx(by_hand)
    alone = command(
        ["evaluate", "resnet8.th", "--model", "theirs.py:resnet8", "--mean", str(author["mean"]), "--std", str(author["std"]),
         *TINY[:TINY.index("--optim.epochs")], "--json"]
    )  # fmt: skip
    assert alone.code == 0, alone.err
    assert json.loads(alone.out)["final"]["accuracy"] == pytest.approx(by_hand)


def test_a_run_outlives_an_edit_of_its_file(nets: Path) -> None:
    trained = command(["train", *TINY, "--model", "nets.py:SmallNet"])
    assert trained.code == 0, trained.err
    (nets / "nets.py").write_text("raise RuntimeError('edited')")
    again = command(["evaluate", json.loads(trained.out)["id"], "--json"])
    assert again.code == 0, again.err
    assert json.loads(again.out)["final"]["accuracy"] == json.loads(trained.out)["heldout_accuracy"]


def test_looking_at_a_run_runs_no_network_of_a_stranger_and_evaluating_asks(nets: Path) -> None:
    """A record that names a file which was never run here."""
    trained = json.loads(command(["train", *TINY, "--model", "nets.py:SmallNet"]).out)
    run = Path("runs") / trained["id"]
    for file in (nets / "nets.py", run / "code" / "nets.py"):
        file.write_text(NETS + "\nfrom pathlib import Path\nPath('RAN').touch()\n")
    for verb in (["list"], ["show", trained["id"]]):
        assert command(verb).code == 0
    for verb in (["evaluate", trained["id"]], ["train", *TINY, "--model", "resnet8", "--teacher", trained["id"]]):
        said = command(verb)
        assert said.code == 2
        assert "another file now" in said.err and "--trust-code" in said.err
    assert not Path("RAN").exists()


def test_a_network_in_somebodys_description_needs_consent(nets: Path) -> None:
    (nets / "theirs.py").write_text(NETS + "\nfrom pathlib import Path\nPath('RAN').touch()  # 2\n")
    Path("theirs.yaml").write_text("{data: {name: cifar10-mini, limit: 100}, model: theirs.py:SmallNet}")
    said = command(["train", "theirs.yaml", "--quiet"])
    assert said.code == 2
    assert "theirs.yaml names it" in said.err
    assert not Path("RAN").exists()


def test_a_name_that_was_typed_is_no_consent_to_another_that_a_file_has(nets: Path) -> None:
    (nets / "theirs.py").write_text(NETS + "\nfrom pathlib import Path\nPath('RAN').touch()  # 3\n")
    (nets / "mine.py").write_text(
        "from protege.methods import Method\nclass Mine(Method):\n    needs_teacher = False\n"
    )
    Path("theirs.yaml").write_text("{data: {name: cifar10-mini, limit: 100}, model: theirs.py:SmallNet}")
    said = command(["train", "theirs.yaml", "--quiet", "--method", "mine.py:Mine"])
    assert said.code == 2
    assert "theirs.yaml names it" in said.err
    assert not Path("RAN").exists()
    Path("mine.yaml").write_text("{data: {name: cifar11}}")
    assert "theirs.py" not in command(["train", "mine.yaml", "--quiet", "--model", "theirs.py:SmallNet"]).err


def test_a_file_of_weights_is_judged_alone_and_the_ledger_knows_of_its_test(nets: Path) -> None:
    from protege import runs

    torch.save(build(ModelConfig(name="nets.py:SmallNet"), 10).state_dict(), "small.pth")
    few = ["--data", "cifar10-mini", "--data.limit", "100"]
    said = command(["evaluate", "small.pth", "--model", "nets.py:SmallNet", *few, "--test", "--json"])
    assert said.code == 0, said.err
    scores, (line,) = json.loads(said.out), runs.read_ledger(Path("runs"))[0]
    assert (scores["split"], scores["file"]) == ("test", "small.pth")
    assert (line["run"], line["images"]) == ("small.pth", scores["images"])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("small.pth --data cifar10-mini", "also needs --model NAME"),
        ("small.pth --model resnet8", "also needs --data NAME"),
        ("nowhere.pth --model resnet8 --data cifar10-mini", "There is no file nowhere.pth"),
        ("small.pth --model resnet9 --data cifar10-mini", "resnet9"),
        ("small.pth --model resnet8 --data cifar10-mini --mode.stem imagenet", "there is no option --mode.stem"),
        ("small.pth --model resnet8 --data cifar10-mini --data.heldot 0", "there is no option --data.heldot"),
        ("small.pth --model resnet8 --data cifar10-mini --data.heldout -1", "--data.heldout"),
        ("some-run --model.stem imagenet", "there is no option --model.stem"),
    ],
)
def test_what_is_wrong_with_a_file_to_judge_is_one_line(words: str, complaint: str) -> None:
    Path("small.pth").write_bytes(b"")
    said = command(["evaluate", *words.split()])
    assert said.code == 2 and complaint in said.err
    assert said.err.count("\n") == 1 and not Path("runs").exists()


@pytest.mark.slow  # seven processes: pytest -m slow tests/test_models_own.py
def test_a_study_of_a_network_of_ones_own_goes_from_its_file_to_its_page(nets: Path) -> None:
    """Teacher and students; what a YAML file names runs where somebody typed it before."""
    study = {
        "question": "does kd help a network of one's own?",
        "base": {
            "data": {"name": "cifar10-mini", "limit": 60, "heldout": 40},
            "teacher": "wide",
            "student": {"name": "nets.py:SmallNet", "args": {"width": 0.5}},
            "optim": {"epochs": 1, "batch_size": 60},
        },
        "teachers": {"wide": {"model": {"name": "nets.py:SmallNet", "args": {"width": 2.0}}}},
        "arms": {"alone": {"method": "supervised"}, "kd": {"method": "kd"}},
        "compare": [{"treatment": "kd", "control": "alone"}],
        "seeds": {"report": 2},
    }
    Path("own.yaml").write_text(json.dumps(study))
    refused = command(["study", "run", "own.yaml"])
    assert refused.code == 2 and "--trust-code" in refused.err
    assert command(["models", "nets.py:SmallNet"]).code == 0
    said = command(["study", "run", "own.yaml", "--no-probe", "--quiet"])
    assert said.code == 0, said.err
    (page,) = Path("runs/studies").glob("own-*/report/report.html")
    assert 'id="look"' in page.read_text()
    again = command(["report", "own", "--out", "again"])
    assert again.code == 0 and 'id="look"' in Path("again/report.html").read_text()
