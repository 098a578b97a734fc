"""How much is lost when channels of a group go: in which order, and what each step costs.

Three ways, by what is there to go by:

- `reconstruction`, from samples without labels: how much of what the layers behind put out can no
  longer be told from the channels that are left, by the best linear guess. With the covariance `C`
  of a layer's inputs and its weights `W`, removing the set `R` loses
  `tr(W_R [(C^-1)_RR]^-1 W_R^T)`, here as a fraction of all that the layer puts out; the weights
  left then take over what they can, and the next step starts from there.
- `taylor`, from samples with labels: the square of how the loss changes when a channel is zero, to
  first order.
- `magnitude`, without data: the same as the first with inputs that are all equally strong and know
  nothing of each other, and the weights that make the channels beside those that read them.

Sources: Hassibi and Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon",
NIPS 1992 (the formula for one input); He, Zhang and Sun, "Channel pruning for accelerating very
deep neural networks", 2017, arXiv:1707.06168 (channels by reconstruction); Molchanov et al.,
"Importance estimation for neural network pruning", 2019, arXiv:1906.10771 (Taylor); Fang et al.,
"DepGraph", 2023, arXiv:2301.12900 (magnitude over groups).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.errors import ModelError
from edgeprune.pruning.channels.group import Group
from edgeprune.pruning.channels.rule import Labels, Matrix
from edgeprune.pruning.channels.statistics import TINY, Key, Moments
from edgeprune.pruning.channels.trace import Trace, TracedMatrix

LOOKS = 32
"""How often, at most, it is worked out anew what the channels that are left can take over."""


EXACT = 512
"""Channels of a group up to which it is reckoned in float64."""
COUPLED = 0.05
"""Squared partial correlation above which two channels do not go between the same two looks."""


@dataclass(frozen=True)
class Elimination:
    """The order in which the channels of a group go, worst first, and the loss of each step."""

    order: Labels
    """`[n]`, indices into `Group.channels`; the last ones stay longest."""
    losses: Array
    """`[n]`, what going on to this channel adds. Of no unit; alike for all groups of a model."""


@dataclass(frozen=True)
class ChannelReader:
    """A matrix that reads channels, and what it reads."""

    path: str
    labels: Labels
    """`[inputs]`."""
    weights: Array
    """float64 `[inputs, rest]`."""
    grouped: bool
    moments: Moments | None
    total: float
    """What the matrix puts out, by which losses are divided."""


@dataclass(frozen=True)
class _Block:
    """What one reader knows of one group of `s` channels, each of which it reads once."""

    products: Array
    """Of the weights, as a fraction of all that the reader puts out, `[s, s]`."""
    inverse: Array
    """Of the covariance, `[s, s]`."""
    floor: Array
    """`[s]`, one over each channel's variance: what is left of its own once others take over is no
    more than that, so the inverse's diagonal is never below, but for rounding."""
    which: Labels
    """`[s]`, their indices in the group, ascending."""


def find_readers(trace: Trace, moments: Mapping[Key, Moments]) -> tuple[ChannelReader, ...]:
    """The matrices of a traced model that sum over channels.

    Raises:
      ModelError: a weight is not finite.
    """
    return tuple(
        _reader(found, moments.get(found.key) if found.matrix.source is not None else None)
        for found in trace.matrices
        if found.matrix.inputs is not None
    )


def find_makers(trace: Trace) -> tuple[ChannelReader, ...]:
    """The same matrices by the channels that they make, for want of knowing what comes in."""
    return tuple(
        _reader(replace(found, matrix=_turned(found.matrix)), None)
        for found in trace.matrices
        if found.matrix.inputs is not None
    )


def _turned(matrix: Matrix) -> Matrix:
    return replace(
        matrix,
        inputs=matrix.outputs,
        input_axis=matrix.output_axis,
        outputs=np.empty(0, np.int64),
        output_axis=matrix.input_axis,
        groups=1,
    )


def _reader(found: TracedMatrix, moments: Moments | None) -> ChannelReader:
    matrix = found.matrix
    kernel = np.asarray(getattr(found.layer, matrix.weight), np.float64)
    if not np.isfinite(kernel).all():
        raise ModelError(
            f"{found.path}: expected finite weights. Received: "
            f"{int((~np.isfinite(kernel)).sum())} NaN or infinite values. Retrain the layer, or "
            "leave it out with --skip."
        )
    weights = _by_input(kernel, matrix.input_axis, matrix.output_axis, matrix.groups)
    labels = np.empty(0, np.int64) if matrix.inputs is None else matrix.inputs
    grouped = matrix.groups > 1
    if moments is None:
        total = float(np.sum(np.square(weights)))
    elif moments.covariance.ndim == 1 or grouped:
        total = float(np.sum(np.square(weights).sum(1) * moments.variance))
    else:
        total = float(np.sum(weights * (moments.covariance @ weights)))
    return ChannelReader(found.path, labels, weights, grouped, moments, max(total, 1e-30))


