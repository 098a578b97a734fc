"""Checks: questions about an artifact, each with its answer, and how outputs are compared.

`validate` asks them, and so does every target that can judge a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.grid import Grid, Printable, brief, grid, passed_or_failed
from edgeprune.core.layer_noise import LayerNoise, noise_json, noise_text
from edgeprune.targets.measurement import Settings
from edgeprune.tflite.format.file import Graph, Tensor
from edgeprune.tflite.format.signature import output_ports
from edgeprune.tflite.metadata import asks_for_halves

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile

GENERATED_SAMPLES = 4

TOLERANCE: Mapping[str, float] = {
    "float32": 1e-3,
    "float16": 2e-2,
    "float16-arithmetic": 5e-2,
    "int8": 0.5,
}
"""How far outputs may be from those of a float reference, by number format.

Floats: largest difference, relative to the largest value of that output. int8, and every other
format with weights of 8 bits: root mean square of the difference beyond one quantization step,
relative to that of the output. int8 keeps about two decimal digits per layer, and what a deep
network makes of that depends on its weights, so the int8 limit (6 dB) tells a right file from a
wrong one and not a good from a bad quantization: accuracy does that.
"""
SAME_NUMERICS_TOLERANCE_INT8 = 0.15
"""As the int8 tolerance, but between two int8 files: they differ in rounding only.

Which a network of a dozen layers may make more of: random graph 36 of the campaign's seed 0, whose
quantization costs 0.059, differs by 0.057 between XNNPACK and plain kernels of LiteRT 2.3.0.
"""
WEAK_SPREAD = 0.05


CheckKind: TypeAlias = Literal[
    "accuracy",
    "compiles",
    "finite",
    "kernels",
    "memory",
    "numerics",
    "operators",
    "outputs",
    "pattern",
    "placement",
    "purpose",
    "remainder",
    "runs",
    "shapes",
    "size",
    "sparse-network",
    "storage",
]
"""What a check asks: "runs" whether a runtime runs the file, "outputs" whether they are right,
"kernels" the same of XNNPACK's against plain ones, "finite" whether there is no NaN, "placement"
where operators run, "purpose" whether it was made to be shipped, "storage" whether weights are
stored as the instrument reads them, "accuracy" how often the right class is named, which has no
limit, "remainder" what of it no runtime here has, so that it was not run."""


@dataclass(frozen=True)
class Check:
    """One question about an artifact, and its answer; what follows from it depends on `kind`."""

    name: str
    ok: bool
    value: int | float | str | None
    limit: int | float | str | None
    message: str
    kind: CheckKind = field(kw_only=True)


@dataclass(frozen=True)
class Verdict(Printable):
    """All checks of an artifact against a device profile."""

    model: str
    device: str
    checks: tuple[Check, ...]
    noise: tuple[LayerNoise, ...] = ()
    """Noise of the layers of an int8 file, in the order of execution, as its manifest says."""

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def ran(self) -> bool:
        """Whether the file ran anywhere; accuracy and latency are worth nothing else."""
        return any(check.kind == "runs" and check.value and check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        checks = [asdict(check) for check in self.checks]
        return {
            "model": self.model,
            "device": self.device,
            "ok": self.ok,
            "checks": checks,
            "int8": noise_json(self.noise),
        }

    def grids(self) -> tuple[Grid, ...]:
        """Every check and the outcome, and the layers that lose most in int8."""
        made = grid(
            f"{self.model} for {self.device}: {passed_or_failed(self.ok)}",
            ("check", "result", ">value", ">limit", "what it means"),
            (
                (
                    check.name,
                    passed_or_failed(check.ok),
                    brief(check.value),
                    brief(check.limit),
                    check.message,
                )
                for check in self.checks
            ),
            *filter(None, [noise_text(self.noise)]),
        )
        return (made,)


@dataclass(frozen=True)
class Reference:
    """What the outputs are compared with: arrays `[n, ...]` by output name."""

    description: str
    outputs: Mapping[str, Array]
    quantized: bool


@dataclass(frozen=True, eq=False)
class Case:
    """A file to check for a device, what to feed it and what should come out.

    `inputs` holds one array `[n, ...]` per input in the order of the signature. `wanted` are the
    right outputs; None where nothing is known that they could be compared with.
    """

    graph: Graph
    profile: DeviceProfile
    inputs: list[Array]
    wanted: Reference | None
    settings: Settings = field(default_factory=Settings)
    """How a target is reached; only those on other machines ask."""

    def first_samples(self) -> Case:
        """The same with fewer samples, for an instrument that is slow."""
        wanted = self.wanted
        if wanted is not None:
            outputs = {name: array[:GENERATED_SAMPLES] for name, array in wanted.outputs.items()}
            wanted = replace(wanted, outputs=outputs)
        return replace(
            self, inputs=[array[:GENERATED_SAMPLES] for array in self.inputs], wanted=wanted
        )


def named_outputs(graph: Graph, outputs: tuple[Array, ...]) -> dict[str, Array]:
    """Outputs in the order of the signature, by their names in it."""
    return {port.name: array for port, array in zip(output_ports(graph), outputs, strict=True)}


def check_finite(outputs: Mapping[str, Array], runtime: str) -> Check:
    """Whether no output is NaN or infinite."""
    bad = sum(int((~np.isfinite(array)).sum()) for array in outputs.values() if _numbers(array))
    message = "all outputs are finite" if not bad else "outputs hold NaN or infinite values"
    return Check(f"finite ({runtime})", not bad, bad, 0, message, kind="finite")


def numerics(graph: Graph) -> str:
    """The number format of a file: a member of `Numerics`, or `mixed` for several in one file."""
    weights = {
        tensor.dtype
        for tensor in graph.tensors
        if tensor.constant and len(tensor.shape) > 1 and not _of_a_decision(graph, tensor)
    } - {"int32", "int64", "bool"}
    inputs = {graph.tensors[index].dtype for index in graph.inputs}
    outputs = _dtypes_at_the_end(graph)
    if weights and weights <= {"int8", "uint8", "int4"}:
        # Inputs may be indices; what the network computes shows at its end.
        quantized = outputs <= {"int8", "uint8"} and "float32" not in inputs
        if quantized:
            return "int8"
    if "float16" in weights and weights <= {"float16", "float32"}:
        return "float16-arithmetic" if asks_for_halves(graph.metadata) else "float16"
    if weights <= {"float32"}:
        return "int8" if not weights and outputs <= {"int8", "uint8"} else "float32"
    if weights <= {"int8", "float32"} and not _quantized_activations(graph):
        return "dynamic-range"
    return "mixed"


def _of_a_decision(graph: Graph, tensor: Tensor) -> bool:
    """Whether custom operators alone read a constant, such as the anchors of detections."""
    readers = graph.subgraphs[0].readers.get(tensor.index, ())
    return bool(readers) and all(operator.custom for operator, _ in readers)


def _dtypes_at_the_end(graph: Graph) -> set[str]:
    """The types of a file's outputs; of those that a decision makes, the types of what it is of."""
    main = graph.subgraphs[0]
    found = set()
    for index in graph.outputs:
        maker, ends = main.makers.get(index), [index]
        if maker is not None and (maker.custom or maker.op in _DECISIONS):
            ends = [each for each in maker.inputs if each in main.makers] or ends
        found |= {graph.tensors[each].dtype for each in ends}
    return found


