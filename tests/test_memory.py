"""The teacher's memory: the same words cold, warm and beside others."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_cases import CLASSES, IMAGES, VIEWS, asker, everything, filled, opened, word
from torch import Tensor, nn

from protege.errors import ConfigError, DataError, ModelError, RunError
from protege.teacher import memory_files
from protege.teacher.memory import Memory, answers
from protege.teacher.memory_folder import storing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def process(code: str) -> subprocess.Popen[str]:
    text = "from pathlib import Path\n" + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# ---- the same words again ----


@pytest.mark.parametrize("classes", [1, 7, 10, 100])
@pytest.mark.parametrize(("dtype", "rounded"), [("fp16", torch.float16), ("fp32", torch.float32)])
def test_what_is_stored_is_recalled_rounded(root: Path, classes: int, dtype: str, rounded: torch.dtype) -> None:
    said = torch.randn(IMAGES, classes, generator=torch.Generator().manual_seed(0)) * 10
    indices, numbers = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(1)), torch.arange(IMAGES) % VIEWS
    memory = opened(root, classes=classes, dtype=dtype)
    stored = memory.store(indices, numbers, said)
    recalled, known = memory.recall(indices, numbers)
    assert known.all()
    assert torch.equal(recalled, said.to(rounded).float())
    assert torch.equal(stored, recalled)
    assert recalled.dtype == torch.float32


def test_what_was_never_stored_is_not_known_and_no_number(root: Path) -> None:
    memory = opened(root)
    memory.store(torch.tensor([3]), torch.tensor([2]), torch.zeros(1, CLASSES))
    recalled, known = memory.recall(torch.tensor([3, 3, 2]), torch.tensor([2, 3, 2]))
    assert known.tolist() == [True, False, False]
    assert recalled[0].tolist() == [0.0] * CLASSES
    assert recalled[1:].isnan().all()


def test_words_outlive_the_process_that_stored_them(root: Path) -> None:
    code = f"""
        import torch
        from protege.teacher.memory import Memory
        memory = Memory.open(Path({str(root)!r}), {{"teacher": "a teacher"}}, {IMAGES}, {VIEWS}, {CLASSES}, spare_bytes=0)
        memory.store(torch.tensor([5]), torch.tensor([1]), torch.full((1, {CLASSES}), 0.25))
    """
    storing = process(code)
    storing.communicate()
    assert storing.returncode == 0
    recalled, known = opened(root).recall(torch.tensor([5]), torch.tensor([1]))
    assert known.all()
    assert (recalled == 0.25).all()


@pytest.mark.parametrize(
    "change", [{"about": "another"}, {"dtype": "fp32"}, {"classes": 9}, {"images": 41}, {"views": 7}, {"views": None}]
)
def test_whatever_differs_in_the_description_makes_another_memory(root: Path, change: dict[str, Any]) -> None:
    filled(root)
    other = opened(root, **change)
    assert other.count_known() == 0
    assert not other.recall(*everything())[1].any()


def test_the_order_of_a_description_does_not_matter(root: Path) -> None:
    one = Memory.open(root, {"teacher": "t", "seed": 1}, 2, 2, 2)
    two = Memory.open(root, {"seed": 1, "teacher": "t"}, 2, 2, 2)
    assert one.folder == two.folder


def test_the_first_word_stays_so_that_all_hear_the_same(root: Path) -> None:
    one, two = opened(root), opened(root)
    at = torch.tensor([1]), torch.tensor([1])
    one.store(*at, torch.full((1, CLASSES), 1.0))
    assert (two.store(*at, torch.full((1, CLASSES), 2.0)) == 1).all()
    assert (one.recall(*at)[0] == 1).all()


def test_what_others_add_is_heard_while_open(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_files, "LENGTHENED", 4096)
    one, two = opened(root, views=None), opened(root, views=None)
    indices = torch.arange(IMAGES)
    for epoch in (0, 7, 8, 30):
        numbers = torch.full_like(indices, epoch)
        assert not two.recall(indices, numbers)[1].any()
        one.store(indices, numbers, word(indices, numbers))
        assert torch.equal(two.recall(indices, numbers)[0], word(indices, numbers))
    later = torch.arange(31, 41).repeat_interleave(IMAGES)  # 400 rows, more than were mapped
    one.store(indices.repeat(10), later, word(indices.repeat(10), later))
    assert torch.equal(two.recall(indices.repeat(10), later)[0], word(indices.repeat(10), later))
    assert two.damaged == 0


def test_an_image_and_view_given_twice_at_once_has_one_word(root: Path) -> None:
    memory = opened(root)
    said = torch.arange(3.0)[:, None].expand(3, CLASSES)
    stored = memory.store(torch.tensor([4, 4, 5]), torch.tensor([0, 0, 0]), said)
    assert stored[:, 0].tolist() == [0.0, 0.0, 2.0]
    assert memory.count_known() == 2


@pytest.mark.parametrize("seed", range(4))
def test_random_use_by_two_agrees_with_a_dictionary(root: Path, seed: int) -> None:
    drawn, expected = torch.Generator().manual_seed(seed), {}
    users = [opened(root, views=None if seed % 2 else VIEWS) for _ in range(2)]
    for turn in range(60):
        count = int(torch.randint(0, 20, (), generator=drawn))
        indices = torch.randint(0, IMAGES, (count,), generator=drawn)
        numbers = torch.randint(0, VIEWS, (count,), generator=drawn)
        places = list(zip(indices.tolist(), numbers.tolist(), strict=True))
        if turn % 3:
            said = torch.randn(count, CLASSES, generator=drawn).half().float()
            for place, value in zip(places, said, strict=True):
                expected.setdefault(place, value)
            found = users[turn % 2].store(indices, numbers, said)
        else:
            found, known = users[turn % 2].recall(indices, numbers)
            assert known.tolist() == [place in expected for place in places]
        for place, value in zip(places, found, strict=True):
            assert place not in expected or torch.equal(value, expected[place])
    assert users[0].count_known() == users[1].count_known() == len(expected)


# ---- asking for what is missing ----


def test_only_what_is_missing_is_asked_in_batches_of_one_size(root: Path) -> None:
    memory = opened(root)
    indices, numbers = everything()
    memory.store(indices[:100], numbers[:100], word(indices, numbers)[:100])
    ask, batches = asker(indices, numbers)
    said = answers(memory, indices, numbers, ask, batch_size=64)
    assert said.asked == 140
    assert [len(batch) for batch in batches] == [64, 64, 64]
    assert torch.equal(torch.cat(batches)[:140], torch.arange(100, 240))
    assert torch.equal(said.logits, word(indices, numbers))


def test_nothing_is_asked_when_all_is_known(root: Path) -> None:
    ask, batches = asker(*everything())
    said = answers(filled(root), *everything(), ask, batch_size=64)
    assert (said.asked, batches) == (0, [])
    assert torch.equal(said.logits, word(*everything()))


def test_an_image_and_view_that_comes_twice_is_asked_once(root: Path) -> None:
    indices, numbers = torch.tensor([7, 3, 7, 7]), torch.tensor([1, 1, 1, 2])
    ask, batches = asker(indices, numbers)
    said = answers(opened(root), indices, numbers, ask, batch_size=3)
    assert said.asked == 3
    assert torch.cat(batches).tolist() == [0, 1, 3]
    assert torch.equal(said.logits, word(indices, numbers))


def test_no_images_are_no_question(root: Path) -> None:
    nothing = torch.empty(0, dtype=torch.long)
    said = answers(opened(root), nothing, nothing, asker(nothing, nothing)[0], batch_size=4)
    assert (said.asked, said.logits.shape) == (0, (0, CLASSES))


def test_a_networks_answer_does_not_depend_on_what_was_known_before(root: Path) -> None:
    """A resumed run, a run beside others and a run alone hear the same bits."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(CLASSES)
    ).eval()
    images = torch.randn(IMAGES, 3, 12, 12)
    views = torch.zeros(IMAGES, dtype=torch.long)

    @torch.no_grad()
    def heard(name: str, known_before: list[int]) -> Tensor:
        memory = opened(root, name, dtype="fp32")
        first = torch.tensor(known_before, dtype=torch.long)
        answers(memory, first, views[: len(first)], lambda positions: network(images[first[positions]]), 16)
        return answers(memory, torch.arange(IMAGES), views, lambda positions: network(images[positions]), 16).logits

    alone = heard("alone", [])
    assert torch.equal(alone, heard("some known", [39, 2, 17, 5, 30]))
    assert torch.equal(alone, heard("most known", list(range(3, IMAGES))))


