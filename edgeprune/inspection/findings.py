"""What can be wrong with a .tflite file, or better: each rule with its remedy.

Most rules name a way in which a file loads without an error and then computes wrong numbers. They
rest on runs of each case on tflite-runtime 2.14.0, LiteRT 2.3.0 and 2.1.6 and TFLite Micro on
2026-11-22.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from edgeprune.core.finding import Finding
from edgeprune.core.runtime import Runtime
from edgeprune.tflite.compiled import COMPILERS
from edgeprune.tflite.format.decode_operator import unpacks
from edgeprune.tflite.format.file import Graph, Operator, Subgraph, Tensor
from edgeprune.tflite.format.sparse_tensor import DenseLevel, SparseTensor
from edgeprune.tflite.gate import NetworkVerdict, delegating, never_engages, rules_for
from edgeprune.tflite.misread_padding import MISREAD_BY, stepped_over
from edgeprune.tflite.op_versions import VersionMiss, version_misses
from edgeprune.tflite.storage_plan import DIRECT_VERSION, TensorPlan
from edgeprune.tflite.weights import weights_of

_REBUILD = "Run `edgeprune densify`, then `edgeprune encode --device ...`."
_DENSIFY = "Run `edgeprune densify` for a file without sparse tensors."
_MUCH = 0.1

MISREAD = ("sparse-without-densify", "sparse-version", "sparse-layout")
"""The rules by which an operator computes wrong numbers from its sparse weights, or none."""


def graph_findings(
    graph: Graph, plans: Mapping[int, TensorPlan], runtimes: Sequence[Runtime]
) -> tuple[Finding, ...]:
    """Returns the findings about a graph, those about the whole file first.

    Args:
      graph: what the file says.
      plans: by tensor index, how each weight would be encoded for the device.
      runtimes: those that have to load the file.
    """
    main = graph.subgraphs[0]
    misses: dict[tuple[str, int], list[VersionMiss]] = {}
    for miss in version_misses(graph, runtimes):
        misses.setdefault((miss.op, miss.version), []).append(miss)
    findings = [*_about_file(graph, main), *_about_axes(main)]
    misreading = [runtime for runtime in runtimes if runtime in MISREAD_BY]
    one_axis = [each for each in delegating(runtimes) if not rules_for(each).reverses_axes_at_once]
    for operator in main.operators:
        if misreading:
            findings += _about_steps(main, operator, misreading)
        if one_axis and operator.op == "REVERSE_V2":
            findings += _about_reversal(main, operator, one_axis)
        weights, passed = weights_of(main, operator)
        found = [] if operator.custom else misses.get((operator.op, operator.version), [])
        findings += _about_versions(main, operator, found)
        if weights is not None and weights.sparse and "DENSIFY" in passed:
            findings += _about_restored(main, operator, weights)
        elif weights is not None and weights.encoding is not None:
            findings += _about_direct(operator, weights, weights.encoding, passed)
        elif weights is not None:
            findings += _about_dense(operator, weights, plans)
    return tuple(findings)


def _about_file(graph: Graph, main: Subgraph) -> Iterator[Finding]:
    if any(operator.op == "DENSIFY" for operator in main.operators):
        yield Finding(
            None,
            "densify-needs-tflite",
            "The file holds DENSIFY operators, which TFLite Micro and compilers for "
            "accelerators do not know.",
            f"Keep it for TFLite and LiteRT. Elsewhere: {_DENSIFY}",
        )
    for index in graph.inputs:
        tensor = main.tensors[index]
        if -1 in tensor.shape_signature:
            yield Finding(
                None,
                "dynamic-input",
                f"Input {tensor.name!r} has a length that is set at run time: "
                f"{list(tensor.shape_signature)}.",
                "Convert with a fixed batch (Keras: `Input(..., batch_size=1)`); NPU compilers "
                "and TFLite Micro need it.",
            )


def _about_axes(main: Subgraph) -> Iterator[Finding]:
    """Names tensors whose scales are along an axis that they do not have.

    Old converters gave biases, of one axis, that of their weights. tflite-runtime 2.14.0 and LiteRT
    2.3.0 refuse to load such a file, with one scale too; TFLite Micro computes right. Measured
    2026-11-27.
    """
    for tensor in main.tensors:
        axes = len(tensor.shape)
        if tensor.scales.size and not 0 <= tensor.quantized_dimension < max(axes, 1):
            reader = next((operator for operator, _ in main.readers.get(tensor.index, ())), None)
            yield Finding(
                None if reader is None else reader.index,
                "quantized-axis",
                f"The scales of {tensor.name!r} are along axis {tensor.quantized_dimension}, of "
                f"{axes} that it has: tflite-runtime and LiteRT do not load the file.",
                "Set `quantized_dimension` of that tensor to 0, or convert the model again.",
            )


def _about_steps(
    main: Subgraph, operator: Operator, runtimes: Sequence[Runtime]
) -> Iterator[Finding]:
    if stepped_over(main, operator) is not None:
        yield Finding(
            operator.index,
            "padding-misread",
            "Its stride is longer than its kernel along an axis, and its padding SAME: XNNPACK in "
            f"{' and '.join(map(str, runtimes))} computes noise there.",
            "Convert the model with edgeprune, or pad by a layer of its own and use VALID.",
        )


def _about_reversal(
    main: Subgraph, operator: Operator, runtimes: Sequence[Runtime]
) -> Iterator[Finding]:
    """Names reversals of several axes: tflite-runtime 2.14.0 reverses the first alone, 2026-11-27.

    A file that was rewritten for LiteRT alone may have one.
    """
    index = operator.inputs[1] if len(operator.inputs) > 1 else -1
    if index >= 0 and math.prod(main.tensors[index].shape) > 1:
        yield Finding(
            operator.index,
            "reversal-misread",
            f"It reverses several axes: {' and '.join(map(str, runtimes))} reverses the first alone"
            ", and computes something else.",
            "Reverse one axis after the other, or export the file for this device.",
        )


def about_network(graph: Graph, verdicts: Sequence[NetworkVerdict]) -> Iterator[Finding]:
    """Names the operator that keeps a network out of XNNPACK's sparse mode, or breaks it there.

    Args:
      graph: what the file says.
      verdicts: of the gate, one per runtime, for a file that asks for sparse inference; else empty.
    """
    dangers = [verdict for verdict in verdicts if verdict.state == "dangerous"]
    for verdict in dangers[:1]:
        names = " and ".join(verdict.runtime.name for verdict in dangers)
        yield Finding(
            verdict.breaker,
            "sparse-network-broken",
            f"{names} on ARM64: {verdict.reason}. x86 computes the right numbers and does not "
            "show it.",
            f"{verdict.remedy} Or: {_DENSIFY}".strip(),
        )
    if never_engages(graph) or dangers:
        return
    for verdict in verdicts:
        if verdict.state == "off":
            name = verdict.runtime.name
            yield Finding(
                verdict.breaker,
                "sparse-network-off",
                f"{name} on ARM64 skips no zeros of convolutions: {verdict.reason}.",
                verdict.remedy or "Run `edgeprune encode --device xnnpack-arm64`.",
            )


def _about_custom(op: str) -> tuple[str, str]:
    """What there is to say of a custom operator, and the remedy."""
    if op in COMPILERS:
        return (
            f"{op} is code that {COMPILERS[op]} made: operators and weights are inside.",
            f"Look at the file that {COMPILERS[op]} was given.",
        )
    return (
        f"{op} is a custom operator.",
        "The runtime needs a kernel for it; check that the device's has one.",
    )


def _about_versions(
    main: Subgraph, operator: Operator, misses: Sequence[VersionMiss]
) -> Iterator[Finding]:
    """Says which runtimes have no kernel for an operator, by what they miss of it."""
    if operator.custom and not unpacks(operator):
        yield Finding(
            operator.index,
            "custom-operator",
            *_about_custom(operator.op),
        )
    for miss in misses:
        yield Finding(
            operator.index,
            "operator-version",
            f"{miss}.",
            "Convert the model with `edgeprune export --device ...`, or use a newer runtime.",
        )
    types = {main.tensors[index].dtype for index in operator.inputs[:3] if index >= 0}
    if operator.op == "TRANSPOSE_CONV" and {"int8", "float32"} <= types:
        yield Finding(
            operator.index,
            "operator-types",
            "tflite-runtime 2.14.0 does not load TRANSPOSE_CONV with int8 weights on floats.",
            "Convert it to float or to full int8, or use LiteRT.",
        )
    if operator.op == "DIV" and "int8" in types:
        yield Finding(
            operator.index,
            "operator-types",
            "tflite-runtime 2.14.0 stops at a DIV of int8 when it runs.",
            "Keep divisions out of the int8 graph, or use LiteRT.",
        )


def _about_restored(main: Subgraph, operator: Operator, weights: Tensor) -> Iterator[Finding]:
    """Names weights behind DENSIFY that LiteRT does not load."""
    first = operator.inputs[0]
    computes_in = main.tensors[first].dtype if first >= 0 else ""
    dynamic = weights.dtype == "int8" and computes_in == "float32"
    if weights.dtype != "int8" or not (operator.op == "FULLY_CONNECTED" or dynamic):
        return
    yield Finding(
        operator.index,
        "densify-not-loaded",
        f"LiteRT with its default delegate does not load {operator.op} with int8 weights "
        f"behind DENSIFY on {computes_in}.",
        _REBUILD,
    )


def _about_direct(
    operator: Operator, weights: Tensor, encoding: SparseTensor, passed: tuple[str, ...]
) -> Iterator[Finding]:
    """Names sparse weights that an operator takes for dense ones, or in a layout it cannot read."""
    reader = passed[-1] if passed else operator.op
    if reader != "FULLY_CONNECTED":
        yield Finding(
            operator.index,
            "sparse-without-densify",
            f"{reader} has no kernel for sparse tensors and reads {weights.name!r} as if it "
            "were dense: wrong numbers or a crash.",
            _REBUILD,
        )
        return
    yield Finding(
        operator.index,
        "sparse-not-for-micro",
        f"TFLite Micro loads the sparse weights {weights.name!r} without an error and computes "
        "wrong numbers.",
        f"Keep it for TFLite and LiteRT. Elsewhere: {_DENSIFY}",
    )
    if operator.version != DIRECT_VERSION:
        yield Finding(
            operator.index,
            "sparse-version",
            f"FULLY_CONNECTED with sparse weights has version {operator.version}; XNNPACK takes "
            f"every version but {DIRECT_VERSION} and reads the weights as if they were dense.",
            _REBUILD,
        )
    if not _readable(weights, encoding):
        yield Finding(
            operator.index,
            "sparse-layout",
            f"FULLY_CONNECTED cannot compute on the layout of {weights.name!r}.",
            _REBUILD,
        )
    if weights.dtype == "int8" and weights.scales.size > 1:
        yield Finding(
            operator.index,
            "sparse-per-channel",
            f"tflite-runtime 2.14.0 uses one scale for all of the sparse weights {weights.name!r}, "
            f"which have {weights.scales.size}.",
            f"Use LiteRT, or convert with one scale per tensor. {_REBUILD}",
        )


def _readable(weights: Tensor, encoding: SparseTensor) -> bool:
    """Whether rows outside, CSR inside; for int8 in blocks of 1x16, for floats of 1x4 or none."""
    if encoding.traversal not in ((0, 1), (0, 1, 2)) or isinstance(encoding.levels[1], DenseLevel):
        return False
    sizes = {"float32": (1, 4), "int8": (16,)}.get(weights.dtype, ())
    inner = encoding.levels[2] if encoding.block_map else DenseLevel(1)
    along_inputs = encoding.block_map in ((), (1,))
    return along_inputs and isinstance(inner, DenseLevel) and inner.size in sizes


def _about_dense(
    operator: Operator, weights: Tensor, plans: Mapping[int, TensorPlan]
) -> Iterator[Finding]:
    plan = plans.get(weights.index)
    if plan is None or plan.sparsity < _MUCH or plan.sparse_bytes >= plan.dense_bytes:
        return
    encodable = "Run `edgeprune encode --device ...`."
    yield Finding(
        operator.index,
        "dense-zeros",
        f"{plan.sparsity:.0%} of {weights.name!r} are zero and stored densely: "
        f"{plan.dense_bytes} bytes, {plan.sparse_bytes} if sparse.",
        encodable if plan.storage != "dense" else f"None for all runtimes: {plan.reason}.",
    )
