"""Validation: does an artifact load, compute what it should and fit the device?

Every check has a value, a limit and a message that says what to do. Runtimes run in child
processes, so one that crashes is a failed check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.artifact import describe_file
from edgeprune.data import signature_name
from edgeprune.errors import CheckError, DataError, InputError
from edgeprune.gate import RULES, asks_for_sparse, judge_file
from edgeprune.kernels import runtime_names, version_misses
from edgeprune.layout import Array
from edgeprune.profile import DeviceProfile, Numerics, load_profile
from edgeprune.targets.arm64_emulated import ARM64_EMULATED
from edgeprune.targets.child import Reply, WorkerError
from edgeprune.targets.host import HOST
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.readiness import Readiness
from edgeprune.tflite import file as tflite_file
from edgeprune.tflite.file import Graph
from edgeprune.tflite.signature import input_ports, input_specs, output_ports

GENERATED_SAMPLES = 4
MAX_SAMPLES = 32

TOLERANCE: Mapping[Numerics, float] = {"float32": 1e-3, "float16": 2e-2, "int8": 0.5}
"""How far outputs may be from those of a float reference.

float32 and float16: largest difference, relative to the largest value of that output. int8: root
mean square of the difference beyond one quantization step, relative to that of the output. int8
keeps about two decimal digits per layer, and what a deep network makes of that depends on its
weights, so the int8 limit (6 dB) tells a right file from a wrong one and not a good from a bad
quantization: accuracy does that.
"""
SAME_NUMERICS_TOLERANCE_INT8 = 0.05
"""As the int8 tolerance, but between two int8 files: they differ in rounding only."""
WEAK_SPREAD = 0.05


@dataclass(frozen=True)
class Check:
    """One question about an artifact, and its answer."""

    name: str
    ok: bool
    value: float | str | None
    limit: float | str | None
    message: str


@dataclass(frozen=True)
class Verdict:
    """All checks of an artifact against a device profile."""

    model: str
    device: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract."""
        checks = [asdict(check) for check in self.checks]
        return {"model": self.model, "device": self.device, "ok": self.ok, "checks": checks}


@dataclass(frozen=True)
class Reference:
    """What the outputs are compared with: arrays `[n, ...]` by output name."""

    description: str
    outputs: Mapping[str, Array]
    quantized: bool


def validate(
    model: str | Path,
    device: str | Path | DeviceProfile,
    *,
    reference: str | Path | None = None,
    x: list[Array] | None = None,
) -> Verdict:
    """Checks a .tflite file for a device.

    Args:
      model: the file.
      device: a profile, its name, or the path of a user's own `.toml` file.
      reference: a `.tflite` or `.keras` file that computes the right outputs; without one the file
        is only compared with itself run by plain kernels, without XNNPACK.
      x: inputs, one array `[n, ...]` per input in the order of the signature; generated if None.

    Raises:
      TfliteError: the file, or a `.tflite` reference, does not parse.
      InputError: the reference takes other inputs than the file, or cannot be run.
    """
    profile = load_profile(device)
    graph = tflite_file.read(Path(model))
    inputs = x if x is not None else generated_inputs(graph, GENERATED_SAMPLES)
    inputs = [array[:MAX_SAMPLES] for array in inputs]
    wanted = _reference(Path(reference), graph, inputs, profile) if reference else None
    checks = (
        _check_operators(graph, profile),
        _check_numerics(graph, profile),
        _check_static(graph),
        *_check_flash(graph, profile),
        *_check_sparse_network(graph, profile),
        *_check_runs(graph, profile, inputs, wanted),
    )
    return Verdict(str(model), profile.name, checks)


def _check_operators(graph: Graph, profile: DeviceProfile) -> Check:
    misses = version_misses(graph, runtime_names(profile))
    runtimes = ", ".join(runtime_names(profile))
    message = (
        f"not in the device's runtimes: {'; '.join(map(str, misses))}. Convert the model again "
        "with edgeprune export, or replace the layer."
        if misses
        else f"every operator version is known to {runtimes}"
    )
    return Check("operators", not misses, len(misses), 0, message)


def _check_numerics(graph: Graph, profile: DeviceProfile) -> Check:
    found = numerics(graph)
    known = (profile.numerics, *profile.other_numerics)
    message = (
        f"{profile.name} computes in {' or '.join(known)}"
        if found in known
        else f"{profile.name} wants {' or '.join(known)}. Export the model for this device."
    )
    return Check("numerics", found in known, found, " or ".join(known), message)


