"""Fits a plan to the network as a whole, where a device's sparse kernels want that.

The model is converted once and judged by the gate as if it were pruned. Where it can gain, every
layer gets the block of zeros that costs the fewest instructions; where it cannot, nothing is pruned
and the plan says why, before anybody trains.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgeprune.core import device_matrix
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.outlook import Alternative, Outlook, PlannedRewrite, RuntimeOutlook
from edgeprune.core.pattern import Block, Pattern, Unstructured
from edgeprune.core.plan import LayerInfo, LayerPlan, Plan
from edgeprune.core.runtime import Runtime
from edgeprune.planning.activation_cost import say_activations
from edgeprune.planning.converted import Converted
from edgeprune.planning.network_cost import PlannedZeros, dense_cost, sparse_cost
from edgeprune.planning.rules import make_plan
from edgeprune.profiles import kernel_costs
from edgeprune.profiles.encoding import rules_of
from edgeprune.profiles.folder import profile_names
from edgeprune.profiles.kernel_costs import CostTable, RuntimeCosts
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.rewrites import Rewritten, rewrite

_OTHER_RUNTIME = "Use LiteRT there, or a device with a newer core."
STORAGE_GOAL = "flash"
"""The goal for which zeros pay without a sparse kernel: the file is smaller, at least by gzip."""
SMALLEST_GAIN = 1.0
"""Expected instructions dense / sparse, averaged over runtimes, from which a network is pruned."""


def fit_to_network(
    made: Plan,
    model: Converted,
    profile: DeviceProfile,
    layers: Sequence[LayerInfo],
    *,
    insist: bool = False,
) -> Plan:
    """Returns the plan with what the network as a whole can gain, and what follows for its layers.

    Args:
      made: a plan of layers, each on its own.
      model: gives the file of the model, with the padding that the plan wants.
      profile: one whose encoding has sparse networks.
      layers: the model's, as the plan was made from.
      insist: whether a person named the sparsity. The layers then keep it where the network cannot
        gain from any; where it could gain from more zeros, they stay dense nevertheless.
    """
    if not made.asked:
        return made
    elsewhere = other_patterns(layers, profile)
    if not made.pruned:
        reason = f"no layer is left whose zeros it would skip ({profile.summary})"
        return made.model_copy(
            update={"network": Outlook(gains=False, reason=reason, elsewhere=elsewhere)}
        )
    if problem := rules_of(profile).no_gain:
        found = Outlook(gains=False, reason=problem, remedy=_OTHER_RUNTIME, elsewhere=elsewhere)
        return _fitted(made, made, found, insist=insist)
    try:
        draft = model.draft
    except EdgepruneError as error:
        unknown = Outlook(gains=None, reason=f"the model was not converted ({error})".rstrip("."))
        return made.model_copy(update={"network": unknown})
    table = kernel_costs.costs_of(profile)
    chosen = choose_blocks(made, layers, table) if table and table.sparse else made
    found = judge_network(chosen, draft, rules_of(profile).runtimes, layers, table)
    found = found.model_copy(
        update={"elsewhere": elsewhere, "breaker": in_model(found.breaker, layers)}
    )
    return _fitted(made, chosen, found, insist=insist)


def _fitted(made: Plan, chosen: Plan, found: Outlook, *, insist: bool) -> Plan:
    """The plan as it was made, with chosen blocks or without zeros, by what the network gains."""
    if found.gains or made.goal == STORAGE_GOAL:
        return chosen.model_copy(update={"network": found})
    if insist and not found.wants_more_zeros:
        return made.model_copy(update={"network": found})
    dense = tuple(_left_dense(layer, found.reason) for layer in made.layers)
    return made.model_copy(update={"network": found, "layers": dense})


def judge_network(
    made: Plan,
    draft: Draft,
    runtimes: Sequence[Runtime],
    layers: Sequence[LayerInfo],
    table: CostTable | None,
) -> Outlook:
    """What a network gains from being pruned by a plan; pure.

    It gains if the gate lets it run sparsely on all runtimes, more than two thirds of the counted
    weights become zero, and the cost table expects fewer instructions for that.
    """
    rewritten = rewrite(draft, runtimes, assume_pruned=True)
    states = tuple(
        RuntimeOutlook(runtime=verdict.runtime.name, state=verdict.state, reason=verdict.reason)
        for verdict in rewritten.verdicts
    )
    found = Outlook(
        gains=rewritten.on,
        reason=rewritten.reason,
        remedy=rewritten.remedy,
        breaker=rewritten.breaker,
        runtimes=states,
        rewrites=tuple(
            PlannedRewrite(name=applied.name, places=applied.places)
            for applied in rewritten.applied
        ),
    )
    if not rewritten.on:
        return found
    if problem := _too_few_zeros(made, layers, rewritten):
        remedy = "Ask for more, 0.7 at least, and leave out fewer layers."
        return found.model_copy(
            update={
                "gains": False,
                "wants_more_zeros": True,
                "reason": problem,
                "remedy": remedy,
            }
        )
    if table is None:
        return found
    costs = expected_instructions(made, layers, draft.graph, rewritten, table)
    expected = tuple((each.name, dense, pruned) for each, dense, pruned in costs)
    activations = say_activations(rewritten.draft.graph, [(c, pruned) for c, _, pruned in costs])
    found = found.model_copy(update={"instructions": expected, "activations": activations})
    gain = sum(dense / sparse for _, dense, sparse in expected) / max(1, len(expected))
    if gain > SMALLEST_GAIN or not expected:
        return found
    reason = (
        "its maps are too small: the network would take "
        f"{1 / gain:.2f} times the instructions on sparse kernels"
    )
    remedy = "A larger input, wider layers or more zeros would change that."
    return found.model_copy(update={"gains": False, "reason": reason, "remedy": remedy})


def judge_again(
    made: Plan, draft: Draft, profile: DeviceProfile, layers: Sequence[LayerInfo]
) -> Plan:
    """A plan that `fit_to_network` made, judged again after its sparsities changed."""
    table = kernel_costs.costs_of(profile)
    found = judge_network(made, draft, rules_of(profile).runtimes, layers, table)
    elsewhere = made.network.elsewhere if made.network is not None else ()
    changed = {"elsewhere": elsewhere, "breaker": in_model(found.breaker, layers)}
    return made.model_copy(update={"network": found.model_copy(update=changed)})


def _in_network(layer: LayerInfo) -> bool:
    """Whether a 1x1 convolution lies between the stem and the last average of a network."""
    return layer.feeds_map or layer.pixels is None or layer.pixels > 1


def _too_few_zeros(made: Plan, layers: Iterable[LayerInfo], rewritten: Rewritten) -> str:
    """Says so if the plan's zeros are not more than two thirds; empty if they are."""
    known = {layer.path: layer for layer in layers}
    zeros = sum(
        row.weights * row.expected_sparsity for row in made.pruned if _in_network(known[row.path])
    )
    counted = max(verdict.parameters for verdict in rewritten.verdicts)
    if zeros * 3 > counted * 2:
        return ""
    return (
        f"the plan makes {zeros / counted:.3f} of the weights zero that the runtimes count, and "
        "sparse kernels run from more than two thirds on"
    )


