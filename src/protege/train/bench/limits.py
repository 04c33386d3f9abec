"""What a network needs and what a machine gives; from both, the speed that no program could beat.

The limit of a network is the time of its convolutions and linear layers alone, each as if it ran at the best rate that
was measured for its kind or at that of copying, whichever binds it; norms, activations, optimiser, data and Python count
as free. FLOPs are those of torch.utils.flop_counter, forward; of the backward pass, for each product two more of the same
size. Libraries do 3x3 convolutions in fp32 with fewer (Winograd's algorithm), so those have a rate of their own: without
it, what is quick would seem quicker than possible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from protege.runs.config import Measured
from protege.runs.tuning import now
from protege.train.bench.variants import Precision, Variant

SECONDS_EACH = 0.15  # of measuring one rate
SIDE = {"cpu": 1024, "cuda": 8192}  # of the matrices
IMAGES = {"cpu": 16, "cuda": 1024}  # of the convolution
COPIED = {"cpu": 1 << 28, "cuda": 1 << 32}  # bytes: far more than any cache holds
WIDTH: dict[Precision, int] = {"fp32": 4, "bf16": 2}  # bytes of a number


class Rates(Measured):
    """What this machine does in a second with the threads that it was given, at best."""

    fp32: float = Field(description="floating-point operations of a matrix product; on a GPU with TF32 allowed")
    bf16: float
    fp32_3x3: float = Field(description="of a 3x3 convolution, as counted, by whatever algorithm the library takes")
    bf16_3x3: float
    copy_bytes: float = Field(description="bytes read and written by a copy")

    def of(self, precision: Precision, spatial: bool) -> float:
        product, convolution = (self.bf16, self.bf16_3x3) if precision == "bf16" else (self.fp32, self.fp32_3x3)
        return max(product, convolution) if spatial else product


class Product(Measured):
    """One convolution or linear layer, forward, for one image."""

    flops: float
    numbers: float = Field(description="read and written: inputs, weights (their share of the batch), outputs")
    spatial: bool = Field(default=False, description="a convolution over more than single pixels")


class Cost(Measured):
    """What one image costs a network."""

    products: tuple[Product, ...]

    @property
    def flops(self) -> float:
        return sum(product.flops for product in self.products)

    @property
    def training_flops(self) -> float:
        """Forward, gradients of the weights, and of the inputs but for the first layer's."""
        return 3 * self.flops - self.products[0].flops

    def seconds(self, rates: Rates, precision: Precision) -> float:
        """Forward, at least."""
        width = WIDTH[precision]
        return sum(
            max(one.flops / rates.of(precision, one.spatial), width * one.numbers / rates.copy_bytes)
            for one in self.products
        )

    def training_seconds(self, rates: Rates, precision: Precision) -> float:
        first = Cost(products=self.products[:1])
        return 3 * self.seconds(rates, precision) - first.seconds(rates, precision)


def limit(variant: Variant, student: Cost, teacher: Cost, rates: Rates) -> float:
    """Images a second that this machine could train like this at best."""
    seconds = student.training_seconds(rates, variant.arithmetic.student)
    seconds += variant.asks * teacher.seconds(rates, variant.arithmetic.teacher)
    return 1 / seconds


def work(variant: Variant, student: Cost, teacher: Cost) -> float:
    """FLOPs of an image, to plan with."""
    return student.training_flops + variant.asks * teacher.flops


# ---- what a network needs ----


class _Products(TorchDispatchMode):
    """Collects every operation that has a formula for its FLOPs."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.found: list[Product] = []

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: Sequence[object] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            flops = formula(*args, **(kwargs or {}), out_val=out)
            numbers = sum(part.numel() for part in tree_leaves((args, out)) if isinstance(part, Tensor))
            spatial = func._overloadpacket is torch.ops.aten.convolution and max(_shape(args[1])[2:]) > 1
            self.found.append(
                Product(flops=flops / self.batch_size, numbers=numbers / self.batch_size, spatial=spatial)
            )
        return out


def _shape(argument: object) -> torch.Size:
    assert isinstance(argument, Tensor)
    return argument.shape


def cost(network: nn.Module, image_size: int, batch_size: int) -> Cost:
    """Counted on shapes alone: nothing is computed. The network is not to be used after."""
    with torch.no_grad(), _Products(batch_size) as products:
        network.to("meta").eval()(torch.empty(batch_size, 3, image_size, image_size, device="meta"))
    return Cost(products=tuple(products.found))


# ---- what the machine gives ----


@torch.inference_mode()
def rates(device: torch.device) -> Rates:
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True  # as convolutions do by default
    try:
        fp32, bf16 = (_product_rate(dtype, device) for dtype in (torch.float32, torch.bfloat16))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    fp32_3x3, bf16_3x3 = (_convolution_rate(dtype, device) for dtype in (torch.float32, torch.bfloat16))
    source = torch.ones(COPIED[device.type] // 4, device=device)
    goal = torch.empty_like(source)
    copied = 2 * source.nbytes / best_seconds(lambda: goal.copy_(source), device)
    return Rates(fp32=fp32, bf16=bf16, fp32_3x3=fp32_3x3, bf16_3x3=bf16_3x3, copy_bytes=copied)


def _product_rate(dtype: torch.dtype, device: torch.device) -> float:
    side = SIDE[device.type]
    left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    goal = torch.empty_like(left)
    return 2 * side**3 / best_seconds(lambda: torch.mm(left, right, out=goal), device)


def _convolution_rate(dtype: torch.dtype, device: torch.device) -> float:
    channels, side, images = 256, 16, IMAGES[device.type]
    maps, weights = (
        torch.rand(shape, device=device).to(dtype).to(memory_format=torch.channels_last)
        for shape in ((images, channels, side, side), (channels, channels, 3, 3))
    )
    flops = 2 * images * side**2 * channels**2 * 9
    return flops / best_seconds(lambda: F.conv2d(maps, weights, padding=1), device)


def best_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of one go; the first does not count."""
    work()
    best, until = float("inf"), now(device) + SECONDS_EACH
    while (started := now(device)) < until or best == float("inf"):
        work()
        best = min(best, now(device) - started)
    return best
