"""Judges whether a network runs in XNNPACK's sparse mode: all of it, dangerously a part, or not.

The verdict holds for ARM64 and for a file in which at least one weight goes through DENSIFY, which
is how TFLite's delegate learns that sparse inference is wanted. Pure: works on what a file says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgeprune.core.runtime import Runtime
from edgeprune.tflite.format.graph import Graph, Subgraph
from edgeprune.tflite.gate.cluster import Layouts, find_layouts
from edgeprune.tflite.gate.compatibility import (
    ClusterFit,
    fit_of,
    mixes_halves,
    reduced_axes,
    spatial_axes,
)
from edgeprune.tflite.gate.node import Node, constant, is_constant, lower
from edgeprune.tflite.gate.rules import XnnpackRules, delegating, rules_for
from edgeprune.tflite.metadata import HALVES_NAME, asks_for_halves

NetworkState: TypeAlias = Literal["on", "off", "dangerous"]

ENDS = ("MEAN", "SUM", "DEPTH_TO_SPACE")
"""Operators at which a network in NCHW can end; without one the pass returns at once."""


@dataclass(frozen=True)
class OpVerdict:
    """One operator of the main subgraph: whether it joins the sparse network, and why (not).

    `skips_zeros` says that its kernel leaves out the weights that are zero: 1x1 convolutions in a
    cluster do. `remedy` is empty where nothing needs to change.
    """

    index: int
    op: str
    in_cluster: bool
    skips_zeros: bool
    reason: str
    remedy: str


@dataclass(frozen=True)
class NetworkVerdict:
    """What one runtime makes of a network.

    "on": the sparse kernels run, and right. "off": everything runs dense, and right.
    "dangerous": a part runs sparsely and the results are wrong, or the file does not load.
    `breaker` is the index of the operator that keeps the network from running sparsely as a whole;
    None where none does. `zeros` of `parameters` weights are zero, over the 1x1 convolutions that
    the runtime counts.
    """

    runtime: Runtime
    rules_from: Runtime
    """The runtime whose rules were taken; of another version where `runtime` has none of its own.
    """
    state: NetworkState
    reason: str
    remedy: str
    breaker: int | None
    zeros: int
    parameters: int
    ops: tuple[OpVerdict, ...]


@dataclass(frozen=True)
class _Fault:
    """A node whose result is wrong, and the node that is the reason."""

    node: int
    breaker: int
    reason: str
    remedy: str


_Whole: TypeAlias = tuple[NetworkState, str, str, int | None]
"""State of a network, its reason and remedy, and the operator that cuts it."""


def judge(graph: Graph, runtime: Runtime, *, assume_pruned: bool = False) -> NetworkVerdict:
    """Judges a network as the runtime sees it if sparse inference is asked for.

    With `assume_pruned`, as it would be with enough zeros: what pruning it could gain.

    Raises:
      ValueError: the runtime does not delegate to XNNPACK.
    """
    main, rules = graph.subgraphs[0], rules_for(runtime)
    nodes = lower(main)
    fits = [fit_of(main, node, rules) for node in nodes]
    layouts = find_layouts(main, nodes, fits, rules, assume_pruned=assume_pruned)
    fault = next(_faults(main, nodes, fits, layouts, rules), None)
    whole = _whole(nodes, fits, layouts, fault)
    if asks_for_halves(graph.metadata) and not never_engages(graph):
        whole = _with_halves(whole, rules)
    leader = _largest(layouts)
    return NetworkVerdict(
        runtime=runtime,
        rules_from=rules.runtime,
        state=whole[0],
        reason=whole[1],
        remedy=whole[2],
        breaker=whole[3],
        zeros=layouts.zeros.get(leader, 0),
        parameters=layouts.parameters.get(leader, 0),
        ops=tuple(_rows(main, nodes, fits, layouts)),
    )


def judge_each(
    graph: Graph, runtimes: Iterable[Runtime], *, assume_pruned: bool = False
) -> tuple[NetworkVerdict, ...]:
    """Judges a network for those of some runtimes that delegate to XNNPACK; others run it dense."""
    return tuple(
        judge(graph, runtime, assume_pruned=assume_pruned) for runtime in delegating(runtimes)
    )


def judge_file(graph: Graph, runtimes: Iterable[Runtime]) -> NetworkVerdict | None:
    """Returns the first dangerous verdict on a file as it is; None where it computes right.

    A file that does not ask for sparse inference runs dense, whatever its network is.
    """
    if not asks_for_sparse(graph):
        return None
    verdicts = judge_each(graph, runtimes)
    return next((verdict for verdict in verdicts if verdict.state == "dangerous"), None)


def asks_for_sparse(graph: Graph) -> bool:
    """Whether a file makes TFLite's delegate ask XNNPACK for sparse inference.

    One weight of any type behind DENSIFY does. Source: `static_sparse_weights_` in
    xnnpack_delegate.cc, google-ai-edge/LiteRT v2.1.6 (1461b6b2d); measured on ARM64, 2026-11-22.
    """
    return any(operator.op == "DENSIFY" for operator in graph.operators)


def never_engages(graph: Graph) -> bool:
    """Whether no version of the pass can ever move a part of the network to NCHW.

    Every cluster begins at a convolution that is not 1x1 and strides, since a network's inputs are
    NHWC, and the pass returns at once without an operator that ends one.
    """
    main = graph.subgraphs[0]
    ends = any(operator.op in ENDS for operator in main.operators)
    begins = any(
        operator.op == "CONV_2D" and getattr(operator.options, "strideH", 2) == 2
        for operator in main.operators
    )
    return len(graph.subgraphs) == 1 and not (ends and begins)


def _faults(
    main: Subgraph,
    nodes: Sequence[Node],
    fits: Sequence[ClusterFit],
    layouts: Layouts,
    rules: XnnpackRules,
) -> Iterator[_Fault]:
    """Yields the nodes that read one layout and write another, without a kernel that converts."""
    for position, (node, fit) in enumerate(zip(nodes, fits, strict=True)):
        if rules.halves_give_nan and _sparse_halves(main, node):
            yield _Fault(position, position, fit.reason, fit.remedy)
        read = {i in layouts.nchw for i in node.inputs if not is_constant(main, i)}
        written = node.output in layouts.nchw
        if True not in read and (not written or fit.begins):
            continue
        if fit.ends and True in read:
            if problem := _ending_fault(main, node, written, rules):
                yield _Fault(position, position, *problem)
        elif read != {written} and not (rules.one_pixel and _one_pixel(main, node)):
            yield _cut(main, nodes, fits, position)


def _sparse_halves(main: Subgraph, node: Node) -> bool:
    """Whether float16 weights go through DENSIFY beside a float32 bias."""
    return mixes_halves(main, node) and "DENSIFY" in main.constant_behind(node.inputs[1])[1]


def _ending_fault(
    main: Subgraph, node: Node, written: bool, rules: XnnpackRules
) -> tuple[str, str] | None:
    """Returns what is wrong with a reduction that reads NCHW, and the remedy.

    LiteRT hands the result of a MEAN with kept axes on as `[n, c, 1, 1]`: measured with 2.1.6 on
    emulated ARM64, 2026-11-23. A 1x1 convolution inside the cluster (squeeze-and-excite) and a
    RESHAPE take it right, other readers fail. A mean over rows or columns alone is wrong.
    """
    if node.op == "DEPTH_TO_SPACE":
        return None
    keeps = bool(getattr(node.operator.options, "keepDims", False))
    if not spatial_axes(main, node) and (keeps or reduced_axes(main, node) != [3]):
        return "reduces other axes than height and width", "Reduce over axes 1 and 2."
    reader = "CONV_2D" if written else "RESHAPE"
    if keeps and not rules.keep_dims_shape and not _only_read_by(main, node, reader):
        return (
            "keeps the axes that it averages over, with its shape turned round",
            "Use keepdims=False, and reshape after it.",
        )
    return None


def _only_read_by(main: Subgraph, node: Node, op: str) -> bool:
    """Whether a result is no output of the network, and only read by one kind of operator."""
    readers = main.readers.get(node.output, ())
    return node.output not in main.outputs and all(reader.op == op for reader, _ in readers)


def _one_pixel(main: Subgraph, node: Node) -> bool:
    """Whether all maps that a node reads and writes are one pixel, where NCHW and NHWC are one."""
    maps = [main.tensors[i].shape for i in (*node.inputs, node.output) if not is_constant(main, i)]
    return all(len(shape) == 4 and shape[1:3] == (1, 1) for shape in maps)


def _cut(
    main: Subgraph, nodes: Sequence[Node], fits: Sequence[ClusterFit], position: int
) -> _Fault:
    """Describes the place at which a sparse network is cut off behind a node."""
    output = nodes[position].output
    for reader, node in enumerate(nodes):
        fit = fits[reader]
        if output in node.inputs and not fit.inside and not fit.ends:
            return _Fault(position, reader, fit.reason, fit.remedy)
    if output in main.outputs:
        reason = "makes an output of the network, in the wrong order"
        return _Fault(position, position, reason, "End the network in GlobalAveragePooling2D.")
    return _Fault(position, position, "leads out of the sparse network", "")


def _whole(
    nodes: Sequence[Node], fits: Sequence[ClusterFit], layouts: Layouts, fault: _Fault | None
) -> _Whole:
    if fault is not None:
        node = nodes[fault.breaker]
        reason = f"{_name(node)} {fault.reason}: only a part of the network is sparse, and wrong"
        return "dangerous", reason, fault.remedy, node.operator.index
    if layouts.nchw:
        return "on", "the network runs on sparse kernels", "", None
    return "off", *_why_off(nodes, fits, layouts)


def _with_halves(whole: _Whole, rules: XnnpackRules) -> _Whole:
    """The state of a network for which a file also asks for half precision.

    Measured on emulated ARM64 (cortex-a76), 2026-11-27: a network in the sparse mode gives NaN in
    tflite-runtime 2.14.0 and crashes LiteRT 2.1.6, one that can never engage is right in both.
    LiteRT 2.3.0 runs it dense in half precision; on cores without (cortex-a53) as it is.
    """
    asks = f"the file asks for half precision (metadata {HALVES_NAME!r})"
    remedy = "Use sparse weights or half precision, not both."
    if rules.half_precision_breaks:
        reason = f"{asks} as well, in which sparse convolutions compute NaN or crash"
        return "dangerous", reason, remedy, None
    if whole[0] == "on":
        return "off", f"{asks} as well, in which convolutions run dense", remedy, None
    return whole


def _why_off(
    nodes: Sequence[Node], fits: Sequence[ClusterFit], layouts: Layouts
) -> tuple[str, str, int | None]:
    if not any(fit.begins for fit in fits):
        for node, fit in zip(nodes, fits, strict=True):
            if node.op == "CONV_2D" and fit.reason:
                return f"{_name(node)} {fit.reason}", fit.remedy, node.operator.index
        return "it has no stem: a 3x3 convolution of stride 2 on 3 channels", "", None
    if not layouts.ended:
        remedy = "End the network in GlobalAveragePooling2D."
        return "nothing ends a sparse network: a MEAN over height and width", remedy, None
    leader = _largest(layouts)
    zeros, parameters = layouts.zeros.get(leader, 0), layouts.parameters.get(leader, 0)
    if not layouts.dropped or zeros * 3 <= parameters * 2:
        reason = f"{zeros} of {parameters} weights of its 1x1 convolutions are zero"
        remedy = "Prune to 0.7 or more, the convolutions of squeeze-and-excite too."
        return f"{reason}, not more than two thirds", remedy, None
    position = layouts.dropped[max(layouts.dropped)]
    node, fit = nodes[position], fits[position]
    return f"{_name(node)} {fit.reason or 'is read outside'}", fit.remedy, node.operator.index


def _largest(layouts: Layouts) -> int:
    """Returns the leader of the cluster with the most counted weights, -1 without one."""
    return max(layouts.parameters, key=lambda leader: layouts.parameters[leader], default=-1)


def _rows(
    main: Subgraph, nodes: Sequence[Node], fits: Sequence[ClusterFit], layouts: Layouts
) -> Iterator[OpVerdict]:
    place = {
        index: position
        for position, node in enumerate(nodes)
        for index in (node.operator.index, *node.absorbed)
    }
    for operator in main.operators:
        position = place.get(operator.index)
        if position is None:
            reason = "restores weights when the model is loaded"
            yield OpVerdict(operator.index, operator.op, False, False, reason, "")
            continue
        node, fit = nodes[position], fits[position]
        inside = _inside(main, node, layouts)
        skips = inside and operator.op == "CONV_2D" and fit.inside
        reason, remedy = _row_reason(nodes, fits, layouts, position, inside)
        yield OpVerdict(
            index=operator.index,
            op=operator.op,
            in_cluster=inside,
            skips_zeros=skips,
            reason=reason,
            remedy=remedy,
        )


def _inside(main: Subgraph, node: Node, layouts: Layouts) -> bool:
    values = (i for i in (*node.inputs, node.output) if constant(main, i) is None)
    return any(index in layouts.nchw for index in values)


def _row_reason(
    nodes: Sequence[Node], fits: Sequence[ClusterFit], layouts: Layouts, position: int, inside: bool
) -> tuple[str, str]:
    fit = fits[position]
    if inside:
        begins = "begins the sparse network" if fit.begins else "is in the sparse network"
        return begins, ""
    if fit.reason:
        return fit.reason, fit.remedy
    broken = layouts.dropped.get(layouts.leaders[position], layouts.dropped.get(position))
    if broken is not None and broken != position:
        return f"would fit, but {_name(nodes[broken])} {fits[broken].reason or 'is outside'}", ""
    if layouts.zeros.get(layouts.leaders[position]) is not None:
        return "would fit, but too few weights are zero", ""
    return "would fit, but is not between a stem and a MEAN over height and width", ""


def _name(node: Node) -> str:
    return f"{node.op} #{node.operator.index}"
