"""Whether the weights in a file hold an n:m pattern along their input channels.

Zeros are put in on float kernels; what counts is the file, after folding and quantization. Nothing
in a .tflite file says that a weight is meant to be n:m, so one that keeps to the pattern nearly
everywhere is taken for one that lost it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.pattern import NofM
from edgeprune.tflite.format.file import Graph, Operator, Subgraph, Tensor
from edgeprune.tflite.weights import weights_of

if TYPE_CHECKING:
    pass

READERS = ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
"""Operators whose weights `[out, ..., in]` hardware reads in groups of input channels.

Source: SupportedWeightFormat in ethos_u85.cpp of ethos-u-vela 5.2.0: convolutions and vector
products.
"""
MEANT_GROUPS = 0.95
"""From this fraction of groups on, a weight was meant to be n:m.

Random zeros reach it too, but from three quarters on only: see `MEANT_ZEROS`.
"""
MEANT_ZEROS = 0.7
"""With more zeros than this, groups may fit by chance: 92 % do at 70 % random zeros."""


@dataclass(frozen=True)
class PatternFit:
    """How far a weight keeps to an n:m pattern."""

    name: str
    sparsity: float
    """Fraction of zeros, in [0, 1]."""
    groups: int
    """Runs of m input channels at one output and kernel position."""
    misfits: int
    """Those with more than n weights that are not zero."""

    @property
    def whole(self) -> bool:
        """Whether hardware can skip: every group fits."""
        return not self.misfits

    @property
    def lost(self) -> bool:
        """Whether the weight was meant to fit and does not."""
        share = 1 - self.misfits / self.groups
        return bool(self.misfits) and share >= MEANT_GROUPS and self.sparsity <= MEANT_ZEROS


def pattern_fit(name: str, nonzero: Array, pattern: NofM) -> PatternFit:
    """Compares a weight with a pattern.

    Args:
      name: of the weight.
      nonzero: bool `[out, ..., in]`. Every kernel position starts a new group; a rest of fewer
        than m channels is a group of its own, filled up with zeros. Where `in` is a multiple of m
        these are the groups of the device matrix.
      pattern: the hardware's.
    """
    columns = nonzero.shape[-1]
    padded = -(-columns // pattern.m) * pattern.m
    rows = np.zeros((nonzero.size // columns, padded), bool)
    rows[:, :columns] = nonzero.reshape(-1, columns)
    kept = rows.reshape(-1, pattern.m).sum(axis=1)
    return PatternFit(name, 1 - float(nonzero.mean()), len(kept), int((kept > pattern.n).sum()))


def nonzero_weights(subgraph: Subgraph, operator: Operator) -> tuple[Tensor, Array] | None:
    """The constant weights of an operator, and where they are not zero; None if it has none."""
    tensor = weights_of(subgraph, operator)[0]
    values = None if tensor is None else tensor.values()
    if tensor is None or values is None or not values.size:
        return None
    zero = tensor.zero_points if len(tensor.zero_points) == 1 else 0
    return tensor, values != zero


def pattern_fits(graph: Graph, pattern: NofM) -> tuple[PatternFit, ...]:
    """Every weight of a file that the hardware could read in groups, each once."""
    found: dict[int, PatternFit] = {}
    for operator in graph.operators:
        weight = nonzero_weights(graph.subgraphs[0], operator) if operator.op in READERS else None
        if weight is not None and weight[0].index not in found:
            found[weight[0].index] = pattern_fit(weight[0].name, weight[1], pattern)
    return tuple(found.values())
