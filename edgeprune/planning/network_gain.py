"""Fits a plan to the network as a whole, where a device's sparse kernels want that.

The model is converted once and judged by the gate as if it were pruned. Where it can gain, every
layer gets the block of zeros that costs the fewest instructions; where it cannot, nothing is pruned
and the plan says why, before anybody trains.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from edgeprune.core import device_matrix
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.outlook import Alternative, Outlook, PlannedRewrite, RuntimeOutlook
from edgeprune.core.pattern import Block, Pattern, Unstructured
from edgeprune.core.plan import LayerInfo, LayerPlan, Plan
from edgeprune.core.runtime import Runtime
from edgeprune.planning.rules import make_plan
from edgeprune.profiles import kernel_costs
from edgeprune.profiles.encoding import rules_of
from edgeprune.profiles.folder import profile_names
from edgeprune.profiles.kernel_costs import Amounts, CostTable, RuntimeCosts
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.graph import Graph, Operator
from edgeprune.tflite.gate import OpVerdict
from edgeprune.tflite.rewrites import Rewritten, rewrite

STORAGE_GOAL = "flash"
"""The goal for which zeros pay without a sparse kernel: the file is smaller, at least by gzip."""
SMALLEST_GAIN = 1.0
"""Expected instructions dense / sparse, averaged over runtimes, from which a network is pruned."""

PlannedZeros: TypeAlias = Mapping[tuple[int, int, int], tuple[int, float]]
"""Block and sparsity of planned 1x1 convolutions, by outputs, inputs and pixels."""


def fit_to_network(
    made: Plan,
    model: Any,
    profile: DeviceProfile,
    layers: Sequence[LayerInfo],
    *,
    insist: bool = False,
) -> Plan:
    """Returns the plan with what the network as a whole can gain, and what follows for its layers.

    Args:
      made: a plan of layers, each on its own.
      model: the Keras model, with the padding that the plan wants.
      profile: one whose encoding has sparse networks.
      layers: the model's, as the plan was made from.
      insist: whether a person named the sparsity. The layers then keep it where the network cannot
        gain from any; where it could gain from more zeros, they stay dense all the same.
    """
    if not made.asked:
        return made
    elsewhere = other_patterns(layers, profile)
    if not made.pruned:
        reason = f"no layer is left whose zeros it would skip ({profile.summary})"
        return made.model_copy(
            update={"network": Outlook(gains=False, reason=reason, elsewhere=elsewhere)}
        )
    try:
        draft = convert_to_draft(model, profile)
    except EdgepruneError as error:
        unknown = Outlook(gains=None, reason=f"the model was not converted ({error})".rstrip("."))
        return made.model_copy(update={"network": unknown})
    table = kernel_costs.read_costs(profile.costs) if profile.costs else None
    chosen = choose_blocks(made, layers, table) if table else made
    found = judge_network(chosen, draft, rules_of(profile).runtimes, layers, table)
    found = found.model_copy(
        update={"elsewhere": elsewhere, "breaker": in_model(found.breaker, layers)}
    )
    if found.gains or made.goal == STORAGE_GOAL:
        return chosen.model_copy(update={"network": found})
    if insist and not found.wants_more_zeros:
        return made.model_copy(update={"network": found})
    dense = tuple(_left_dense(layer, found.reason) for layer in made.layers)
    return made.model_copy(update={"network": found, "layers": dense})


def convert_to_draft(model: Any, profile: DeviceProfile) -> Draft:
    """The model as TensorFlow's converter writes it.

    Raises:
      ModelError: as `convert.convert`.
    """
    from edgeprune.conversion.convert import convert  # imports TensorFlow

    content = convert(model, profile, profile.numerics, None)
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(content)
        return tflite_draft.load(path)


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
    expected = expected_instructions(made, layers, draft.graph, rewritten, table)
    found = found.model_copy(update={"instructions": expected})
    gain = sum(dense / sparse for _, dense, sparse in expected) / len(expected)
    if gain > SMALLEST_GAIN:
        return found
    reason = (
        "its maps are too small: the layers with weights would take "
        f"{1 / gain:.2f} times the instructions on sparse kernels"
    )
    remedy = "A larger input, wider layers or more zeros would change that."
    return found.model_copy(update={"gains": False, "reason": reason, "remedy": remedy})


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
            for runtime in table.runtimes
        )
        / len(table.runtimes)
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
) -> tuple[tuple[str, float, float], ...]:
    """Per runtime: its name, and the instructions of the layers with weights, dense and pruned."""
    verdicts = {verdict.runtime.name: verdict for verdict in rewritten.verdicts}
    zeros = _planned_zeros(made, layers)
    after = rewritten.draft.graph
    return tuple(
        (
            runtime.name,
            _graph_cost(runtime, original, (), {}),
            _graph_cost(runtime, after, verdicts[runtime.name].ops, zeros),
        )
        for runtime in table.runtimes
        if runtime.name in verdicts
    )


def _planned_zeros(made: Plan, layers: Iterable[LayerInfo]) -> PlannedZeros:
    pixels = {layer.path: layer.pixels or 1 for layer in layers}
    return {
        (*device_matrix.device_shape(row.kind, row.shape), pixels[row.path]): (
            kernel_costs.kernel_block(row.pattern),
            row.sparsity,
        )
        for row in made.pruned
        if row.pattern is not None
    }


def _graph_cost(
    runtime: RuntimeCosts,
    graph: Graph,
    verdicts: Sequence[OpVerdict],
    zeros: PlannedZeros,
) -> float:
    inside = {verdict.index for verdict in verdicts if verdict.in_cluster}
    amounts = [
        _operator_amounts(graph, operator, operator.index in inside, zeros)
        for operator in graph.operators
    ]
    return runtime.total(kernel_costs.add(*amounts))


def _operator_amounts(
    graph: Graph,
    operator: Operator,
    sparse: bool,
    zeros: PlannedZeros,
) -> Amounts:
    """The features of a convolution of a file; none for what has no cost in the table."""
    if operator.op not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return {}
    kernel = graph.tensors[operator.inputs[1]].shape
    _, height, width, channels = graph.tensors[operator.outputs[0]].shape
    kind: kernel_costs.MapLayout = "nchw" if sparse else "nhwc"
    stride = operator.options.strideH
    if operator.op == "DEPTHWISE_CONV_2D":
        return kernel_costs.depthwise(kernel[1], stride, channels, height * width, kind)
    outputs, rows, columns, inputs = kernel
    if (rows, columns) != (1, 1):
        return kernel_costs.stem(outputs, height * width, kind) if inputs == 3 else {}
    if not sparse:
        return kernel_costs.dense_pointwise(outputs, inputs, height * width)
    block, sparsity = zeros.get((outputs, inputs, height * width), (1, 0.0))
    return kernel_costs.sparse_pointwise(outputs, inputs, height * width, block, sparsity)


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