def numerics(graph: Graph) -> str:
    """The number format of a file's weights: `float32`, `float16`, `int8`, ... or `mixed`.

    `mixed` is weights of 8 bits between float activations (dynamic range), or several formats.
    """
    weights = {
        tensor.dtype for tensor in graph.tensors if tensor.constant and len(tensor.shape) > 1
    } - {"int32", "int64", "bool"}
    inputs = {graph.tensors[index].dtype for index in graph.inputs}
    outputs = {graph.tensors[index].dtype for index in graph.outputs}
    if weights and weights <= {"int8", "uint8", "int4"}:
        # Inputs may be indices; what the network computes shows at its end.
        quantized = outputs <= {"int8", "uint8"} and "float32" not in inputs
        return "int8" if quantized else "mixed"
    if "float16" in weights and weights <= {"float16", "float32"}:
        return "float16"
    if weights <= {"float32"}:
        return "int8" if not weights and outputs <= {"int8", "uint8"} else "float32"
    return "mixed"


def _check_static(graph: Graph) -> Check:
    shapes = {port.name: list(port.shape) for port in input_ports(graph)}
    fixed = all(size >= 0 for shape in shapes.values() for size in shape)
    message = (
        "all input sizes are fixed"
        if fixed
        else "devices plan their memory before they run: convert with a fixed size and a batch of 1"
    )
    written = "; ".join(f"{name} {shape}" for name, shape in shapes.items())
    return Check("static shapes", fixed, written, "no size left open", message)


def _check_flash(graph: Graph, profile: DeviceProfile) -> Iterator[Check]:
    limit = profile.limits.flash_bytes
    size = describe_file(graph.path)
    sizes = f"{size.size_bytes} bytes, {size.gzip_bytes} after gzip"
    if limit.value is None:
        yield Check("size", True, size.size_bytes, None, f"{sizes}; {profile.name} sets no limit")
        return
    fits = size.size_bytes <= limit.value
    remedy = "" if fits else "; prune more, or use a smaller model"
    yield Check(
        "size", fits, size.size_bytes, limit.value, f"{sizes} (limit: {limit.source}){remedy}"
    )


def _check_sparse_network(graph: Graph, profile: DeviceProfile) -> Iterator[Check]:
    """Whether XNNPACK on ARM64 would run a float file that asks for sparse inference only partly.

    Such a file computes wrong numbers there and right ones on x86.
    """
    if "arm64-emulated" not in profile.targets or not asks_for_sparse(graph):
        return
    danger = judge_file(graph, tuple(RULES))
    if danger is None:
        message = "no operator cuts the network where XNNPACK's sparse mode would be on"
        yield Check("sparse network", True, "sound", "sound", message)
        return
    message = f"{danger.runtime} on ARM64 computes wrong numbers: {danger.reason}. {danger.remedy}"
    yield Check("sparse network", False, "dangerous", "sound", message.strip())


def _check_runs(
    graph: Graph, profile: DeviceProfile, inputs: list[Array], wanted: Reference | None
) -> Iterator[Check]:
    runtimes = HOST.runtimes(profile)
    if not runtimes:
        readiness = HOST.readiness()
        yield Check("runs", False, None, None, f"{readiness.detail}: {readiness.remedy}")
    plain: Reference | None = None
    for runtime in runtimes:
        try:
            reply = HOST.run(graph, inputs, runtime)
        except WorkerError as error:
            yield Check(f"runs ({runtime})", False, str(error), "runs", _run_remedy(graph, error))
            continue
        yield _ran(reply, inputs)
        outputs = _named_outputs(graph, reply.outputs)
        yield _check_finite(outputs, reply.facts["runtime"])
        own = _plain_kernels(graph, inputs, runtime)
        if plain is None and isinstance(own, Reference):
            plain = own
        yield _check_kernels(graph, own, outputs, reply.facts)
        if wanted is not None:
            yield _check_reply(graph, "outputs", reply, wanted)
    if "arm64-emulated" in profile.targets:
        yield from _check_arm64(graph, profile, inputs, wanted or plain)


def _ran(reply: Reply, inputs: list[Array]) -> Check:
    message = f"{len(inputs[0])} inferences ended well"
    return Check(f"runs ({reply.facts['runtime']})", True, "runs", "runs", message)


def _check_reply(graph: Graph, what: str, reply: Reply, wanted: Reference) -> Check:
    return check_outputs(
        f"{what} ({reply.facts['runtime']})",
        _named_outputs(graph, reply.outputs),
        wanted,
        numerics(graph),
        reply.facts["output_scales"],
    )


