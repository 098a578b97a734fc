"""Decides which weights of a .tflite file may be stored sparsely, how, and why the others may not.

The conditions are those of the runtimes' kernels: a sparse tensor in front of the wrong kernel, or
of the right one in the wrong version, is read as if it were dense and gives wrong numbers without
an error. So everything is left dense that was not seen to work.

Source: every combination of operator, types, layout and version named here was run on
tflite-runtime 2.14.0 and LiteRT 2.3.0 (x86) and 2.1.6 (ARM64, emulated) on 2026-11-22; direct
kernels are those of `fully_connected.cc` in TensorFlow Lite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.runtime import Runtime
from edgeprune.tflite.format.file import Graph, Operator, Subgraph, Tensor, dense_bytes_allowed
from edgeprune.tflite.format.sparse_tensor import Layout, count_blocks, stored_bytes
from edgeprune.tflite.gate import delegating, judge_each, never_engages, rules_for
from edgeprune.tflite.layouts import direct_layout, smallest_layout
from edgeprune.tflite.op_versions import REFERENCE_RUNTIMES
from edgeprune.tflite.sparse_support import SparseSupport, sparse_support

Storage: TypeAlias = Literal["dense", "decode", "densify", "direct"]

DIRECT_VERSION = 8
"""FULLY_CONNECTED takes a sparse tensor in this version only; XNNPACK claims all others."""

SOURCE_TYPES = ("float32", "float16", "int8")
"""What the DENSIFY kernel decodes."""

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operators whose second input, the weights, may be stored sparsely."""

# Tables around a sparse tensor: its SparsityParameters, the second tensor and the DENSIFY operator.
_OVERHEAD_BYTES = 512
_MOST_BLOCKS = 255
_KINDS = ("float", "int8", "dynamic-range")


@dataclass(frozen=True)
class EncodingRules:
    """What the runtimes of a device accept, and from which sparsity a sparse kernel pays there.

    `runtimes` are all that must compute the file right; none means that nothing is stored sparsely.
    The thresholds are fractions of zero *blocks* (1x4 for float32, 1x16 for int8) from which
    FULLY_CONNECTED gets the sparse tensor itself and skips the zeros; None means never. Below
    them, and for all other operators, zeros can only save storage: DENSIFY restores the dense
    tensor when the model is loaded. `sparse_networks` says that XNNPACK skips zeros there in
    convolutions when the whole network fits, so that rewriting a network to fit it pays; `no_gain`
    says why none of the runtimes does so on the device's core, and is empty where one does.
    """

    runtimes: tuple[Runtime, ...] = REFERENCE_RUNTIMES
    sparse_networks: bool = False
    no_gain: str = ""
    direct_float32_from: float | None = None
    direct_int8_from: float | None = None
    direct_dynamic_range_from: float | None = None

    def unable(self, able: Callable[[SparseSupport], bool]) -> str:
        """The first of the runtimes that is not able to do something; empty if all are."""
        found = (sparse_support(runtime) for runtime in self.runtimes)
        return next((support.title for support in found if not able(support)), "")


@dataclass(frozen=True)
class TensorPlan:
    """How one constant tensor of the main subgraph is to be stored, and why.

    `operator` names what uses it; `layout` is None for a dense tensor; `sparsity` is the fraction
    of items that are zero. `sparse_bytes` is what values and positions take in the
    chosen layout, or in the smallest one where the tensor stays dense.
    """

    tensor: int
    name: str
    operator: str
    storage: Storage
    layout: Layout | None
    reason: str
    sparsity: float
    dense_bytes: int
    sparse_bytes: int


@dataclass(frozen=True, eq=False)
class _Weight:
    """A constant tensor with what computes with it, and with which numbers.

    `operators` are those behind a DEQUANTIZE for float16 weights. `kind` is "float", "int8",
    "dynamic-range" (float activations, int8 weights), or empty where the operators differ or take
    no sparse input.
    """

    tensor: Tensor
    operators: tuple[Operator, ...]
    kind: str
    nonzero: Array
    beside_float32: bool
    """Whether the weights are float16 and a bias beside them is float32."""


