"""Zeros within a cost, for networks that run on sparse kernels as a whole.

First the sparsity is searched at which the whole network, priced by the cost table, takes no more
than was asked for. Then zeros move to where they save most cost for a loss, and fewer are left,
where the runtimes still take the network for a sparse one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edgeprune.core.plan import MAX_RAISED_SPARSITY, LayerPlan, Plan
from edgeprune.planning.allocation import (
    can_move,
    distribute_within,
    loss_curves,
    reallocate,
    with_errors,
    with_sparsities,
)
from edgeprune.planning.network_gain import fit_to_network, judge_again
from edgeprune.planning.route_cost import costs_in, expected_by_table, sparse_instructions
from edgeprune.planning.subject import Subject
from edgeprune.profiles import kernel_costs
from edgeprune.profiles.kernel_costs import RuntimeCosts

CLOSE_ENOUGH = 0.99
"""Fraction of the cost asked for from which no closer one is looked for."""
TRIES = 10
NARROW = 0.005
"""Sparsities that lie closer than this are not told apart."""
_INWARD = 0.997
"""Fraction of the cost asked for that is aimed at, so as not to miss it by rounding."""
_ROUNDING = 1e-6


@dataclass(frozen=True)
class _Try:
    sparsity: float
    plan: Plan
    dense: float | None
    """Instructions of the whole network; None where it would not run sparsely, or gain nothing."""
    pruned: float | None


def zeros_within(subject: Subject, cost: float) -> Plan:
    """The plan with the least expected loss whose whole network stays within a cost.

    Args:
      subject: the model on a route that makes zeros, of a device with a cost table.
      cost: fraction of the dense model's cost.
    """
    found = _fewest_zeros(subject, cost)
    costs = costs_in(subject.profile)
    if costs is None or found.dense is None or found.pruned is None:
        return found.plan
    made = _spread(subject, found, cost * found.dense, costs)
    pruned = _instructions(made, subject)[1] or found.pruned
    expected = expected_by_table(subject.profile, found.dense, pruned)
    return made.model_copy(update={"expected": expected})


def _fewest_zeros(subject: Subject, cost: float) -> _Try:
    """The lowest sparsity, one for all layers, at which the network is within the cost.

    The highest one that can be planned, where none is.
    """
    high = _tried(subject, MAX_RAISED_SPARSITY)
    if high.dense is None or high.pruned is None or high.pruned > cost * high.dense:
        return high
    goal = cost * high.dense
    low = _Try(0.0, high.plan, None, None)
    for number in range(TRIES):
        if (high.pruned or 0.0) >= CLOSE_ENOUGH * goal or high.sparsity - low.sparsity < NARROW:
            break
        subject.progress("planning within a cost", number, TRIES)
        found = _tried(subject, _between(low, high, goal))
        if found.pruned is not None and found.pruned <= goal:
            high = found
        else:
            low = found
    return high


def _between(low: _Try, high: _Try, goal: float) -> float:
    """The sparsity to try next: where the line between two costs meets the goal, else half way."""
    if low.pruned is None or high.pruned is None:
        return (low.sparsity + high.sparsity) / 2
    part = (low.pruned - _INWARD * goal) / max(low.pruned - high.pruned, 1.0)
    return low.sparsity + min(max(part, 0.05), 0.95) * (high.sparsity - low.sparsity)


def _tried(subject: Subject, sparsity: float) -> _Try:
    made = subject.at(sparsity)
    fitted = fit_to_network(made, subject.file, subject.profile, subject.layers)
    return _Try(sparsity, fitted, *_instructions(fitted, subject))


def _instructions(made: Plan, subject: Subject) -> tuple[float | None, float | None]:
    """Those of the whole network, dense and pruned."""
    return sparse_instructions(made, subject.profile) or (None, None)


def _spread(subject: Subject, found: _Try, goal: float, costs: RuntimeCosts) -> Plan:
    """The plan with its zeros where they save most cost for a loss; as it is, if uniform is asked.

    The network is taken as a sparse one from a number of zeros on: where too few are left, they
    stay as many as before, and move alone.
    """
    method = subject.allocation or ("lamp" if subject.samples is None else "reconstruction")
    x = None if subject.samples is None else list(subject.samples.x)
    losses = loss_curves(subject.mapped, found.plan, method, x, subject.progress)
    made = found.plan
    if method != "uniform" and found.pruned is not None:
        layer_cost = _layer_cost(subject, costs)
        moving = {row.path: partial(layer_cost, row) for row in made.layers if can_move(row)}
        spent = sum(moving[row.path](row.sparsity) for row in made.layers if row.path in moving)
        curves = [losses.by_method[path] for path in moving]
        fewest = distribute_within(curves, moving, spent + (1 - _ROUNDING) * goal - found.pruned)
        alternatives = (
            with_sparsities(made, fewest),
            reallocate(made, losses.by_method, layer_cost),
        )
        judged = (
            judge_again(each, subject.file.draft, subject.profile, subject.layers)
            for each in alternatives
        )
        made = next((each for each in judged if _is_within(each, subject, goal)), made)
    return with_errors(made, losses.measured)


def _layer_cost(subject: Subject, costs: RuntimeCosts) -> Callable[[LayerPlan, float], float]:
    known = {layer.path: layer for layer in subject.layers}

    def cost(row: LayerPlan, sparsity: float) -> float:
        amounts = kernel_costs.layer_amounts(known[row.path], row.pattern, sparsity)
        return costs.total(amounts)

    return cost


def _is_within(made: Plan, subject: Subject, goal: float) -> bool:
    pruned = _instructions(made, subject)[1]
    return pruned is not None and pruned <= goal