def _check_arm64(
    graph: Graph, profile: DeviceProfile, inputs: list[Array], wanted: Reference | None
) -> Iterator[Check]:
    """Runs the file in the ARM64 runtimes, where XNNPACK has kernels that x86 has not.

    A few samples do: emulation is slow, and what goes wrong there goes wrong on every input.
    """
    readiness = ARM64_EMULATED.readiness()
    if not readiness.ready:
        yield from _not_proven(graph, readiness)
        return
    few = [array[:GENERATED_SAMPLES] for array in inputs]
    for runtime in ARM64_EMULATED.runtimes(profile):
        try:
            reply = ARM64_EMULATED.run(graph, few, runtime, core=profile.core)
        except WorkerError as error:
            name = f"runs ({runtime} on emulated {profile.core})"
            yield Check(name, False, str(error), "runs", _run_remedy(graph, error))
            continue
        yield _ran(reply, few)
        yield _check_finite(_named_outputs(graph, reply.outputs), reply.facts["runtime"])
        if wanted is not None:
            yield _check_reply(graph, "outputs", reply, _first_samples(wanted, len(few[0])))


def _not_proven(graph: Graph, readiness: Readiness) -> Iterator[Check]:
    """Says what stays open without the emulator; dense files compute alike on x86 and ARM64."""
    if graph.subgraphs[0].restores_floats:
        message = (
            "not proven on ARM64: float weights are stored sparsely, and XNNPACK's sparse kernels "
            f"run there only. To run it: {readiness.remedy}"
        )
        yield Check("outputs (ARM64)", True, None, None, message)


def _first_samples(wanted: Reference, count: int) -> Reference:
    outputs = {name: array[:count] for name, array in wanted.outputs.items()}
    return replace(wanted, outputs=outputs)


def _run_remedy(graph: Graph, error: WorkerError) -> str:
    return (
        f"{graph.path.name} cannot be used: {error}. Convert the model again, or look for the "
        "operator that the message names."
    )


def _named_outputs(graph: Graph, outputs: tuple[Array, ...]) -> dict[str, Array]:
    return {port.name: array for port, array in zip(output_ports(graph), outputs, strict=True)}


def _check_finite(outputs: Mapping[str, Array], runtime: str) -> Check:
    bad = sum(int((~np.isfinite(array)).sum()) for array in outputs.values())
    message = "all outputs are finite" if not bad else "outputs hold NaN or infinite values"
    return Check(f"finite ({runtime})", not bad, bad, 0, message)


def _plain_kernels(graph: Graph, inputs: list[Array], runtime: str) -> Reference | WorkerError:
    """What the runtime's own plain kernels make of the first samples, or why they do not run."""
    few = [array[:GENERATED_SAMPLES] for array in inputs]
    try:
        reply = HOST.run(graph, few, runtime, delegates=False)
    except WorkerError as error:
        return error
    named = _named_outputs(graph, reply.outputs)
    return Reference("the same file without XNNPACK", named, numerics(graph) == "int8")


def _check_kernels(
    graph: Graph,
    plain: Reference | WorkerError,
    outputs: Mapping[str, Array],
    facts: Mapping[str, Any],
) -> Check:
    """Compares XNNPACK's kernels with the runtime's own plain ones, on the first samples."""
    name = f"kernels ({facts['runtime']})"
    if isinstance(plain, WorkerError):
        return Check(name, True, None, None, f"not compared: plain kernels do not run ({plain})")
    found = {output: array[: len(plain.outputs[output])] for output, array in outputs.items()}
    return check_outputs(name, found, plain, numerics(graph), facts["output_scales"])


def check_outputs(
    name: str,
    outputs: Mapping[str, Array],
    wanted: Reference,
    found_numerics: str,
    steps: list[float],
) -> Check:
    """Compares outputs with a reference, within the tolerance of the number format.

    Args:
      name: of the check.
      outputs: arrays `[n, ...]` by output name, as real values.
      wanted: the right outputs.
      found_numerics: as `numerics` says of the file.
      steps: quantization step of every output, 0 where it is not quantized.
    """
    pairs = _paired(outputs, wanted.outputs)
    shapes = [(list(found.shape), list(right.shape)) for found, right in pairs]
    if len(outputs) != len(wanted.outputs) or any(found != right for found, right in shapes):
        given = [list(array.shape) for array in wanted.outputs.values()]
        received = [list(array.shape) for array in outputs.values()]
        return Check(
            name, False, str(received), str(given), f"other outputs than {wanted.description} has"
        )
    quantized = found_numerics not in {"float32", "float16"}
    if quantized:
        limit = SAME_NUMERICS_TOLERANCE_INT8 if wanted.quantized else TOLERANCE["int8"]
        errors = [_rms_error(f, r, s) for (f, r), s in zip(pairs, steps, strict=True)]
    else:
        limit = TOLERANCE["float16" if found_numerics == "float16" else "float32"]
        errors = [_largest_error(found, right) for found, right in pairs]
    value = max(errors, default=0.0)
    kind = "root mean square" if quantized else "largest"
    message = f"{kind} difference from {wanted.description}, relative to its outputs"
    if not value <= limit:
        message += ": the file does not compute what it should"
    elif all(_hardly_varies(right) for _, right in pairs):
        message += "; they hardly vary, so this says little: give --data"
    return Check(name, bool(value <= limit), float(value), limit, message)


