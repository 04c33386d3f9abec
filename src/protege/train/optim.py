"""From gradients to weights: optimiser, learning-rate schedule, running mean of the weights. Pure functions of the step where possible."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from protege.models.network import Network
from protege.models.rounding import Step
from protege.runs.config import OptimConfig

Optimizer = torch.optim.Optimizer
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
LOOKS_EVERY = 5  # steps between looks ahead


def build_optimizer(learner: nn.Module, config: OptimConfig) -> Optimizer:
    """Over everything that is trained; norms and biases in a group of their own where they are not to decay.

    What lies below the student's classifier, and biases of norms, are in other groups where they have rates of their own:
    a `share` of the schedule's.
    """
    hasty = set(_norm_biases(learner)) if config.norm_bias_lr else set[int]()
    trained = [weight for weight in learner.parameters() if weight.requires_grad]
    usual = [weight for weight in trained if id(weight) not in hasty]
    if config.rest_lr is None:
        groups = _groups(usual, config)
    else:
        rest = set(_below_classifiers(learner))
        groups = _groups([weight for weight in usual if id(weight) not in rest], config)
        slower = _groups([weight for weight in usual if id(weight) in rest], config)
        groups += [{**group, "share": config.rest_lr / config.lr} for group in slower if group["params"]]
    groups += _hasty_group([weight for weight in trained if id(weight) in hasty], config)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)
    optimizer = torch.optim.SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=True,
    )
    if (
        config.momentum
    ):  # from zero, which is what a first step makes of none: the fused step wants all weights to have one
        for group in optimizer.param_groups:
            for weight in group["params"]:
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return optimizer


def _below_classifiers(learner: nn.Module) -> Iterator[int]:
    """Which weights are of a network and not of the layer that makes its logits."""
    for network in learner.modules():
        if isinstance(network, Network):
            last = {id(weight) for weight in network.module.get_submodule(network.classifier).parameters()}
            yield from (id(weight) for weight in network.module.parameters() if id(weight) not in last)


def _norm_biases(learner: nn.Module) -> Iterator[int]:
    for part in learner.modules():
        if isinstance(part, NORMS) and isinstance(part.bias, nn.Parameter):
            yield id(part.bias)


def _hasty_group(biases: list[nn.Parameter], config: OptimConfig) -> list[dict[str, object]]:
    """Their decay is divided by what their rate is multiplied by: a step pulls them as it would at the usual rate."""
    if not biases or config.norm_bias_lr is None:
        return []
    decay = config.weight_decay / config.norm_bias_lr if config.decay_norms else 0.0
    share = config.norm_bias_lr * (1.0 if config.rest_lr is None else config.rest_lr / config.lr)
    return [{"params": biases, "weight_decay": decay, "share": share}]


def _groups(trained: list[nn.Parameter], config: OptimConfig) -> list[dict[str, object]]:
    def decays(parameter: nn.Parameter) -> bool:
        return not isinstance(parameter, Step) and (config.decay_norms or parameter.ndim > 1)

    decayed = [parameter for parameter in trained if decays(parameter)]
    spared = [parameter for parameter in trained if not decays(parameter)]
    groups: list[dict[str, object]] = [{"params": decayed}]
    return [*groups, {"params": spared, "weight_decay": 0.0}] if spared else groups


def learning_rate(config: OptimConfig, step: int, steps_per_epoch: int) -> float:
    """At optimiser step `step` (from 0) of the whole run; a pure function, so that a resumed run needs no scheduler."""
    done = step / steps_per_epoch
    if done < config.warmup_epochs:  # of a fraction of an epoch the last step may lie beyond it
        return config.lr * min(1.0, (step + 1) / (config.warmup_epochs * steps_per_epoch))
    if config.schedule_every == "epoch":
        done = math.floor(done)
    if config.schedule == "multistep":
        return config.lr * config.decay_factor ** sum(done >= milestone for milestone in config.milestones)
    if config.schedule == "step":
        return config.lr * config.decay_factor ** math.floor(done / config.step_epochs)
    part = max(0.0, done - config.warmup_epochs) / (config.epochs - config.warmup_epochs)
    if config.schedule == "cosine":
        return config.floor_lr + (config.lr - config.floor_lr) * (1 + math.cos(math.pi * part)) / 2
    if config.schedule == "linear":
        return config.floor_lr + (config.lr - config.floor_lr) * (1 - part)
    return config.lr


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)


def clip(parameters: Iterable[Tensor], largest: float) -> Tensor:
    """Scale all gradients together so that their common norm is at most `largest`; returns the norm before."""
    return nn.utils.clip_grad_norm_(parameters, largest)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimiser's memory by a flat name, for a checkpoint."""
    return {
        f"{index}.{name}": value
        for index, memory in optimizer.state_dict()["state"].items()
        for name, value in memory.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Every memory in the layout of its weight: the fused steps pair them by address, not by index."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state = optimizer.state_dict()
    state["state"] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        weight = weights[int(index)]
        laid_out = torch.empty_like(weight, dtype=value.dtype).copy_(value) if value.shape == weight.shape else value
        state["state"].setdefault(int(index), {})[key] = laid_out
    optimizer.load_state_dict(state)


@torch.no_grad()
def follow(mean: dict[str, Tensor], weights: dict[str, Tensor], decay: float, step: int) -> None:
    """Move the running means towards the `weights` of their names; quicker in the first steps, so that the start is forgotten."""
    _move(mean, weights, min(decay, (1 + step) / (10 + step)))


@torch.no_grad()
def look_ahead(mean: dict[str, Tensor], weights: dict[str, Tensor], decay: float, done: float) -> None:
    """The means move as far as is left of training, and the `weights` go where they are. `done`: share of the run.

    Zhang et al. 2019 (arXiv:1907.08610); that the mean's memory grows with the cube of `done` is of Jordan 2024 (arXiv:2404.00498).
    """
    _move(mean, weights, decay**LOOKS_EVERY * done**3)
    torch._foreach_copy_([weights[name] for name in mean], list(mean.values()))  # type: ignore[attr-defined]


def _move(mean: dict[str, Tensor], weights: dict[str, Tensor], decay: float) -> None:
    """Counts are taken as they are."""
    moving = [name for name, value in mean.items() if value.is_floating_point()]
    counting = [name for name, value in mean.items() if not value.is_floating_point()]
    torch._foreach_lerp_([mean[name] for name in moving], [weights[name] for name in moving], 1 - decay)  # type: ignore[attr-defined]
    if counting:
        torch._foreach_copy_([mean[name] for name in counting], [weights[name] for name in counting])  # type: ignore[attr-defined]