def choose_blocks(made: Plan, layers: Iterable[LayerInfo], table: CostTable) -> Plan:
    """Gives every layer the block of outputs that costs the fewest instructions at its sparsity.

    Layers in other patterns keep them. Of two blocks that cost the same the smaller is taken, which
    leaves more choice which weights stay. What counts is the sum over runtimes of a layer's cost
    relative to its dense one, so that none of them outweighs the other.
    """
    known = {layer.path: layer for layer in layers}
    rows = tuple(_with_best_block(row, known[row.path], table) for row in made.layers)
    return made.model_copy(update={"layers": rows})


def _with_best_block(row: LayerPlan, layer: LayerInfo, table: CostTable) -> LayerPlan:
    of_outputs = isinstance(row.pattern, Unstructured | Block) and (
        isinstance(row.pattern, Unstructured) or row.pattern.in_ == 1
    )
    inside = _in_network(layer) and layer.pixels is not None
    if not of_outputs or not row.sparsity or not inside:
        return row
    relative = {
        block: sum(
            runtime.total(
                kernel_costs.layer_amounts(layer, kernel_costs.block_pattern(block), row.sparsity)
            )
            / runtime.total(kernel_costs.layer_amounts(layer, None, 0.0))
            for runtime in table.sparse
        )
        / len(table.sparse)
        for block in kernel_costs.BLOCKS
    }
    best = min(relative, key=lambda block: (round(relative[block], 3), block))
    costs = ", ".join(f"{block}: {value:.2f}" for block, value in relative.items())
    reason = f"{row.reason}; on {layer.pixels} pixels, of a dense one's cost, blocks of {costs}"
    return row.model_copy(update={"pattern": kernel_costs.block_pattern(best), "reason": reason})