def _hardly_varies(right: Array) -> bool:
    """Whether an output is nearly the same number everywhere, such as an untrained softmax."""
    return float(np.ptp(right)) < WEAK_SPREAD * float(np.abs(right).max(initial=0.0))


def _paired(outputs: Mapping[str, Array], wanted: Mapping[str, Array]) -> list[tuple[Array, Array]]:
    """Outputs beside the right ones: by name if both have the same names, else by position."""
    if outputs.keys() == wanted.keys():
        return [(array, wanted[name]) for name, array in outputs.items()]
    return list(zip(outputs.values(), wanted.values(), strict=False))


def _largest_error(found: Array, right: Array) -> float:
    difference = np.abs(found.astype(np.float64) - right)
    scale = np.abs(right.astype(np.float64)).max(initial=0.0)
    return float(difference.max(initial=0.0) / max(scale, np.finfo(np.float32).tiny))


def _rms_error(found: Array, right: Array, step: float) -> float:
    beyond = np.maximum(np.abs(found.astype(np.float64) - right) - step, 0)
    scale = np.sqrt(np.mean(np.square(right.astype(np.float64))))
    return float(np.sqrt(np.mean(np.square(beyond))) / max(scale, np.finfo(np.float32).tiny))


def _reference(path: Path, graph: Graph, inputs: list[Array], profile: DeviceProfile) -> Reference:
    if path.suffix in {".keras", ".h5"}:
        return _keras_reference(path, graph, inputs)
    reference = tflite_file.read(path)
    _require_same_inputs(path, graph, input_specs(reference))
    names = [spec.name for spec in input_specs(graph)]
    order = [spec.name for spec in input_specs(reference)]
    arrays = _ordered(inputs, names, order)
    runtimes = HOST.runtimes(profile)
    if not runtimes:
        raise InputError(f"{path}: no runtime is installed to run it. pip install ai-edge-litert")
    try:
        reply = HOST.run(reference, arrays, runtimes[0])
    except CheckError as error:
        raise InputError(f"{path}: the reference does not run in {runtimes[0]}: {error}") from error
    return Reference(
        path.name, _named_outputs(reference, reply.outputs), numerics(reference) == "int8"
    )


def _keras_reference(path: Path, graph: Graph, inputs: list[Array]) -> Reference:
    from edgeprune import keras_model  # imports Keras, which a .tflite reference does not need

    model = keras_model.load_model(path)
    specs = keras_model.input_specs(model)
    _require_same_inputs(path, graph, specs)
    names = [spec.name for spec in input_specs(graph)]
    arrays = _ordered(inputs, names, [signature_name(spec.name) for spec in specs])
    outputs = keras_model.predict(model, arrays)
    keys = [signature_name(name) for name in keras_model.output_names(model)]
    return Reference(path.name, dict(zip(keys, outputs, strict=True)), quantized=False)


def _ordered(inputs: list[Array], names: list[str], order: list[str]) -> list[Array]:
    """The inputs in another model's order: by name if it has the same names, else as they are."""
    if sorted(names) != sorted(order):
        return inputs
    by_name = dict(zip(names, inputs, strict=True))
    return [by_name[name] for name in order]


def _require_same_inputs(path: Path, graph: Graph, specs: tuple[Any, ...]) -> None:
    expected = sorted((spec.shape for spec in input_specs(graph)), key=str)
    received = sorted((tuple(spec.shape) for spec in specs), key=str)
    if len(expected) != len(received) or not all(map(_compatible, expected, received)):
        raise DataError(
            f"{path}: expected a reference that takes the same inputs as {graph.path.name}, "
            f"{[list(shape) for shape in expected]}. Received: "
            f"{[list(shape) for shape in received]}."
        )


def _compatible(first: tuple[int | None, ...], second: tuple[int | None, ...]) -> bool:
    return len(first) == len(second) and all(
        a is None or b is None or a == b for a, b in zip(first, second, strict=True)
    )