def plan_encoding(graph: Graph, rules: EncodingRules) -> tuple[TensorPlan, ...]:
    """Plans every constant with two axes or more of the main subgraph, in the order of tensors."""
    danger = _sparse_mode_danger(graph, rules)
    plans: list[TensorPlan] = []
    first: dict[tuple[int, str], TensorPlan] = {}
    for tensor in graph.tensors:
        if tensor.constant and tensor.dtype in SOURCE_TYPES and len(tensor.shape) > 1:
            known = first.get((tensor.buffer, tensor.dtype))
            if known is None or tensor.sparse:
                plans.append(_plan(graph, _weight(graph, tensor), rules, danger))
                first[tensor.buffer, tensor.dtype] = plans[-1]
            else:
                names = [operator.op for operator, _ in computing_uses(graph.subgraphs[0], tensor)]
                same = replace(known, tensor=tensor.index, name=tensor.name)
                plans.append(replace(same, operator=names[0] if names else ""))
    return _within_reach(plans)


@dataclass(frozen=True)
class _Danger:
    """Why weights of some kinds may not go through DENSIFY; the reason is empty where all may."""

    reason: str = ""
    kinds: tuple[str, ...] = ("float", "dynamic-range")


def _sparse_mode_danger(graph: Graph, rules: EncodingRules) -> _Danger:
    """Says why no float weight may go through DENSIFY, or none at all.

    It is safe where the network runs sparsely as a whole on every runtime, and where it can never
    do so at all: one DENSIFY, of integers too, makes XNNPACK try, and a network that fits partly
    gives wrong numbers.
    """
    if never_engages(graph):
        return _Danger()
    if len(graph.subgraphs) != 1:
        return _Danger("XNNPACK's sparse mode was not checked with several subgraphs")
    verdicts = [each for each in judge_each(graph, rules.runtimes) if each.state != "on"]
    for verdict in sorted(verdicts, key=lambda verdict: verdict.state != "dangerous"):
        reason = f"not in {verdict.runtime.name}'s sparse mode: {verdict.reason}"
        return _Danger(reason, _KINDS if verdict.state == "dangerous" else _Danger.kinds)
    return _Danger()


def _within_reach(plans: Sequence[TensorPlan]) -> tuple[TensorPlan, ...]:
    """Leaves the emptiest tensors dense where the file could otherwise not be read again.

    Readers guard against files that describe far more than they hold (`dense_bytes_allowed`).
    """
    chosen = [plan for plan in plans if plan.storage != "dense"]
    dense = sparse = 0
    left: set[int] = set()
    for plan in sorted(chosen, key=lambda plan: plan.dense_bytes / plan.sparse_bytes):
        if dense + plan.dense_bytes > dense_bytes_allowed(sparse + plan.sparse_bytes):
            left.add(plan.tensor)
        else:
            dense, sparse = dense + plan.dense_bytes, sparse + plan.sparse_bytes
    reason = "almost nothing is left in it: a sparse form would look like an attack to readers"
    return tuple(
        replace(plan, storage="dense", layout=None, reason=reason) if plan.tensor in left else plan
        for plan in plans
    )


def computing_uses(subgraph: Subgraph, tensor: Tensor) -> Sequence[tuple[Operator, int]]:
    """Returns the operators that compute with a constant, and at which input they take it.

    For float16, which kernels do not compute with, those behind its DEQUANTIZE operators.
    """
    used = subgraph.readers.get(tensor.index, ())
    if tensor.dtype != "float16" or any(operator.op != "DEQUANTIZE" for operator, _ in used):
        return used
    outputs = dict.fromkeys(index for operator, _ in used for index in operator.outputs)
    return [use for index in outputs for use in subgraph.readers.get(index, ())]


def _weight(graph: Graph, tensor: Tensor) -> _Weight:
    used = computing_uses(graph.subgraphs[0], tensor)
    kinds = {_kind(graph, tensor, operator, position) for operator, position in used}
    values = tensor.values()
    return _Weight(
        tensor=tensor,
        operators=tuple(operator for operator, _ in used),
        kind=kinds.pop() if len(kinds) == 1 else "",
        nonzero=np.empty(0, np.bool_) if values is None else values != 0,
        beside_float32=tensor.dtype == "float16"
        and any(_float32_bias(graph.subgraphs[0], operator) for operator, _ in used),
    )