def _left_dense(row: LayerPlan, reason: str) -> LayerPlan:
    if row.pattern is None:
        return row
    why = f"the network gains nothing: {reason}"
    return row.model_copy(update={"pattern": None, "sparsity": 0.0, "reason": why})


def expected_instructions(
    made: Plan,
    layers: Iterable[LayerInfo],
    original: Graph,
    rewritten: Rewritten,
    table: CostTable,
) -> tuple[tuple[RuntimeCosts, float, float], ...]:
    """Per runtime its costs, and the instructions of the whole network, dense and pruned.

    Those of its convolutions alone, where the table does not have the costs of single operators.
    """
    zeros = _planned_zeros(made, layers)
    after = rewritten.draft.graph
    found: dict[str, tuple[RuntimeCosts, float, float]] = {}
    for verdict in rewritten.verdicts:
        costs = table.of(verdict.runtime)
        if costs is None or not costs.costs or costs.name in found:
            continue
        inside = {each.index for each in verdict.ops if each.in_cluster}
        dense = dense_cost(original, costs, "float32") or sparse_cost(original, costs, (), {})
        found[costs.name] = (costs, dense, sparse_cost(after, costs, inside, zeros))
    return tuple(found.values())


def _planned_zeros(made: Plan, layers: Iterable[LayerInfo]) -> PlannedZeros:
    pixels = {layer.path: layer.pixels or 1 for layer in layers}
    found: dict[tuple[int, int, int], list[tuple[int, float]]] = {}
    for row in made.pruned:
        if row.pattern is not None:
            key = (*device_matrix.device_shape(row.kind, row.shape), pixels[row.path])
            block = kernel_costs.kernel_block(row.pattern)
            found.setdefault(key, []).append((block, row.sparsity))
    return found


def other_patterns(layers: Sequence[LayerInfo], profile: DeviceProfile) -> tuple[Alternative, ...]:
    """Devices whose pattern takes most of the model's weights, and needs no network that fits.

    Those that an instrument of this profile measures too come first: they are the same
    processor, in other numbers; of them, those that offer the fewest number formats.
    """
    found: dict[tuple[bool, int, str], Pattern] = {}
    for name in profile_names():
        other = load_profile(name)
        if name == profile.name or other.on().encoding.sparse_networks:
            continue
        rows = make_plan(layers, other).layers
        taken = [(row.weights, row.pattern) for row in rows if row.pattern is not None]
        if 2 * sum(weights for weights, _ in taken) > sum(row.weights for row in rows):
            shared = bool(set(other.targets) & set(profile.targets))
            formats = len({route.numerics for route in other.offered})
            found[not shared, formats, name] = max(taken, key=lambda row: row[0])[1]
    return tuple(Alternative(device=key[2], pattern=found[key]) for key in sorted(found))


def in_model(tensor: str, layers: Iterable[LayerInfo]) -> str:
    """The layer that a tensor of the converted file is named after; the tensor if none is.

    TensorFlow names it `model/layer_1/step;model/other_1/step`, the layer that computes it last.
    """
    parts = re.split(r"[/;]", tensor)
    for part in reversed(parts):
        for layer in layers:
            name = layer.path.rsplit("/", 1)[-1]
            if re.fullmatch(rf"{re.escape(name)}(_\d+)?", part):
                return layer.path
    return tensor
