"""The next trials of a search, from all that is known of the last ones: optuna's samplers, asked for a round at a time.

Each round starts a sampler of its own, seeded by the search's seed and the round's number, and tells it every trial so far in
order. So what is asked for is a function of the description and the results, and no sampler need be kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from protege.lazy import need
from protege.study.conduct.scores import higher_chooses
from protege.study.conduct.trials import Trial, trials, wanted
from protege.study.question.arms import Cell
from protege.study.question.plan import Plan
from protege.study.question.schema import Values
from protege.study.question.search import Axis, Search, Space

ATTEMPTS = 200  # to find values that were not tried


def ask_if_settled(plan: Plan, cell: Cell) -> bool:
    """Whether a round was asked for: when all of the last one is known, and the budget is not spent."""
    asked = trials(plan, cell)
    count = wanted(plan, cell, asked)
    if any(one.open for one in asked) or not count:
        return False
    values = next_trials(plan.study.search, cell.space, asked, count, higher=higher_chooses(plan.study))
    plan.ask(cell, values)
    return True


def next_trials(search: Search, space: Space, asked: Sequence[Trial], count: int, *, higher: bool) -> list[Values]:
    """None of them was tried before."""
    optuna = _optuna()
    seed = (search.seed + 7919 * len(asked)) % 2**32
    known = [one.configuration.values for one in asked]
    found: list[Values] = []
    for sampler in (_sampler(search, seed), optuna.samplers.RandomSampler(seed=seed)):
        study = optuna.create_study(direction="maximize" if higher else "minimize", sampler=sampler)
        study.add_trials([_told(optuna, space, one) for one in asked])
        for _ in range(ATTEMPTS):
            if len(found) == count:
                return found
            values = _values(space, study.ask(_distributions(optuna, space)).params)
            if values not in known:
                known.append(values)
                found.append(values)
    return found


def importances(space: Space, asked: Sequence[Trial], *, higher: bool) -> dict[str, float]:
    """Share of each field in what tells the best trials from the others; nothing where too few are known to tell."""
    try:
        optuna = _optuna()
    except Exception:  # a page can be made without the library, and lacks this then
        return {}
    known = [one for one in asked if one.state == "finished"]
    if len(known) < 4 or len({one.score for one in known}) < 2 or len(space) < 2:
        return {}
    study = optuna.create_study(direction="maximize" if higher else "minimize")
    study.add_trials([_told(optuna, space, one) for one in known])
    found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    return {path: value for path, value in found.items() if math.isfinite(value)}


# ---- optuna's words ----


def _optuna() -> Any:
    optuna = need("optuna", "search", "A search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _sampler(search: Search, seed: int) -> Any:
    """Half of the trials at most are drawn blindly, to begin with."""
    samplers, blind = _optuna().samplers, min(10, max(2, search.most // 2))
    if search.sampler == "tpe":
        return samplers.TPESampler(seed=seed, n_startup_trials=blind, constant_liar=True)
    if search.sampler == "gp":
        return samplers.GPSampler(seed=seed, n_startup_trials=blind)
    return samplers.RandomSampler(seed=seed)


def _distributions(optuna: Any, space: Space) -> dict[str, Any]:
    return {path: _distribution(optuna.distributions, axis) for path, axis in space.items()}


def _distribution(kinds: Any, axis: Axis) -> Any:
    """Choices by their position, for they may be lists and mappings."""
    if axis.choices:
        return kinds.CategoricalDistribution(tuple(range(len(axis.choices))))
    kind = kinds.IntDistribution if axis.whole else kinds.FloatDistribution
    return kind(axis.low, axis.high, log=axis.log)


def _values(space: Space, drawn: dict[str, Any]) -> Values:
    return {path: axis.choices[drawn[path]] if axis.choices else axis.tidy(drawn[path]) for path, axis in space.items()}


def _told(optuna: Any, space: Space, one: Trial) -> Any:
    """A stopped trial is told with its last look; one that diverged was stopped before any, which is worse than all."""
    values = one.configuration.values
    params = {path: axis.choices.index(values[path]) if axis.choices else values[path] for path, axis in space.items()}
    known: dict[str, Any] = {"params": params, "distributions": _distributions(optuna, space)}
    if one.state == "finished":
        return optuna.trial.create_trial(value=one.score, **known)
    seen = {} if one.score is None else {one.epochs: one.score}
    return optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED, intermediate_values=seen, **known)
