"""What activation functions cost in a sparse network, where they are a large part of what is left.

Sparse convolutions leave most multiplications out, and the exponentials of a swish stay: 41 % of
the executed instructions of EfficientNet-B0 at a sparsity of 0.8 (LiteRT 2.1.6, before
`rewrites.swish`). A user who knows can have them replaced before training (`--activation`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from edgeprune.profiles.kernel_costs import RuntimeCosts
from edgeprune.profiles.operations import operations_of
from edgeprune.tflite.format.graph import Graph

LARGE_SHARE = 0.15
"""Part of a network's instructions from which activation functions are named."""
_ACTIVATIONS = ("ELU", "GELU", "HARD_SWISH", "LOGISTIC", "TANH")


def activation_instructions(graph: Graph, costs: RuntimeCosts) -> Counter[str]:
    """Instructions of one inference in activation functions, by operator; empty if not known."""
    known = costs.in_format("float32")
    found: Counter[str] = Counter()
    if known is not None:
        main = graph.subgraphs[0]
        for each in operations_of(main.tensors, main.operators):
            if each.op in _ACTIVATIONS:
                found[each.op] += round(known.of_one(each))
    return found


def say_activations(graph: Graph, expected: Iterable[tuple[RuntimeCosts, float]]) -> str:
    """Says in a sentence what activation functions cost; empty where that is little.

    Args:
      graph: the network as it will run, rewritten.
      expected: costs of runtimes, each with the instructions of the whole pruned network.
    """
    shares: dict[str, float] = {}
    found = [(activation_instructions(graph, costs), pruned) for costs, pruned in expected]
    for costs, pruned in found:
        for op, cost in costs.items():
            shares[op] = shares.get(op, 0.0) + cost / pruned / len(found)
    if sum(shares.values()) < LARGE_SHARE:
        return ""
    largest = max(shares, key=lambda op: shares[op])
    return (
        f"{largest} takes {shares[largest]:.0%} of the instructions that are left; "
        "--activation hard-swish or relu6, with --epochs, replaces swish and GELU before training"
    )
