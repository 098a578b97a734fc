"""Checks a file that was just written, before it gets its name and anybody is told of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from edgeprune.core.errors import ModelError
from edgeprune.core.terms import Numerics
from edgeprune.profiles.encoding import runtimes_of
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.targets.child import WorkerError
from edgeprune.targets.host import HOST, installed_runtimes
from edgeprune.targets.inputs import generated_inputs
from edgeprune.tflite.format.graph import Graph, Operator, Subgraph
from edgeprune.tflite.op_versions import version_misses
from edgeprune.tflite.remainder import without_remainder

_CONVERTING = frozenset({"QUANTIZE", "DEQUANTIZE", "CAST"})
"""Operators between number formats, which are float on one side."""


def check_written(
    name: str,
    paths: tuple[str, ...],
    graph: Graph,
    profile: DeviceProfile,
    numerics: Numerics | None,
) -> tuple[str, ...]:
    """Checks that a file is what was asked for, and that the device's runtimes run it.

    Args:
      name: what the model is called.
      paths: the layers of the Keras model that it was converted from; tensors are named by
        themselves where there are none.
      graph: the file.
      profile: the device.
      numerics: the number format that was asked for; None for a file that keeps its own.

    Returns:
      Sentences for the user: what an int8 file computes in float without weights.

    Raises:
      ModelError: an operator that a runtime of the device does not have, one with weights that an
        int8 file holds in float, or a runtime that does not run the file.
    """
    _require_known_operators(name, graph, profile)
    notes = _check_int8(name, graph, paths) if numerics == "int8" else ()
    with without_remainder(graph) as runnable, ThreadPoolExecutor() as pool:
        runtimes = HOST.runtimes(profile)
        refusals = list(pool.map(lambda runtime: _refusal(runnable, runtime), runtimes))
    for runtime, error in zip(runtimes, refusals, strict=True):
        if error is not None:
            place = _place_of(error, graph, paths)
            raise ModelError(
                f"{place or name}: expected a file that {runtime} "
                f"{installed_runtimes()[runtime]} runs. Received: one that it does not run "
                f"({error}). Replace {'this layer' if place else 'the layer behind it'}, or choose "
                "another number format or device; nothing was written."
            )
    return notes


def _require_known_operators(name: str, graph: Graph, profile: DeviceProfile) -> None:
    misses = version_misses(graph, runtimes_of(profile))
    if misses:
        raise ModelError(
            f"{name}: expected operators that the runtimes of {profile.name} have. "
            f"Received: {'; '.join(map(str, misses))}. Replace the layer behind them, or name a "
            "newer runtime in a device profile of your own."
        )


def _refusal(graph: Graph, runtime: str) -> str | None:
    """Why a runtime does not run a file on one generated sample; None if it does."""
    try:
        HOST.run(graph, generated_inputs(graph, 1), runtime)
    except WorkerError as error:
        return str(error)
    return None


def _place_of(error: str, graph: Graph, paths: tuple[str, ...]) -> str | None:
    """The layer behind the operator that a runtime's message names; None if it names none."""
    found = re.search(r"Node number (\d+) \((\w+)\)", error)
    if found is None or int(found[1]) >= len(graph.operators):
        return None
    operator = graph.operators[int(found[1])]
    return layer_of(graph.tensors[operator.outputs[0]].name, paths)


def _check_int8(name: str, graph: Graph, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Refuses float operators with weights; returns a sentence about those without."""
    floats = [found for subgraph in graph.subgraphs for found in _float_operators(subgraph, paths)]
    heavy = sorted({f"{op} ({place})" for op, place, weighs in floats if weighs})
    if heavy:
        raise ModelError(
            f"{name}: expected an int8 file. Received: operators with weights that TFLite "
            f"computes in float only: {', '.join(heavy)}. Replace these layers, or choose a device "
            "or --numerics with float32; nothing was written."
        )
    light = Counter(f"{op} ({place})" for op, place, _ in floats)
    if not light:
        return ()
    named = ", ".join(f"{what}{f' x {n}' if n > 1 else ''}" for what, n in sorted(light.items()))
    return (
        f"TensorFlow's converter left some operators of this int8 file in float, between a "
        f"DEQUANTIZE and a QUANTIZE: {named}. An accelerator leaves them to the CPU; other "
        "activations or normalizations avoid that.",
    )


def _float_operators(subgraph: Subgraph, paths: tuple[str, ...]) -> Iterator[tuple[str, str, bool]]:
    """Name, place in the model, and whether it has weights, of operators that compute in float."""
    for operator in subgraph.operators:
        outputs = [subgraph.tensors[index] for index in operator.outputs if index >= 0]
        if operator.op in _CONVERTING or not any(t.dtype.startswith("float") for t in outputs):
            continue
        place = layer_of(outputs[0].name, paths)
        yield operator.op, place, _has_weights(subgraph, operator)


def _has_weights(subgraph: Subgraph, operator: Operator) -> bool:
    inputs = (subgraph.tensors[index] for index in operator.inputs if index >= 0)
    return any(t.constant and len(t.shape) > 1 and t.dtype.startswith("float") for t in inputs)


def layer_of(tensor: str, paths: tuple[str, ...]) -> str:
    """The layer of the model that a tensor's name speaks of; the tensor's own name if none does.

    TensorFlow names a tensor after the scopes around it, each with a number that Keras counts up:
    `functional_1/encoder_1/conv_1/convolution`.
    """
    scopes = tensor.partition(";")[0].split("/")
    layers = {scope.rpartition("_")[0] for scope in scopes if scope.rpartition("_")[2].isdigit()}
    for names in (layers, set(scopes)):
        found = [path for path in paths if set(path.split("/")) <= names]
        if found:
            return max(found, key=len)
    return tensor
