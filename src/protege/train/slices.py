"""A network that sees its slice of a batch computes, and is moved, as if it had seen all of it.

So a step of several processes is the described one: batch norms take the statistics of the whole batch, dropout draws for the whole
batch, the method compares what was said of the whole batch, and gradients are sums over all of it. Only the last bits differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from protege.errors import ConfigError
from protege.methods.base import Classifier, Outputs, at_least_float32
from protege.runs.config import Place, RunConfig
from protege.runs.process.ranks import Ranks
from protege.train.learner import Learner
from protege.train.state import State

DROPS: tuple[Callable[..., Tensor], ...] = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d)


class DividedLearner(Learner):
    """One of several that are alike: its networks look at a slice each, and its method at all that was said of the batch."""

    def _one(self, network: nn.Module, images: Tensor, read: tuple[str, ...], batch: int) -> Outputs:
        with AsOne(self.ranks, batch, images.device):
            mine = super()._one(network, images, read, batch)
        said = gathered(mine, self.ranks, batch)
        if said.classifier is not None and not self.ranks.first:
            said.classifier = _unmoved(said.classifier)
        return said

    def complete_gradients(self) -> None:
        """Networks have those of a slice each, to be summed. Adapters saw everything, so the first process's count alone."""
        moved = [(name, weight.grad) for name, weight in self.named_parameters() if weight.grad is not None]
        if not self.ranks.first:
            for name, gradient in moved:
                if name.startswith("adapters."):
                    gradient.zero_()
        gradients = [gradient for _, gradient in moved]
        whole = self.ranks.summed(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = whole.split([gradient.numel() for gradient in gradients])
        shaped = [part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]
        torch._foreach_copy_(gradients, shaped)  # type: ignore[attr-defined]


def gathered(mine: Outputs, ranks: Ranks, batch: int) -> Outputs:
    """What was said of the whole batch. Logits that nobody read have no rows, and stay away."""
    if ranks.alone:
        return mine
    return replace(
        mine,
        logits=ranks.gathered(mine.logits, batch) if mine.logits.ndim > 1 else mine.logits,
        features={name: ranks.gathered(feature, batch) for name, feature in mine.features.items()},
        members=tuple(gathered(member, ranks, batch) for member in mine.members),
    )


def _unmoved(classifier: Classifier) -> Classifier:
    """A method that looks at the weights themselves moves them in every process, but is to do so once."""

    def still(weight: Tensor) -> Tensor:
        seen = weight.view_as(weight)
        seen.register_hook(torch.zeros_like)
        return seen

    return Classifier(still(classifier.weight), None if classifier.bias is None else still(classifier.bias))


class AsOne(TorchFunctionMode):
    """Around a forward pass of a slice: what depends on the whole batch is computed of the whole batch."""

    def __init__(self, ranks: Ranks, batch: int, device: torch.device) -> None:
        super().__init__()
        self.ranks, self.batch, self.device = ranks, batch, device

    def __enter__(self) -> AsOne:
        self.drawn = self._generator()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if error[0] is None:
            self._refuse_other_draws()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return self.batch_norm(*args, **kwargs)
        if func in DROPS:
            return self.dropout(func, *args, **kwargs)
        return func(*args, **kwargs)

    def batch_norm(
        self,
        input: Tensor,  # noqa: A002 (as torch names them)
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
        values = [size * torch.Size(input.shape[2:]).numel() for size in self.ranks.sizes(self.batch)]
        if sum(values) == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        mean, var = whole_statistics(input, values, self.ranks)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var * (sum(values) / (sum(values) - 1)), momentum)
        made = _BatchNorm.apply(input, weight, bias, mean, var, eps, values, self.ranks)
        assert isinstance(made, Tensor)
        return made

    def dropout(
        self,
        func: Callable[..., Tensor],
        input: Tensor,  # noqa: A002
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Tensor:
        """Ones of the whole batch are dropped, so that what is drawn does not depend on the number of processes."""
        if not training or p == 0:
            return input
        self._refuse_other_draws()
        layout = torch.channels_last if input.ndim == 4 and not input.is_contiguous() else torch.contiguous_format
        ones = input.new_ones((self.batch, *input.shape[1:])).contiguous(memory_format=layout)
        kept = func(ones, p, True)[self.ranks.shown(self.batch)]
        self.drawn = self._generator()
        return input * kept

    def _generator(self) -> Tensor:
        if self.device.type == "cuda":
            return torch.cuda.default_generators[self.device.index or 0].get_state()
        return torch.default_generator.get_state()

    def _refuse_other_draws(self) -> None:
        if not torch.equal(self.drawn, self._generator()):
            raise ConfigError(
                "This network draws random numbers of its own in training (other than dropout), which would be others in several "
                "processes. Train it in one, or without them, e.g. drop_path_rate 0."
            )


@torch.no_grad()
def whole_statistics(mine: Tensor, values: list[int], ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over the slices of all, of so many values each, in float32 at least.

    Sums of squares would lose what is small beside the mean, so variances are put together around the common mean.
    """
    rest = [number for number in range(mine.ndim) if number != 1]
    var, mean = torch.var_mean(at_least_float32(mine), rest, correction=0)
    means, variances = ranks.every(torch.stack([mean, var])).unbind(1)
    mean = _averaged(means, values)
    return mean, _averaged(variances + (means - mean).square(), values)


def _averaged(each: Tensor, weights: list[int]) -> Tensor:
    """No copy to the device."""
    return torch.stack([one * (weight / sum(weights)) for one, weight in zip(each, weights, strict=True)]).sum(0)


class _BatchNorm(torch.autograd.Function):
    """Normalised by statistics of the whole batch, through which gradients go too."""

    @staticmethod
    def forward(
        ctx: Any,
        mine: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        eps: float,
        values: list[int],
        ranks: Ranks,
    ) -> Tensor:
        ctx.save_for_backward(mine, weight, mean, var)
        ctx.eps, ctx.values, ctx.ranks = eps, values, ranks
        return F.batch_norm(mine, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        mine, weight, mean, var = ctx.saved_tensors
        direct, moved, shifted = torch.ops.aten.native_batch_norm_backward(
            gradients[0], mine, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        # what all values of a channel share: the mean gradient, and its part along the normalised values
        along, level = ctx.ranks.summed(at_least_float32(torch.stack([moved, shifted]))) / -sum(ctx.values)
        if not ctx.values[ctx.ranks.own]:  # a guest had no part in the statistics
            return direct, None if weight is None else moved, None if weight is None else shifted, *[None] * 5
        scale = (var + ctx.eps).rsqrt() * (1.0 if weight is None else weight)
        through = F.batch_norm(mine, mean, var, scale * along, scale * level, False, 0.0, ctx.eps)
        return direct + through, None if weight is None else moved, None if weight is None else shifted, *[None] * 5


# ---- before the first step ----


def refuse_what_cannot_be_divided(config: RunConfig, place: Place, ranks: Ranks) -> None:
    if ranks.alone:
        return
    if place.compile:
        raise ConfigError("--compile is for a run of one process. Leave it out.")
    if config.optim.batch_size < ranks.count:
        raise ConfigError(
            f"A batch of {config.optim.batch_size} (optim.batch_size, of all processes together) is less than one image for each "
            f"of {ranks.count} processes. Start fewer."
        )
    if config.compress is not None and config.compress.activations is not None:
        raise ConfigError(
            "compress.activations takes its ranges from what one process sees of a batch. Train it in one process, or round weights alone."
        )


def share(state: State, ranks: Ranks) -> None:
    """All go on from the first one's state, to the bit."""
    if ranks.alone:
        return
    tensors, numbers = ranks.from_first(lambda: _on_cpu(state))
    if not ranks.first:
        state.unpack(tensors, numbers)


def _on_cpu(state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, numbers = state.packed()
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}, numbers
