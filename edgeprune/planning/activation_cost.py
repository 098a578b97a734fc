"""What activation functions cost in a sparse network, where they are a large part of what is left.

Sparse convolutions leave most multiplications out, and the exponentials of a swish stay: 41 % of
the executed instructions of EfficientNet-B0 at a sparsity of 0.8 (LiteRT 2.1.6, before
`rewrites.swish`). A user who knows can have them replaced before training (`--activation`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgeprune.tflite.format.graph import Graph

LARGE_SHARE = 0.15
"""Part of a network's instructions from which activation functions are named."""

_PER_VALUE: Mapping[str, Mapping[str, float]] = {
    "LiteRT": {"ELU": 8.5, "GELU": 7.6, "HARD_SWISH": 1.8, "LOGISTIC": 9.0, "TANH": 5.8},
    "tflite-runtime": {"ELU": 9.7, "HARD_SWISH": 2.0, "LOGISTIC": 10.4},
}
"""Executed instructions per value, of the operators that sparse networks may have.

Source: LiteRT 2.1.6 and 2.3.0, tflite-runtime 2.14.0 on emulated cortex-a76, a map of 32x32x64
with and without the operator, 2026-11-27. LiteRT needs as many on cortex-a53.
"""


def activation_instructions(graph: Graph, runtime: str) -> Mapping[str, float]:
    """Instructions of one inference in activation functions, by operator; empty if not known."""
    known = _PER_VALUE.get(runtime, {})
    found: dict[str, float] = {}
    for operator in graph.operators:
        if operator.op in known:
            values = math.prod(graph.tensors[operator.outputs[0]].shape)
            found[operator.op] = found.get(operator.op, 0.0) + known[operator.op] * values
    return found


def say_activations(graph: Graph, expected: tuple[tuple[str, float, float], ...]) -> str:
    """Says in a sentence what activation functions cost; empty where that is little.

    Args:
      graph: the network as it will run, rewritten.
      expected: per runtime its name, and the instructions of the layers with weights, dense and
        pruned.
    """
    shares: dict[str, float] = {}
    for runtime, _, pruned in expected:
        costs = activation_instructions(graph, runtime)
        total = pruned + sum(costs.values())
        for op, cost in costs.items():
            shares[op] = shares.get(op, 0.0) + cost / total / len(expected)
    if sum(shares.values()) < LARGE_SHARE:
        return ""
    largest = max(shares, key=lambda op: shares[op])
    return (
        f"{largest} takes {shares[largest]:.0%} of the instructions that are left; "
        "--activation hard-swish or relu6, with --epochs, replaces swish and GELU before training"
    )