def _float32_bias(subgraph: Subgraph, operator: Operator) -> bool:
    index = operator.inputs[2] if operator.op in WEIGHTED and len(operator.inputs) > 2 else -1
    bias = subgraph.constant_behind(index)[0] if index >= 0 else None
    return bias is not None and bias.dtype == "float32"


def _kind(graph: Graph, tensor: Tensor, operator: Operator, position: int) -> str:
    if operator.op not in WEIGHTED or position != 1 or operator.inputs[0] < 0:
        return ""
    computes_in = graph.tensors[operator.inputs[0]].dtype
    if tensor.dtype == "int8":
        return {"int8": "int8", "float32": "dynamic-range"}.get(computes_in, "")
    return "float" if computes_in == "float32" else ""


def _plan(graph: Graph, weight: _Weight, rules: EncodingRules, danger: _Danger) -> TensorPlan:
    tensor = weight.tensor
    item_bytes = np.dtype(tensor.dtype).itemsize
    dense_bytes = weight.nonzero.size * item_bytes
    stored = int(np.count_nonzero(weight.nonzero))
    layout, sparse_bytes = _smallest(weight, stored)
    storage, reason = _choose(graph, weight, rules, dense_bytes - sparse_bytes, danger)
    if storage == "direct":
        layout = direct_layout(tensor.dtype)
        blocks = count_blocks(weight.nonzero, layout)
        sparse_bytes = stored_bytes(tensor.shape, layout, item_bytes, blocks)
    return TensorPlan(
        tensor=tensor.index,
        name=tensor.name,
        operator=weight.operators[0].op if weight.operators else "",
        storage=storage,
        layout=None if storage == "dense" else layout,
        reason=reason,
        sparsity=1 - stored / max(weight.nonzero.size, 1),
        dense_bytes=dense_bytes,
        sparse_bytes=sparse_bytes,
    )


def _choose(
    graph: Graph, weight: _Weight, rules: EncodingRules, saved_bytes: int, danger: _Danger
) -> tuple[Storage, str]:
    """Returns how to store a tensor whose smallest layout saves `saved_bytes`, and why."""
    if refusal := _refusal(graph, weight, rules):
        return "dense", refusal
    if saved_bytes < _OVERHEAD_BYTES:
        return "dense", f"too few zeros: a sparse form saves less than {_OVERHEAD_BYTES} bytes"
    direct_refusal = _direct_refusal(weight, rules)
    if not direct_refusal:
        return "direct", "takes less storage, and FULLY_CONNECTED skips its zeros"
    if refusal := _densify_refusal(weight, rules, danger):
        tried = _threshold(weight, rules) is not None
        return "dense", f"{refusal}; {direct_refusal}" if tried else refusal
    return "densify", "takes less storage; DENSIFY restores it when the model is loaded"


def _smallest(weight: _Weight, stored: int) -> tuple[Layout | None, int]:
    """Returns the smallest layout; without zeros, which no layout shrinks, does not search."""
    item_bytes = np.dtype(weight.tensor.dtype).itemsize
    if stored == weight.nonzero.size:
        return None, weight.nonzero.size * item_bytes
    return smallest_layout(weight.nonzero, item_bytes)


def _refusal(graph: Graph, weight: _Weight, rules: EncodingRules) -> str:
    """Says why a tensor cannot be stored sparsely in any way; empty where it may be."""
    tensor = weight.tensor
    if not rules.runtimes:
        return "the device has no kernel or reader for sparse tensors"
    if blind := rules.unable(lambda runtime: runtime.reads_sparse):
        return f"{blind} has no DENSIFY and computes wrong numbers from sparse tensors"
    if tensor.sparse:
        return "is stored sparsely already"
    if graph.buffer_owners[tensor.buffer] > 1:
        return "shares its bytes with another tensor or with metadata"
    if tensor.index in graph.subgraphs[0].ends or tensor.variable:
        return "is an input, an output or a variable of the model"
    if not weight.operators:
        return "no operator reads it"
    if not weight.kind:
        names = ", ".join(sorted({operator.op for operator in weight.operators}))
        return f"no sparse weight was seen to work here (used by {names})"
    return ""


