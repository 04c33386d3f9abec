"""Several processes that make one run: who they are, and how what each has becomes what all have.

Everything that they say to each other is in here. Alone, each of these steps costs nothing and changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from protege.errors import ConfigError, ProtegeError, RunError, Stopped
from protege.runs.config import Place
from protege.runs.hardware import cores, device_of
from protege.runs.process.started import Start, refuse_unknown_node, started

Found = TypeVar("Found")
LONGEST_WAIT = timedelta(minutes=30)  # for one that tries or writes; of one that is gone, the others hear at once


class Gone(RunError):
    """Another process of the run."""


@dataclass(frozen=True)
class Ranks:
    """This process among all that make the run."""

    own: int = 0
    count: int = 1
    cores: int = 0  # that this process shares with no other of the run; 0: not known

    @property
    def first(self) -> bool:
        """The one that writes, and that speaks."""
        return self.own == 0

    @property
    def alone(self) -> bool:
        return self.count == 1

    # ---- who has what of a batch ----

    def sizes(self, total: int) -> list[int]:
        """Of the slices of so many images, in order; they differ by one at most, and may be empty."""
        return [(rank + 1) * total // self.count - rank * total // self.count for rank in range(self.count)]

    def part(self, total: int) -> slice:
        """The own slice of so many images."""
        return slice(self.own * total // self.count, (self.own + 1) * total // self.count)

    def shown(self, total: int) -> slice:
        """The own slice, or a guest where it is empty, as networks want to see something: what is said of a guest is left out."""
        own = self.part(total)
        return own if own.start < own.stop else slice(0, 1)

    # ---- what each has becomes what all have ----

    def gathered(self, mine: Tensor, total: int) -> Tensor:
        """The slices of all, of `total` rows together. Gradients of a loss that all compute alike find their way back."""
        if self.alone:
            return mine
        found = _Gathered.apply(mine, self, total)
        assert isinstance(found, Tensor)
        return found

    def every(self, mine: Tensor) -> Tensor:
        """[count, ...]: a tensor of one shape from each, in their order."""
        sent = mine.detach().contiguous().view(-1).view(torch.uint8)  # any type, in any version of the libraries
        found = [torch.empty_like(sent) for _ in range(self.count)]
        with _together():
            dist.all_gather(found, sent)
        return torch.stack(found).view(mine.dtype).view(self.count, *mine.shape)

    def summed(self, mine: Tensor) -> Tensor:
        """Over all, in place; the same bits in each."""
        if not self.alone:
            with _together():
                dist.all_reduce(mine)
        return mine

    def any(self, *wishes: bool) -> list[bool]:
        """What one wishes for, all do. Everybody has to ask at the same place."""
        if self.alone:
            return list(wishes)
        return self.summed(torch.tensor(wishes, dtype=torch.float32)).bool().tolist()

    def from_first(self, work: Callable[[], Found]) -> Found:
        """What the first finds, or the mistake that it meets, told to all. What lies on a disk may look otherwise from another node."""
        if self.alone:
            return work()
        told: list[Any] = [_result_of(work) if self.first else None]
        with _together():
            dist.broadcast_object_list(told)
        found, mistake = told[0]
        if mistake is not None:
            raise mistake
        return found

    def each(self, mine: Found) -> list[Found]:
        """Of anything small, what each has, in their order."""
        found: list[Any] = [mine] * self.count
        if not self.alone:
            with _together():
                dist.all_gather_object(found, mine)
        return found

    def agree(self, mine: str, what: str) -> None:
        """An error where `mine` is not the same everywhere."""
        hosts: dict[str, str] = {}
        for host, said in self.each((socket.gethostname(), mine)):
            hosts.setdefault(said, host)
        if len(hosts) > 1:
            found = ", ".join(f"{said} on {host}" for said, host in hosts.items())
            raise RunError(
                f"The processes do not have the same {what}: {found}. Give all of them the same data, files and version of protege."
            )


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mine: Tensor, ranks: Ranks, total: int) -> Tensor:
        ctx.part, ctx.rows = ranks.part(total), len(mine)
        sizes = ranks.sizes(total)
        own = sizes[ranks.own]  # a guest is no row of it
        padded = mine.new_zeros((max(sizes), *mine.shape[1:]))
        padded[:own] = mine[:own]
        return torch.cat([rows[:size] for rows, size in zip(ranks.every(padded), sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        own = gradients[0][ctx.part]
        return own if len(own) == ctx.rows else own.new_zeros((ctx.rows, *own.shape[1:])), None, None


def _result_of(work: Callable[[], Found]) -> tuple[Found | None, BaseException | None]:
    try:
        return work(), None
    except (ProtegeError, Stopped) as error:
        return None, error


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """The libraries tell of a process that is gone in words about sockets."""
    try:
        yield
    except RuntimeError as error:
        raise Gone(
            "Another process of this run is gone, so this one ended too. Nothing before the last checkpoint is lost: "
            "the same command goes on from there."
        ) from error


# ---- the present processes ----

ALONE = Ranks()
_present = ContextVar("ranks", default=ALONE)


def present() -> Ranks:
    """Those that `joined` brought together; otherwise this process alone."""
    return _present.get()


@contextlib.contextmanager
def joined(place: Place) -> Iterator[Place]:
    """All processes of this run until its end, and where this one works. Of those that end for one reason, one says it."""
    if (start := started(os.environ)) is None:
        yield place
        return
    place = _placed(place, start)
    store = _meet(start, device_of(place))
    try:
        ranks = Ranks(start.own, start.count)
        _refuse_shared_gpus(ranks, device_of(place))
        _present.set(replace(ranks, cores=_own_cores(ranks)))
        yield place
    except (ProtegeError, Stopped) as error:
        if _was_said(store, start, error):
            raise SystemExit(130 if isinstance(error, Stopped) else 2) from None
        raise
    else:
        dist.destroy_process_group()  # after a mistake the process ends, and may not wait for one that is gone
    finally:
        _present.set(ALONE)


def _placed(place: Place, start: Start) -> Place:
    """A GPU each, where there are some; a live display would be written over by the others'."""
    device = place.device
    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{start.local % torch.cuda.device_count()}"
    return place.model_copy(update={"device": device, "quiet": place.quiet or start.own > 0})


