"""Says what is in a .tflite file: operators, weights, zeros, their encoding, and what is wrong.

Works on any file, ours or not, without TensorFlow and without a runtime; a manifest beside a file
adds what its activations need of their ranges. Whether XNNPACK skips
zeros of convolutions on ARM64 depends on the whole graph; the gate says so for every runtime that
the device has, and what only one of them does is not claimed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgeprune.core.activation_tail import tails_in
from edgeprune.core.files import describe_file
from edgeprune.core.finding import Finding
from edgeprune.core.grid import Grid, Printable, brief, grid
from edgeprune.inspection.findings import MISREAD, about_network, graph_findings
from edgeprune.inspection.packed_weights import (
    count_packed_zeros,
    packed_by_tensor,
    packed_findings,
    packed_weight,
)
from edgeprune.inspection.rows import Kernel, OpReport, SparseInference, TensorReport
from edgeprune.inspection.scale_findings import scale_findings
from edgeprune.profiles.encoding import rules_of, runtimes_of
from edgeprune.targets.file_findings import target_findings
from edgeprune.tflite.format.decode_operator import PackedTensor
from edgeprune.tflite.format.file import Graph, Operator, Subgraph, Tensor, read
from edgeprune.tflite.gate import NetworkVerdict, asks_for_sparse, judge_each
from edgeprune.tflite.metadata import read_beside, read_embedded
from edgeprune.tflite.op_versions import REFERENCE_RUNTIMES
from edgeprune.tflite.storage_plan import (
    SOURCE_TYPES,
    WEIGHTED,
    EncodingRules,
    TensorPlan,
    plan_encoding,
)
from edgeprune.tflite.weights import weights_of

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile

_DENSE: Final = "dense"
_DIRECT: Final = "direct sparse"
_RESTORED: Final = "dense after DENSIFY"
_UNPACKED: Final = "dense after DECODE"
_WRONG: Final = "wrong"
_SPARSE_NETWORK: Final = "sparse convolution"
_WEIGHT_TYPES = (*SOURCE_TYPES, "bfloat16", "uint8", "int4", "int2")
"""Types that weights have; other constants (shapes, axes, biases in int32) are not weights."""


@dataclass(frozen=True)
class Inspection(Printable):
    """What `inspect` found; `to_json` is the form of the command line's `--json`.

    `parameters` counts the items of all weights (constants with two axes or more) of the main
    subgraph, those that share their bytes once; `sparsity` is the fraction of zeros among them.
    `weight_bytes` is what they take in the file, `sparse_weight_bytes` what they would take if each
    were stored in whichever form is smaller, allowed or not.
    """

    model: str
    device: str | None
    size_bytes: int
    gzip_bytes: int
    parameters: int
    sparsity: float
    weight_bytes: int
    sparse_weight_bytes: int
    sparse_inference: SparseInference
    ops: tuple[OpReport, ...]
    findings: tuple[Finding, ...]
    tensors: tuple[TensorReport, ...]
    manifest: dict[str, Any] | None
    """What edgeprune put into the file when it made it; None in files of others."""

    def to_json(self) -> dict[str, Any]:
        """Returns a document of plain values; fractions are in [0, 1], sizes in bytes."""
        document = asdict(self)
        document["sizes"] = {
            "file": self.size_bytes,
            "gzip": self.gzip_bytes,
            "weights": document.pop("weight_bytes"),
            "weights_sparse": document.pop("sparse_weight_bytes"),
        }
        return document

    @property
    def made_by(self) -> str:
        """A clause that says which edgeprune made the file from what; empty if none did."""
        if not self.manifest:
            return ""
        version = _text(self.manifest.get("versions"), "edgeprune")
        device, model = (_text(self.manifest, key) for key in ("device", "model_sha256"))
        return f"Made by edgeprune {version} for {device} from the model with sha256 {model}"

    def grids(self) -> tuple[Grid, ...]:
        """Sizes, operators, and findings if there are any."""
        sizes = grid(
            f"{self.model}: {self.parameters} weights, {self.sparsity:.3f} of them zero; "
            f"sparse inference: {self.sparse_inference}",
            ("size", ">bytes"),
            (
                ("file", str(self.size_bytes)),
                ("file after gzip", str(self.gzip_bytes)),
                ("weights as stored", str(self.weight_bytes)),
                ("weights, each in its smaller form", str(self.sparse_weight_bytes)),
            ),
            *([f"{self.made_by}."] if self.made_by else []),
        )
        operators = grid(
            "Operators",
            (">#", "operator", ">version", "kernel", ">zeros", "why"),
            map(_operator_cells, self.ops),
        )
        findings = grid(
            "Findings",
            (">operator", "rule", "what", "remedy"),
            ((brief(f.op), f.rule, f.message, f.remedy) for f in self.findings),
        )
        return (sizes, operators, *([findings] if self.findings else []))


def _text(table: Any, key: str) -> str:
    """What a table of a manifest, which anybody may have written, says in words; `?` if nothing."""
    found = table.get(key) if isinstance(table, dict) else None
    return found[:100] if isinstance(found, str) else "?"


def _operator_cells(row: OpReport) -> tuple[str, ...]:
    zeros = "-" if row.sparsity is None else f"{row.sparsity:.3f}"
    return str(row.index), row.op, str(row.version), row.kernel, zeros, row.reason


def inspect(
    path: str | Path,
    device: str | Path | DeviceProfile | None = None,
    *,
    route: str | None = None,
) -> Inspection:
    """Reads a .tflite file and reports on it.

    Args:
      path: the file.
      device: a profile, its name, or the path of a user's own `.toml` file; what the file is held
        against. tflite-runtime 2.14.0 and LiteRT if None.
      route: one of the device's routes by its name; if None as `on_route_of` finds it.

    Raises:
      TfliteError: the file is not sound; names the file and the place.
      ProfileError: no such device or route.
    """
    graph = read(Path(path))
    profile = _profile(device, graph, route)
    rules = rules_of(profile) if profile else EncodingRules()
    runtimes = runtimes_of(profile) if profile else REFERENCE_RUNTIMES
    plans = {plan.tensor: plan for plan in plan_encoding(graph, rules)}
    packed = packed_by_tensor(graph)
    tensors = (*_tensor_reports(graph, plans), *_packed_reports(packed))
    verdicts = _verdicts(graph, rules, profile)
    findings = (
        *graph_findings(graph, plans, runtimes),
        *about_network(graph, verdicts),
        *scale_findings(graph, tails_in(read_beside(graph.path))),
        *packed_findings(graph),
        *target_findings(graph, profile.targets if profile else ()),
    )
    main = graph.subgraphs[0]
    sparsity = {tensor.index: tensor.sparsity for tensor in tensors}
    misread = {finding.op: finding.message for finding in findings if finding.rule in MISREAD}
    kernels = [
        _unpacked(operator, packed) or _kernel(main, operator, plans, misread, verdicts)
        for operator in main.operators
    ]
    places = {index: each.mask.buffer for index, each in packed.items()}
    stored = {
        places.get(tensor.index, graph.tensors[tensor.index].buffer): tensor for tensor in tensors
    }.values()
    zeros = sum(round(tensor.sparsity * math.prod(tensor.shape)) for tensor in stored)
    parameters = sum(math.prod(tensor.shape) for tensor in stored)
    return Inspection(
        model=str(path),
        device=profile.name if profile else None,
        size_bytes=graph.size_bytes,
        gzip_bytes=describe_file(graph.path).gzip_bytes,
        parameters=parameters,
        sparsity=zeros / parameters if parameters else 0.0,
        weight_bytes=sum(tensor.stored_bytes for tensor in stored),
        sparse_weight_bytes=sum(tensor.smaller_bytes for tensor in stored),
        sparse_inference=_sparse_inference(graph, kernels),
        ops=tuple(
            _op_report(main, operator, kernel, sparsity, packed)
            for operator, kernel in zip(main.operators, kernels, strict=True)
        ),
        findings=findings,
        tensors=tensors,
        manifest=read_embedded(graph.metadata),
    )


def _profile(
    device: str | Path | DeviceProfile | None, graph: Graph, route: str | None
) -> DeviceProfile | None:
    """The profile to hold a file against; a look into a file alone does not wait for profiles."""
    if device is None:
        return None
    from edgeprune.conversion.route_of_file import on_route_of
    from edgeprune.profiles.profile import load_profile

    return on_route_of(graph, load_profile(device), route)


def _verdicts(
    graph: Graph, rules: EncodingRules, profile: DeviceProfile | None
) -> tuple[NetworkVerdict, ...]:
    """Returns what the device's runtimes make of a network that asks for sparse inference.

    XNNPACK has a sparse mode on ARM64 only, so there is nothing to say of other devices.
    """
    if not asks_for_sparse(graph):
        return ()
    if profile is not None:
        from edgeprune.targets.find import runs_sparse_networks

        if not runs_sparse_networks(profile):
            return ()
    return judge_each(graph, rules.runtimes)


def _tensor_reports(graph: Graph, plans: Mapping[int, TensorPlan]) -> tuple[TensorReport, ...]:
    zeros: dict[tuple[int, str], int] = {}
    reports = []
    for tensor in graph.tensors:
        if tensor.constant and tensor.dtype in _WEIGHT_TYPES and len(tensor.shape) > 1:
            key = (tensor.buffer, tensor.dtype)
            if key not in zeros:
                zeros[key] = _count_zeros(tensor)
            plan = plans.get(tensor.index)
            reports.append(
                TensorReport(
                    index=tensor.index,
                    name=tensor.name,
                    dtype=tensor.dtype,
                    shape=tensor.shape,
                    sparse=tensor.sparse,
                    sparsity=zeros[key] / max(math.prod(tensor.shape), 1),
                    stored_bytes=tensor.stored_bytes,
                    sparse_bytes=None if plan is None else plan.sparse_bytes,
                )
            )
    return tuple(reports)


def _packed_reports(packed: Mapping[int, PackedTensor]) -> Iterator[TensorReport]:
    """The weights behind DECODE whose coding is read here."""
    zeros: dict[tuple[Hashable, ...], int] = {}
    for index, each in packed.items():
        if each.readable:
            if each.key not in zeros:
                zeros[each.key] = count_packed_zeros(each)
            size = each.packed.nbytes
            yield TensorReport(
                index=index,
                name=each.tensor.name,
                dtype=each.tensor.dtype,
                shape=each.tensor.shape,
                sparse=True,
                sparsity=zeros[each.key] / max(math.prod(each.tensor.shape), 1),
                stored_bytes=size,
                sparse_bytes=size,
            )


def _count_zeros(tensor: Tensor) -> int:
    """Counts the items that mean zero: those equal to the zero point, for floats also -0.0."""
    zero = int(tensor.zero_points[0]) if tensor.zero_points.size else 0
    if tensor.encoding is not None and zero == 0:
        stored = tensor.encoding.values
        return math.prod(tensor.shape) - int(np.count_nonzero(stored))
    values = tensor.values()
    return 0 if values is None else int(np.count_nonzero(values == zero))


def _op_report(
    subgraph: Subgraph,
    operator: Operator,
    kernel: tuple[Kernel, str],
    sparsity: Mapping[int, float],
    packed: Mapping[int, PackedTensor],
) -> OpReport:
    weights, _ = weights_of(subgraph, operator)
    if weights is None and (found := packed_weight(operator, packed)):
        weights = found.tensor
    return OpReport(
        index=operator.index,
        op=operator.op,
        version=operator.version,
        kernel=kernel[0],
        sparse=kernel[0] in (_DIRECT, _SPARSE_NETWORK),
        sparsity=None if weights is None else sparsity.get(weights.index),
        reason=kernel[1],
    )


def _unpacked(operator: Operator, packed: Mapping[int, PackedTensor]) -> tuple[Kernel, str] | None:
    """As `_kernel`, of an operator whose weights a DECODE unpacks; None for all others."""
    found = packed_weight(operator, packed)
    if found is None:
        return None
    return _UNPACKED, f"its weights are unpacked at every inference: {found.packed.nbytes} bytes"


def _kernel(
    subgraph: Subgraph,
    operator: Operator,
    plans: Mapping[int, TensorPlan],
    misread: Mapping[int | None, str],
    verdicts: Sequence[NetworkVerdict],
) -> tuple[Kernel, str]:
    """Returns the kind of kernel that computes an operator, and why it is that one."""
    weights, passed = weights_of(subgraph, operator)
    if operator.index in misread:
        return _WRONG, misread[operator.index]
    rows = [verdict.ops[operator.index] for verdict in verdicts]
    for verdict, row in zip(verdicts, rows, strict=True):
        if verdict.state == "dangerous" and row.in_cluster:
            return _WRONG, f"is in a sparse network that computes wrong numbers: {verdict.reason}"
    if rows and all(row.skips_zeros for row in rows):
        return _SPARSE_NETWORK, rows[0].reason
    outside = next((row.reason for row in rows if not row.in_cluster), "")
    if weights is None:
        return _DENSE, "has no constant weights"
    if "DENSIFY" in passed:
        restored = "the weights are restored when the model is loaded"
        return _RESTORED, f"{restored}; {outside}" if outside else restored
    if weights.sparse:
        return _DIRECT, "the kernel skips the weights' zeros"
    plan = plans.get(weights.index)
    reason = f"the weights are stored densely as {weights.dtype}"
    return _DENSE, reason if plan is None else plan.reason


def _sparse_inference(graph: Graph, kernels: Sequence[tuple[Kernel, str]]) -> SparseInference:
    """Says how far zeros of float weights are skipped.

    "all" in XNNPACK's sparse mode means every 1x1 convolution on a map of more than one pixel;
    depthwise convolutions, the stem and a classifier never skip zeros there.
    """
    main = graph.subgraphs[0]
    floats: list[tuple[Operator, Kernel]] = []
    for operator, (kernel, _) in zip(main.operators, kernels, strict=True):
        weights, _ = weights_of(main, operator)
        if weights is not None and operator.op in WEIGHTED and weights.dtype.startswith("float"):
            floats.append((operator, kernel))
    found = {kernel for _, kernel in floats}
    if not floats:
        return "not-applicable"
    if found == {_DIRECT}:
        return "all"
    if _WRONG not in found and _SPARSE_NETWORK in found:
        pointwise = {kernel for operator, kernel in floats if _skippable(main, operator)}
        return "all" if pointwise == {_SPARSE_NETWORK} else "part"
    return "part" if _DIRECT in found or (_WRONG in found and _RESTORED in found) else "none"


def _skippable(main: Subgraph, operator: Operator) -> bool:
    """Whether an operator is a 1x1 convolution on a map of more than one pixel."""
    weights, _ = weights_of(main, operator)
    pointwise = weights is not None and weights.shape[1:3] == (1, 1)
    made = main.tensors[operator.outputs[0]].shape
    return operator.op == "CONV_2D" and pointwise and made[1:3] != (1, 1)
