"""What the right outputs are for a file that is checked: another file's, on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.core.arrays import Array
from edgeprune.core.data import InputSpec, signature_name
from edgeprune.core.errors import CheckError, DataError, InputError
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.targets.checks import Reference, named_outputs, numerics
from edgeprune.targets.host import HOST
from edgeprune.tflite.decode.plain_form import runnable_form
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.file import Graph
from edgeprune.tflite.format.signature import signature_specs

Shape = tuple[int | None, ...]


def is_other_file(reference: Any) -> bool:
    """Whether a reference is the path of a file that is not a Keras model."""
    is_path = isinstance(reference, str | Path)
    return is_path and Path(reference).suffix not in {".keras", ".h5"}


def run_reference(
    given: Any, graph: Graph, inputs: list[Array], profile: DeviceProfile
) -> Reference:
    """Runs a reference on the inputs of a file.

    Args:
      given: the path of a `.tflite`, `.keras` or `.h5` file, or a Keras model.
      graph: the file that is checked.
      inputs: one array `[n, ...]` per input of that file, in the order of its signature.
      profile: says which runtime runs a `.tflite` reference.

    Raises:
      InputError: the reference takes other inputs than the file, or cannot be run.
    """
    if not is_other_file(given):
        return _keras_reference(given, graph, inputs)
    path = Path(given)
    with runnable_form(tflite_file.read(path)) as reference:
        return _file_reference(path, reference, graph, inputs, profile)


def _file_reference(
    path: Path, reference: Graph, graph: Graph, inputs: list[Array], profile: DeviceProfile
) -> Reference:
    _require_same_inputs(path, graph, signature_specs(reference))
    names = [spec.name for spec in signature_specs(graph)]
    order = [spec.name for spec in signature_specs(reference)]
    arrays = _ordered(inputs, names, order)
    runtimes = HOST.runtimes(profile)
    if not runtimes:
        raise InputError(f"{path}: no runtime is installed to run it. pip install ai-edge-litert")
    try:
        reply = HOST.run(reference, arrays, runtimes[0])
    except CheckError as error:
        raise InputError(f"{path}: the reference does not run in {runtimes[0]}: {error}") from error
    return Reference(
        path.name, named_outputs(reference, reply.outputs), numerics(reference) == "int8"
    )


def _keras_reference(given: Any, graph: Graph, inputs: list[Array]) -> Reference:
    # These import Keras, which a .tflite reference does not need.
    from edgeprune.keras_model.files import as_model, name_of
    from edgeprune.keras_model.interface import input_specs, output_names, predict

    path, model = Path(name_of(given)), as_model(given)
    specs = input_specs(model)
    batch = _fixed_batch(graph, specs)
    if batch is None:
        _require_same_inputs(path, graph, specs)
    names = [spec.name for spec in signature_specs(graph)]
    arrays = _ordered(inputs, names, [signature_name(spec.name) for spec in specs])
    if batch is not None:
        arrays = [array.reshape(-1, *array.shape[2:]) for array in arrays]
    outputs = predict(model, arrays)
    if batch is not None:
        outputs = [array.reshape(-1, batch, *array.shape[1:]) for array in outputs]
    keys = [signature_name(name) for name in output_names(model)]
    return Reference(path.name, dict(zip(keys, outputs, strict=True)), quantized=False)


def _fixed_batch(graph: Graph, specs: Sequence[InputSpec]) -> int | None:
    """How many samples of a model one input of a file holds, where that is fixed and not one.

    Each sample of such a file is a whole batch (see `signature_specs`).
    """
    whole = [spec.shape for spec in signature_specs(graph)]
    batches = {shape[0] if shape else None for shape in whole}
    rest = sorted((shape[1:] for shape in whole), key=str)
    if len(batches) != 1 or not _same_shapes(rest, sorted((s.shape for s in specs), key=str)):
        return None
    return batches.pop()


def _ordered(inputs: list[Array], names: list[str], order: list[str]) -> list[Array]:
    """The inputs in another model's order: by name if it has the same names, else as they are."""
    if sorted(names) != sorted(order):
        return inputs
    by_name = dict(zip(names, inputs, strict=True))
    return [by_name[name] for name in order]


def _require_same_inputs(path: Path, graph: Graph, specs: Sequence[InputSpec]) -> None:
    expected = sorted((spec.shape for spec in signature_specs(graph)), key=str)
    received = sorted((spec.shape for spec in specs), key=str)
    if not _same_shapes(expected, received):
        raise DataError(
            f"{path}: expected a reference that takes the same inputs as {graph.path.name}, "
            f"{[list(shape) for shape in expected]}. Received: "
            f"{[list(shape) for shape in received]}."
        )


def _same_shapes(first: Sequence[Shape], second: Sequence[Shape]) -> bool:
    return len(first) == len(second) and all(map(_compatible, first, second))


def _compatible(first: Shape, second: Shape) -> bool:
    return len(first) == len(second) and all(
        a is None or b is None or a == b for a, b in zip(first, second, strict=True)
    )