def _meet(start: Start, device: torch.device) -> Any:
    """The place where they found each other: a store of small things that all can read and write."""
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    if start.address is not None:
        refuse_unknown_node(start)
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = start.address, str(start.port)
    try:
        store, _, _ = next(iter(rendezvous("env://", start.own, start.count, timeout=timedelta(minutes=10))))
        dist.init_process_group(backend, store=store, rank=start.own, world_size=start.count, timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR', '')}:{os.environ.get('MASTER_PORT', '')}"
        raise RunError(
            f"The {start.count} processes of this run did not find each other at {where} ({error}). "
            "Set MASTER_ADDR and MASTER_PORT to an address of the first that the others reach, and GLOO_SOCKET_IFNAME to its network."
        ) from error
    return store


def _own_cores(ranks: Ranks) -> int:
    """A fair share of the cores that this process may use: srun may have given each its own, torchrun does not."""
    host, mine = here = socket.gethostname(), frozenset(os.sched_getaffinity(0))
    sharing = sum(other == host and bool(theirs & mine) for other, theirs in ranks.each(here))
    return max(1, cores() // sharing)


def _refuse_shared_gpus(ranks: Ranks, device: torch.device) -> None:
    if device.type != "cuda":
        return
    mine = socket.gethostname(), str(torch.cuda.get_device_properties(device).uuid)
    if (sharing := ranks.each(mine).count(mine)) > 1:
        raise ConfigError(
            f"{sharing} processes share one GPU of {mine[0]}. Start as many as there are GPUs, or give --device cpu."
        )


def _was_said(store: Any, start: Start, error: BaseException) -> bool:
    """Whether another process says it. Where the first took the list of that along, it has spoken, or was killed."""
    try:
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        socket.create_connection(
            address, timeout=5
        ).close()  # the library tells of one that is gone by a page of addresses
        return store.add("said", 1) > 1
    except (OSError, RuntimeError):
        return not (isinstance(error, Gone) and start.own == 1)