# ---- what is refused ----


def test_values_beyond_fp16_are_refused_with_the_way_out(root: Path) -> None:
    said = torch.zeros(2, CLASSES)
    said[1, 4] = -70000
    at = torch.tensor([6, 9]), torch.tensor([0, 3])
    with pytest.raises(ConfigError, match=r"view 3 of image 9 is 70000, but fp16 ends at 65504. Remember in fp32"):
        opened(root).store(*at, said)
    assert opened(root, dtype="fp32").store(*at, said)[1, 4] == -70000


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_is_refused(root: Path, dtype: str, value: float) -> None:
    said = torch.zeros(2, CLASSES)
    said[0, 0], said[1, 0] = 70000 if dtype == "fp32" else 0, value
    memory = opened(root, dtype=dtype)
    with pytest.raises(ModelError, match="view 3 of image 9 are not all numbers"):
        memory.store(torch.tensor([6, 9]), torch.tensor([0, 3]), said)
    assert memory.count_known() == 0


@pytest.mark.parametrize(
    ("index", "number", "wrong"),
    [(IMAGES, 0, "image 40"), (-1, 0, "image -1"), (0, VIEWS, "view 6"), (0, -1, "view -1")],
)
def test_an_image_or_view_that_does_not_exist_is_refused(root: Path, index: int, number: int, wrong: str) -> None:
    with pytest.raises(DataError, match=f"no {wrong} in"):
        opened(root).recall(torch.tensor([0, index]), torch.tensor([0, number]))