def _densify_refusal(weight: _Weight, rules: EncodingRules, danger: _Danger) -> str:
    """Says why the runtimes do not take the tensor through DENSIFY; empty where they do."""
    if weight.beside_float32 and (name := _computes_nan(rules)):
        return f"{name} computes NaN from float16 weights behind DENSIFY beside a float32 bias"
    names = {operator.op for operator in weight.operators}
    if danger.reason and weight.kind in danger.kinds:
        return danger.reason
    if weight.kind == "dynamic-range" and names != {"FULLY_CONNECTED"}:
        return "no int8 convolution weight behind DENSIFY was seen to work on float activations"
    refuses = rules.unable(lambda runtime: runtime.restores_int8_dense)
    if weight.kind != "float" and "FULLY_CONNECTED" in names and refuses:
        return f"{refuses} does not load FULLY_CONNECTED with int8 weights behind DENSIFY"
    return ""


def _computes_nan(rules: EncodingRules) -> str:
    """The first runtime that mixed halves give NaN in; empty if there is none."""
    found = delegating(rules.runtimes)
    return next((each.name for each in found if rules_for(each).halves_give_nan), "")


def _direct_refusal(weight: _Weight, rules: EncodingRules) -> str:
    """Says why FULLY_CONNECTED cannot take the sparse tensor itself; empty where it can."""
    tensor = weight.tensor
    threshold = _threshold(weight, rules)
    if threshold is None:
        return "no sparse kernel pays on the device"
    if tensor.dtype == "float16" or len(tensor.shape) != 2:
        return "sparse kernels take float32 or int8 matrices"
    if any(_shuffled(operator) for operator in weight.operators):
        return "sparse kernels take weights in plain order"
    layout = direct_layout(tensor.dtype)
    if tensor.shape[1] % layout.block[0]:
        return f"sparse kernels take a multiple of {layout.block[0]} inputs"
    blocks = weight.nonzero.reshape(tensor.shape[0], -1, layout.block[0]).any(axis=-1)
    if 1 - np.count_nonzero(blocks) / blocks.size < threshold:
        return f"the sparse kernel pays from {threshold:.0%} zero blocks"
    return _direct_int8_refusal(weight, rules, blocks) if tensor.dtype == "int8" else ""


def _threshold(weight: _Weight, rules: EncodingRules) -> float | None:
    """Returns from which fraction of zero blocks a sparse kernel pays; None where there is none."""
    if any(operator.op != "FULLY_CONNECTED" for operator in weight.operators):
        return None
    return {
        "float": rules.direct_float32_from,
        "int8": rules.direct_int8_from,
        "dynamic-range": rules.direct_dynamic_range_from,
    }[weight.kind]


def _direct_int8_refusal(weight: _Weight, rules: EncodingRules, blocks: Array) -> str:
    """Says why an int8 matrix does not fit the sparse kernels.

    Args:
      blocks: bool `[out, in / 16]`, True where a block is stored.
    """
    tensor = weight.tensor
    if tensor.zero_points.any():
        return "sparse kernels take weights whose zero is 0"
    one_scale = rules.unable(lambda runtime: runtime.scales_per_channel)
    if tensor.scales.size != 1 and one_scale:
        return f"{one_scale}'s sparse kernels know one scale per tensor"
    exact = [getattr(o.options, "asymmetricQuantizeInputs", False) for o in weight.operators]
    if weight.kind == "dynamic-range" and not all(exact):
        return "the sparse kernel would round symmetrically quantized activations differently"
    # On float activations the kernel keeps counts and positions per row in a byte each.
    widest = max(blocks.shape[1] - 1, int(blocks.sum(axis=1).max(initial=0)))
    if weight.kind == "dynamic-range" and widest > _MOST_BLOCKS:
        return f"the sparse kernel counts up to {_MOST_BLOCKS} blocks per output"
    return ""


def _shuffled(operator: Operator) -> bool:
    return bool(getattr(operator.options, "weightsFormat", 0))
