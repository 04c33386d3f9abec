"""What one sees while something long is running: a live line on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, final

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from protege.errors import visible


class Plain(Console):
    """Shows words as they are: markup in them is no markup unless asked for, and what a terminal would obey is shown by its number."""

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        return super().render_str(visible(text, kept="\n\t"), **options)


console = Plain(stderr=True, highlight=False, markup=False, emoji=False)  # what happens


def unless_shown(columns: int) -> int | None:
    """So many where the standard output is a file or nobody's; None where it is a terminal, which has a width of its own."""
    return None if sys.stdout and sys.stdout.isatty() else columns


out = Plain(highlight=False, markup=False, emoji=False, width=unless_shown(160))  # what was asked for


def headed(first: str, rest: str) -> Text:
    """`first` in bold, and what is to be said of it."""
    return Text.assemble((visible(first), "bold"), visible(rest))


def table_of(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


class Display(ABC):
    """Bars on a terminal, plain lines elsewhere, nothing when quiet. `columns` are those of the bars."""

    def __init__(self, *columns: ProgressColumn, quiet: bool) -> None:
        self.quiet = quiet
        self._live = console.is_terminal and not quiet
        self._progress = Progress(*columns, console=console, transient=True, refresh_per_second=4)

    @abstractmethod
    def begins(self) -> None:
        """Said when it opens."""

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        self.begins()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def say(self, sentence: str) -> None:
        if not self.quiet:
            console.print(sentence, markup=False, soft_wrap=True)


@final
class TrainingDisplay(Display):
    """Run, epoch, loss terms by name, accuracy, images per second and time left of one training run."""

    def __init__(self, name: str, where: str, epochs: int, images_per_epoch: int, quiet: bool = False) -> None:
        bold, said = (
            TextColumn("{task.fields[run]}", "bold", markup=False),
            TextColumn("{task.fields[said]}", markup=False),
        )
        super().__init__(bold, BarColumn(bar_width=24), said, quiet=quiet)
        self.name, self.where, self.epochs, self.images_per_epoch = name, where, epochs, images_per_epoch
        self._task = self._progress.add_task("", total=epochs * images_per_epoch, run=visible(name), said="starting")
        self._last = ""
        self._since = time.perf_counter()
        self._trained = 0
        self._asked = 0

    def begins(self) -> None:
        self.say(f"training {self.name} in {self.where}")

    def resumed(self, epoch: int, images: int) -> None:
        self.say(f"going on at epoch {epoch + 1} of {self.epochs}")
        self._progress.update(self._task, completed=images)

    def trained(self, epoch: int, images: int) -> None:
        """`images` more were trained on, in this epoch (from 0)."""
        self._trained += images
        if not self._live:
            return
        self._progress.advance(self._task, images)
        said = f"epoch {epoch + 1}/{self.epochs}  {self.speed():,.0f} images/s  {self.time_left()} left  {self._last}"
        self._progress.update(self._task, said=said)

    def asked(self, images: int) -> None:
        """`images` more were shown to the teacher, whose words will be remembered."""
        self._asked += images
        if self._live:
            self._progress.update(self._task, said=f"asking the teacher: {self._asked:,} images  {self._last}")

    def epoch_done(self, metrics: Mapping[str, object]) -> None:
        epoch = metrics["epoch"]
        terms = metrics["terms"]
        assert isinstance(epoch, int) and isinstance(terms, Mapping)
        parts = [f"{name} {value:.3f}" for name, value in terms.items()]
        for key, label in (("train_accuracy", "train"), ("heldout_accuracy", "held-out")):
            if isinstance(value := metrics.get(key), float):
                parts.append(f"{label} {100 * value:.1f} %")
        self._last = "  ".join(parts)
        if not self._live:
            self._progress.update(self._task, completed=(epoch + 1) * self.images_per_epoch)
            left = f"{self.speed():,.0f} images/s  {self.time_left()} left"
            self.say(f"{self.name}  epoch {epoch + 1}/{self.epochs}  {self._last}  {left}")

    def speed(self) -> float:
        return self._trained / max(time.perf_counter() - self._since, 1e-9)

    def time_left(self) -> str:
        task = self._progress.tasks[0]
        return duration(((task.total or 0) - task.completed) / max(self.speed(), 1e-9))


def duration(seconds: float) -> str:
    """`47 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