def _by_input(kernel: Array, input_axis: int, output_axis: int, groups: int) -> Array:
    """A kernel as `[inputs, rest]`; of a grouped one each input sees its group's outputs only."""
    moved = np.moveaxis(kernel, (input_axis, output_axis), (0, 1))
    inputs, outputs = moved.shape[:2]
    split = moved.reshape(inputs, groups, outputs // groups, -1)
    return np.moveaxis(split, 1, 0).reshape(groups * inputs, -1)


def eliminate(group: Group, readers: Sequence[ChannelReader], at_once: int) -> Elimination:
    """Orders the channels of a group by how little is lost when they go.

    Args:
      group: whose channels go.
      readers: of the whole model.
      at_once: fewest channels that go between two looks at what the others have to take over.
    """
    alone = np.zeros(len(group))
    blocks = []
    for reader in readers:
        places = np.flatnonzero(np.isin(reader.labels, group.channels))
        if not len(places):
            continue
        which = np.searchsorted(group.channels, reader.labels[places])
        if _is_alone(reader, which):
            np.add.at(alone, which, _losses_alone(reader, places))
        else:
            blocks.append(_block(reader, places, which))
    return _eliminated(alone, blocks, max(at_once, len(group) // LOOKS))


def _is_alone(reader: ChannelReader, which: Labels) -> bool:
    """Whether a reader cannot say what other channels would take over."""
    moments = reader.moments
    return (
        moments is None
        or reader.grouped
        or moments.covariance.ndim == 1
        or len(np.unique(which)) < len(which)
    )


def _losses_alone(reader: ChannelReader, places: Labels) -> Array:
    strength = np.square(reader.weights[places]).sum(1)
    energy = 1.0 if reader.moments is None else reader.moments.variance[places]
    return np.asarray(strength * energy / reader.total)


def _block(reader: ChannelReader, places: Labels, which: Labels) -> _Block:
    moments = reader.moments
    if moments is None:
        raise ValueError(f"{reader.path}: moments are needed")
    order = np.argsort(which)
    places = places[order]
    weights = reader.weights[places]
    # Channels that go one after another cost digits; large groups go in few steps.
    precision = np.float64 if len(places) <= EXACT else np.float32
    inverse = moments.inverse[np.ix_(places, places)].astype(precision)
    floor = 1 / np.maximum(1 / np.diag(inverse), moments.variance[places])
    products = (weights @ weights.T / reader.total).astype(precision)
    return _Block(products, inverse, floor, which[order])


def _eliminated(alone: Array, blocks: list[_Block], at_once: int) -> Elimination:
    left = np.ones(len(alone), bool)
    order, losses = [], []
    while left.any():
        scores = alone.copy()
        for block in blocks:
            scores[block.which] += _each_loss(block)
        scores[~left] = np.inf
        worst = _worst(scores, blocks, min(at_once, int(left.sum())))
        lost = float(alone[worst].sum())
        for at, block in enumerate(blocks):
            more, blocks[at] = _without(block, worst)
            lost += more
        left[worst] = False
        # The worst of the worst first, so that a part of a step is its cheaper part.
        order.append(worst[np.argsort(scores[worst], kind="stable")])
        losses.append(np.full(len(worst), lost / len(worst)))
    return Elimination(np.concatenate(order), np.concatenate(losses))


def _worst(scores: Array, blocks: list[_Block], count: int) -> Labels:
    """The channels with the lowest scores, but of two that stand in for each other only one."""
    candidates = np.argsort(scores, kind="stable")[: 2 * count]
    coupled = np.zeros((len(candidates), len(candidates)), bool)
    for block in blocks:
        at = np.searchsorted(block.which, candidates).clip(0, len(block.which) - 1)
        known = block.which[at] == candidates
        inverse = block.inverse[np.ix_(at, at)]
        strength = np.sqrt(np.maximum(np.diag(inverse), TINY))
        partial = np.square(inverse / strength / strength[:, None])
        coupled |= (partial > COUPLED) & np.outer(known, known)
    chosen: list[int] = []
    for index in range(len(candidates)):
        if len(chosen) < count and np.isfinite(scores[candidates[index]]):
            chosen += [] if coupled[index, chosen].any() else [index]
    return np.sort(candidates[chosen])


def _each_loss(block: _Block) -> Array:
    return np.asarray(np.diag(block.products) / np.maximum(np.diag(block.inverse), TINY))


def _without(block: _Block, gone: Labels) -> tuple[float, _Block]:
    """What is lost when channels go, and the block of the others, which have taken over."""
    away = np.isin(block.which, gone)
    if not away.any():
        return 0.0, block
    at, stay = np.flatnonzero(away), np.flatnonzero(~away)
    corner = block.inverse[np.ix_(at, at)]
    lost = float(np.trace(np.linalg.solve(corner, block.products[np.ix_(at, at)])))
    cross = block.inverse[np.ix_(at, stay)]
    taken = np.linalg.solve(corner, cross)
    across = block.products[np.ix_(stay, at)] @ taken
    products = (
        block.products[np.ix_(stay, stay)]
        - across
        - across.T
        + taken.T @ block.products[np.ix_(at, at)] @ taken
    )
    inverse = block.inverse[np.ix_(stay, stay)] - cross.T @ taken
    floor = block.floor[stay]
    np.fill_diagonal(inverse, np.maximum(np.diag(inverse), floor))
    return max(lost, 0.0), _Block(products, inverse, floor, block.which[stay])


def by_scores(scores: Array) -> Elimination:
    """The elimination of channels whose losses do not depend on each other."""
    order = np.argsort(scores, kind="stable")
    return Elimination(order, scores[order])