_DECISIONS = ("ARG_MAX", "ARG_MIN")
"""Operators that end a network, beside custom ones such as detection post-processing."""


def _quantized_activations(graph: Graph) -> bool:
    return any(
        tensor.dtype in ("int8", "uint8", "int16") and not tensor.constant
        for tensor in graph.tensors
    )


def check_outputs(
    name: str,
    outputs: Mapping[str, Array],
    wanted: Reference,
    found_numerics: str,
    steps: list[float],
    *,
    kind: CheckKind = "outputs",
) -> Check:
    """Compares outputs with a reference, within the tolerance of the number format.

    Args:
      name: of the check.
      outputs: arrays `[n, ...]` by output name, as real values.
      wanted: the right outputs.
      found_numerics: as `numerics` says of the file.
      steps: quantization step of every output, 0 where it is not quantized.
      kind: of the check.
    """
    pairs = _paired(outputs, wanted.outputs)
    shapes = [(list(found.shape), list(right.shape)) for found, right in pairs]
    if len(outputs) != len(wanted.outputs) or any(found != right for found, right in shapes):
        given = [list(array.shape) for array in wanted.outputs.values()]
        received = [list(array.shape) for array in outputs.values()]
        message = f"other outputs than {wanted.description} has"
        return Check(name, False, str(received), str(given), message, kind=kind)
    quantized = found_numerics == "int8" or found_numerics not in TOLERANCE
    if quantized:
        limit = SAME_NUMERICS_TOLERANCE_INT8 if wanted.quantized else TOLERANCE["int8"]
        errors = [_rms_error(f, r, s) for (f, r), s in zip(pairs, steps, strict=True)]
    else:
        limit = TOLERANCE[found_numerics]
        errors = [_largest_error(found, right) for found, right in pairs]
    value = max(errors, default=0.0)
    measure = "root mean square" if quantized else "largest"
    message = f"{measure} difference from {wanted.description}, relative to its outputs"
    if not value <= limit:
        message += ": the file does not compute what it should"
    elif all(_hardly_varies(right) for _, right in pairs):
        message += "; they hardly vary, so this says little: give --data"
    return Check(name, bool(value <= limit), float(value), limit, message, kind=kind)


def _numbers(array: Array) -> bool:
    """Whether an output holds numbers or truth values, no text."""
    return array.dtype.kind in "biufc"


def _hardly_varies(right: Array) -> bool:
    """Whether an output is nearly the same number everywhere, such as an untrained softmax."""
    if not right.size or right.dtype.kind not in "iuf":
        return bool((right == right.flat[0]).all()) if right.size else True
    values = right.astype(np.float64)
    return float(np.ptp(values)) < WEAK_SPREAD * float(np.abs(values).max(initial=0.0))


def _paired(outputs: Mapping[str, Array], wanted: Mapping[str, Array]) -> list[tuple[Array, Array]]:
    """Outputs beside the right ones: by name if both have the same names, else by position."""
    if outputs.keys() == wanted.keys():
        return [(array, wanted[name]) for name, array in outputs.items()]
    return list(zip(outputs.values(), wanted.values(), strict=False))


def _unequal(found: Array, right: Array) -> float:
    """The fraction of items that differ."""
    return float(np.mean(found != right)) if right.size else 0.0


def _largest_error(found: Array, right: Array) -> float:
    if right.dtype.kind not in "iufc":
        return _unequal(found, right)
    kind = np.complex128 if right.dtype.kind == "c" else np.float64
    difference = np.abs(found.astype(kind) - right)
    scale = np.abs(right.astype(kind)).max(initial=0.0)
    return float(difference.max(initial=0.0) / max(scale, np.finfo(np.float32).tiny))


def _rms_error(found: Array, right: Array, step: float) -> float:
    if right.dtype.kind not in "iuf":
        return _unequal(found, right)
    beyond = np.maximum(np.abs(found.astype(np.float64) - right) - step, 0)
    scale = np.sqrt(np.mean(np.square(right.astype(np.float64))))
    return float(np.sqrt(np.mean(np.square(beyond))) / max(scale, np.finfo(np.float32).tiny))
