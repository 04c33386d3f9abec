"""What a network needs and what a machine gives; from both, the speed that no program could beat.

The limit of a network is the time of its convolutions and linear layers alone, each as if it ran at the best rate that
was measured for its kind or at that of copying, whichever binds it; norms, activations, optimiser, data and Python count
as free. FLOPs are counted as if multiplied out. Libraries do 3x3 convolutions in fp32 with fewer (Winograd's algorithm),
so those have a rate of their own: without it, what is quick would seem quicker than possible.
"""

from __future__ import annotations

from pydantic import Field

from protege.runs.config import Described
from protege.train.bench.variants import Precision, Variant

WIDTH: dict[Precision, int] = {"fp32": 4, "bf16": 2}  # bytes of a number


class Rates(Described):
    """What this machine does in a second with the threads that it was given, at best."""

    fp32: float = Field(description="floating-point operations of a matrix product; on a GPU with TF32 allowed")
    bf16: float
    fp32_3x3: float = Field(description="of a 3x3 convolution, as counted, by whatever algorithm the library takes")
    bf16_3x3: float
    copy_bytes: float = Field(description="bytes read and written by a copy")

    def of(self, precision: Precision, spatial: bool) -> float:
        product, convolution = (self.bf16, self.bf16_3x3) if precision == "bf16" else (self.fp32, self.fp32_3x3)
        return max(product, convolution) if spatial else product


class Product(Described):
    """One convolution or linear layer, forward, for one image."""

    flops: float
    numbers: float = Field(description="read and written: inputs, weights (their share of the batch), outputs")
    spatial: bool = Field(default=False, description="a convolution over more than single pixels")


class Cost(Described):
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