def test_logits_of_another_shape_are_refused(root: Path) -> None:
    with pytest.raises(ModelError, match=r"\(1, 10\), not \(1, 9\)"):
        opened(root).store(torch.tensor([0]), torch.tensor([0]), torch.zeros(1, 9))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/memory/.* cannot hold what the teacher says: Not a directory"):
        opened(tmp_path / "file" / "memory")


# ---- several processes ----


def test_a_process_killed_while_storing_leaves_only_right_words(root: Path) -> None:
    code = f"""
        import torch
        from protege.teacher.memory import Memory
        memory = Memory.open(Path({str(root)!r}), {{"teacher": "a teacher"}}, 5000, None, {CLASSES}, spare_bytes=0)
        for epoch in range(10000):
            for indices in torch.arange(5000).split(250):
                numbers = torch.full_like(indices, epoch)
                memory.store(indices, numbers, ((indices * 31 + numbers * 977)[:, None] + torch.arange({CLASSES}) * 5) % 2039.0)
            print(epoch, flush=True)
    """
    storing = process(code)
    assert storing.stdout
    for _ in range(3):
        assert storing.stdout.readline()
    storing.send_signal(signal.SIGKILL)
    storing.communicate()
    memory = opened(root, images=5000, views=None)
    indices = torch.arange(5000)
    total = memory.count_known()
    assert total >= 15000
    for epoch in range(total // 5000 + 2):
        numbers = torch.full_like(indices, epoch)
        recalled, known = memory.recall(indices, numbers)
        said = word(indices, numbers)
        assert torch.equal(recalled[known], said[known])
        total -= int(known.sum())
        assert torch.equal(memory.store(indices, numbers, said), said)
    assert (total, memory.damaged) == (0, 0)


def test_three_processes_at_once_hear_the_same_words(root: Path) -> None:
    """Each process would say something else; whose word is kept is chance, but all must get that one."""
    code = f"""
        import sys, torch
        from protege.teacher.memory import Memory, answers
        me = int(sys.stdin.readline())
        memory = Memory.open(Path({str(root)!r}), {{"teacher": "a teacher"}}, 1000, 8, {CLASSES}, spare_bytes=0)
        print("ready", flush=True)
        sys.stdin.readline()
        heard = torch.zeros(1000, 8)
        for turn in range(12):
            indices = torch.randperm(1000, generator=torch.Generator().manual_seed(turn))
            numbers = torch.randint(0, 8, (1000,), generator=torch.Generator().manual_seed(turn % 4))
            said = answers(memory, indices, numbers, lambda positions: torch.full((len(positions), {CLASSES}), float(me)), 64)
            assert (said.logits == said.logits[:, :1]).all()
            before = heard[indices, numbers]
            assert ((before == 0) | (before == said.logits[:, 0])).all()
            heard[indices, numbers] = said.logits[:, 0]
        torch.save((heard, memory.damaged), Path({str(root)!r}) / f"heard{{me}}.pt")
    """
    users = [process(code) for _ in range(3)]
    for me, user in enumerate(users, 1):
        assert user.stdin
        user.stdin.write(f"{me}\n")
        user.stdin.flush()
    for user in users:
        assert user.stdout
        assert user.stdout.readline() == "ready\n"
    for user in users:
        assert user.stdin
        user.stdin.write("go\n")
        user.stdin.flush()
    for user in users:
        user.communicate()
    assert [user.returncode for user in users] == [0, 0, 0]
    results = [torch.load(root / f"heard{me}.pt") for me in (1, 2, 3)]
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][0], results[2][0])
    assert [damaged for _, damaged in results] == [0, 0, 0]
    kept = opened(root, images=1000, views=8)
    assert kept.count_known() == int((results[0][0] > 0).sum())


def test_one_process_at_a_time_stores_and_nobody_waits_to_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = filled(root)
    append, appended = memory_files.Files.append, []

    def beside_another(files: memory_files.Files, *rows: Any) -> None:
        with (root / "lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        append(files, *rows)
        appended.append(rows)

    monkeypatch.setattr(memory_files.Files, "append", beside_another)
    opened(root, "another").store(*everything(), word(*everything()))
    assert len(appended) == 1
    with storing(root):
        assert memory.recall(*everything())[1].all()
