"""The importance of channels: in which order those of a group are removed, at what loss each.

There are three criteria, depending on the data:

- `reconstruction`, from samples without labels: the part of the following layers' outputs that
  cannot be predicted linearly from the channels that are left. With the covariance `C` of a layer's
  inputs and its weights `W`, removing the set `R` loses `tr(W_R [(C^-1)_RR]^-1 W_R^T)`, here as a
  fraction of the energy of the layer's outputs; the weights left are then adjusted to compensate,
  and the next step starts from there.
- `taylor`, from samples with labels: the squared change of the loss when a channel is zero, to
  first order.
- `magnitude`, without data: as `reconstruction`, for uncorrelated inputs of equal variance, and
  over the weights that make the channels as well as those that read them.

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

MAX_UPDATES = 32
"""How often the losses of the channels left are recomputed, at most."""
EXACT = 512
"""Largest number of channels of a group for which float64 is used."""
COUPLED = 0.05
"""Squared partial correlation above which two channels are not removed in the same update."""


@dataclass(frozen=True)
class Elimination:
    """The order in which the channels of a group are removed, and the loss of each."""

    order: Labels
    """`[n]`, indices into `Group.channels`, the least important first."""
    losses: Array
    """`[n]`, the loss that each channel adds, in that order. It has no unit, and is comparable
    between all groups of a model."""


@dataclass(frozen=True)
class ChannelReader:
    """A matrix that reads channels, with the moments of its inputs."""

    path: str
    labels: Labels
    """`[inputs]`."""
    weights: Array
    """float64 `[inputs, rest]`."""
    grouped: bool
    moments: Moments | None
    """None if the inputs are not known."""
    total: float
    """Energy of the outputs, by which losses are divided."""


@dataclass(frozen=True)
class _Block:
    """The statistics of one reader for one group, of which it reads `s` channels, each once."""

    products: Array
    """`[s, s]`: products of the weights, divided by the energy of the reader's outputs."""
    inverse: Array
    """`[s, s]`: inverse of the covariance."""
    floor: Array
    """`[s]`: one over each channel's variance, the smallest possible diagonal of `inverse`, since
    the variance that others cannot predict is no more than the whole; enforced against rounding."""
    which: Labels
    """`[s]`: indices of the channels in the group, ascending."""


def find_readers(trace: Trace, moments: Mapping[Key, Moments]) -> tuple[ChannelReader, ...]:
    """The matrices of a traced model that sum over channels.

    Args:
      trace: the trace of the model.
      moments: moments of the inputs of matrices; empty without data.

    Raises:
      ModelError: a weight is not finite.
    """
    return tuple(
        _reader(found, moments.get(found.key) if found.matrix.source is not None else None)
        for found in trace.matrices
        if found.matrix.inputs is not None
    )


def find_makers(trace: Trace) -> tuple[ChannelReader, ...]:
    """The same matrices, as if they read the channels that they make; for use without data.

    Raises:
      ModelError: a weight is not finite.
    """
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
    """A kernel as `[inputs, rest]`; in a grouped one each input has its group's outputs only."""
    moved = np.moveaxis(kernel, (input_axis, output_axis), (0, 1))
    inputs, outputs = moved.shape[:2]
    split = moved.reshape(inputs, groups, outputs // groups, -1)
    return np.moveaxis(split, 1, 0).reshape(groups * inputs, -1)


def eliminate(group: Group, readers: Sequence[ChannelReader], at_once: int) -> Elimination:
    """Orders the channels of a group by the loss of their removal, the smallest first.

    Args:
      group: the group.
      readers: the readers of the whole model.
      at_once: fewest channels that are removed between two updates of the losses.
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
    return _eliminated(alone, blocks, max(at_once, len(group) // MAX_UPDATES))


def _is_alone(reader: ChannelReader, which: Labels) -> bool:
    """Whether a reader gives no covariance by which other channels could compensate."""
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
    # Each removal loses precision; large groups are removed in few steps.
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
        # The least important first, so that a part of a step is its cheaper part.
        order.append(worst[np.argsort(scores[worst], kind="stable")])
        losses.append(np.full(len(worst), lost / len(worst)))
    return Elimination(np.concatenate(order), np.concatenate(losses))


def _worst(scores: Array, blocks: list[_Block], count: int) -> Labels:
    """The channels with the lowest scores, but only one of two that are correlated."""
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
    """The loss of removing channels, and the block of the others, adjusted to compensate."""
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
    """The elimination of channels with independent losses `[n]`."""
    order = np.argsort(scores, kind="stable")
    return Elimination(order, scores[order])


def parts_last(found: Elimination, parts: Sequence[Labels]) -> Elimination:
    """The elimination in which the most important channel of each part goes after all others.

    Args:
      found: of a group.
      parts: of the group, see `Group.parts`.
    """
    rank = np.argsort(found.order)
    held = np.unique([rank[part].max() for part in parts]).astype(int)
    places = np.concatenate([np.setdiff1d(np.arange(len(rank)), held), held])
    return Elimination(found.order[places], found.losses[places])
