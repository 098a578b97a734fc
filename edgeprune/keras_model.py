"""What edgeprune needs to know of a Keras model: load it, copy it, save it, list its layers.

The one place that reads Keras' layer graph. Layers are named by their path, the names of the nested
models around them included: `"backbone/stem/conv1"`.
"""

from __future__ import annotations

import inspect
import math
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from edgeprune.artifact import require_keras_name
from edgeprune.data import InputSpec
from edgeprune.errors import ModelError, OutputError
from edgeprune.layer_kinds import KINDS
from edgeprune.layout import Array
from edgeprune.plan_file import LayerInfo

PREDICT_BATCH = 64

Model = Any
"""A `keras.Model`; Keras ships no type information."""
Layer = Any
"""A `keras.layers.Layer`."""


def load_model(path: Path) -> Model:
    """Loads a `.keras` file (or a legacy `.h5`), compiled as it was saved where that is possible.

    Raises:
      ModelError: no such file, not a Keras file, or it needs code that is not here.
    """
    if not path.is_file():
        raise ModelError(f"{path}: expected a Keras model file. Received: no such file.")
    if path.suffix not in {".keras", ".h5"}:
        raise ModelError(
            f"{path}: expected a file ending in .keras (or .h5). Received: '{path.suffix}'. "
            "Save the model with model.save('name.keras')."
        )
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise ModelError(
            f"{path}: expected a .keras file, which is a zip archive. Received: "
            f"{path.stat().st_size} bytes that are not one (cut short, or another format). "
            "Save the model again with model.save()."
        )
    return _load(path)


def _load(path: Path) -> Model:
    try:
        return keras.models.load_model(path)
    except Exception as error:  # noqa: BLE001  Keras raises whatever a file's layers raise
        first = error
    try:
        # The loss or optimizer may be what cannot be restored; the layers do not need them.
        return keras.models.load_model(path, compile=False)
    except Exception:  # noqa: BLE001
        if "PruneLowMagnitude" in str(first):
            raise ModelError(
                f"{path}: this model is still wrapped for pruning. Load it in Python after "
                "`import edgeprune.wrapper`, and save what edgeprune.strip_pruning(model) returns."
            ) from first
        summary = " ".join(str(first).split())[:300]
        raise ModelError(
            f"{path}: Keras {keras.__version__} cannot load this model ({type(first).__name__}: "
            f"{summary}). Custom layers must be registered with "
            "@keras.saving.register_keras_serializable and imported first; then use the Python "
            "API. Lambda layers are not loaded, since they can run any code."
        ) from first


def save_model(model: Model, path: Path) -> None:
    """Saves a model as `.keras`; the file appears whole or not at all.

    Raises:
      OutputError: the name does not end in `.keras`, or the folder is missing or not writable.
    """
    require_keras_name(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".edgeprune-") as folder:
            written = Path(folder, path.name)
            model.save(written)
            written.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error


def copy_model(model: Model) -> Model:
    """A new model with the same architecture, weights and compilation; shares nothing with `model`.

    Raises:
      ModelError: a subclassed model that cannot be made again from its configuration.
    """
    try:
        with keras.saving.custom_object_scope(_compiled_with(model)):
            if can_rebuild(model):
                copy = keras.models.clone_model(model)
            else:
                copy = type(model).from_config(model.get_config())
                copy.build_from_config(model.get_build_config())
        _restore_names(model, copy)
        copy.set_weights(model.get_weights())
        if not copy.compiled:
            compile_as(copy, model)
    except (NotImplementedError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{model.name}: this {type(model).__name__} cannot be copied ({error}). Give it "
            "get_config and build_from_config as Keras describes for subclassed models, or "
            "rebuild it as a Functional model."
        ) from error
    return copy


def copy_layer(layer: Layer) -> Layer:
    """A new layer of the same configuration, without the weights; models as `copy_model` has them.

    Raises:
      ModelError: a layer that cannot be made again from its configuration.
    """
    if is_model(layer):
        return copy_model(layer)
    try:
        return type(layer).from_config(layer.get_config())
    except (NotImplementedError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise ModelError(
            f"{layer.name}: this {type(layer).__name__} cannot be copied ({error}). Give it "
            "get_config and from_config as Keras describes for custom layers."
        ) from error


def rebuild(
    model: Model,
    replace: Callable[[Layer], Layer],
    shapes: Mapping[str, Sequence[tuple[int | None, ...]]] = MappingProxyType({}),
) -> Model:
    """A new model of the same graph, in which `replace(layer)` stands for each layer.

    Nested models with a graph are rebuilt too, and a layer that is used several times is replaced
    once. The new model is compiled as the old one; carrying weights over is left to the caller.

    Args:
      model: Sequential or Functional, see `can_rebuild`.
      replace: makes the new layer; called with every layer and operation but inputs.
      shapes: of the inputs of nested models, without the batch axis, by their path; those that
        are not there keep theirs.

    Raises:
      ModelError: the graph cannot be built with those layers, or compiled as before.
    """
    try:
        with keras.saving.custom_object_scope(_compiled_with(model)):
            copy = _clone(model, replace, shapes, "", {})
    except (NotImplementedError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise ModelError(
            f"{model.name}: this model cannot be built again from its layers ({error}). If its "
            "loss or metrics are what fails, give them as named functions, or compile it later."
        ) from error
    _restore_names(model, copy)
    return copy


def _clone(
    model: Model,
    replace: Callable[[Layer], Layer],
    shapes: Mapping[str, Sequence[tuple[int | None, ...]]],
    prefix: str,
    made: dict[int, Layer],
) -> Model:
    """As `rebuild`; `made` holds the new layers by the `id` of the old."""

    def new(layer: Layer) -> Layer:
        if id(layer) not in made:
            nested = is_model(layer) and can_rebuild(layer)
            path = f"{prefix}{layer.name}"
            made[id(layer)] = (
                _clone(layer, replace, shapes, f"{path}/", made) if nested else replace(layer)
            )
        return made[id(layer)]

    given = shapes.get(prefix.removesuffix("/"))
    inputs = None
    if given is not None:
        tensors = [
            keras.Input(shape, dtype=tensor.dtype, name=tensor._keras_history.operation.name)
            for shape, tensor in zip(given, model.inputs, strict=True)
        ]
        inputs = keras.tree.pack_sequence_as(model.input, tensors)
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=new)


def _restore_names(model: Model, copy: Model) -> None:
    """Gives layers of a copy the names they had, in place.

    Keras names input layers anew when it clones a graph, and a subclassed model that leaves names
    open gets new ones each time it is made.
    """
    for layer, other in zip(model.layers, copy.layers, strict=True):
        if type(layer) is type(other):
            other.name = layer.name
        if is_model(layer) and is_model(other):
            _restore_names(layer, other)


def compile_as(copy: Model, model: Model) -> None:
    """Compiles a model as another one is, in place; nothing is done if that is not compiled."""
    compilation = model.get_compile_config() if model.compiled else None
    if compilation:
        with keras.saving.custom_object_scope(_compiled_with(model)):
            copy.compile_from_config(compilation)


def _compiled_with(model: Model) -> dict[str, Any]:
    """Classes and functions of the user's own that a model was compiled with, by name."""
    # Keras keeps the arguments of compile() here, to save them.
    arguments = getattr(model, "_compile_config", None)
    parts = keras.tree.flatten(arguments.config) if arguments else []
    named = [part if inspect.isfunction(part) else type(part) for part in parts]
    return {
        part.__name__: part
        for part in named
        if not part.__module__.startswith(("keras", "builtins"))
    }


def can_rebuild(model: Model) -> bool:
    """Whether a model is Sequential (built or not) or Functional, rather than subclassed."""
    return isinstance(model, keras.Sequential) or has_graph(model)


def ends_in_softmax(model: Model) -> bool:
    """Whether the first output of a model is a softmax, so that it gives probabilities."""
    return softmax_ends(model)[0]


def softmax_ends(model: Model) -> tuple[bool, ...]:
    """Whether each output of a model is a softmax; of a subclassed model the last layer counts."""
    if not has_graph(model):
        last = model.layers[-1]
        return softmax_ends(last) if is_model(last) else (_is_softmax(last),)
    found = []
    for tensor in keras.tree.flatten(model.outputs):
        operation, _, index = tensor._keras_history
        ends = softmax_ends(operation) if is_model(operation) else (_is_softmax(operation),)
        found.append(ends[min(index, len(ends) - 1)])
    return tuple(found)


def _is_softmax(operation: Any) -> bool:
    return (
        type(operation).__name__ == "Softmax"
        or getattr(operation, "activation", None) is keras.activations.softmax
    )


def input_specs(model: Model) -> tuple[InputSpec, ...]:
    """The inputs of a model, in its order.

    Raises:
      ModelError: the model does not say what it takes (a subclassed model without an input).
    """
    tensors = getattr(model, "inputs", None)
    if not tensors:
        raise ModelError(
            f"{model.name}: expected a model with known inputs. Received: a {type(model).__name__} "
            "without any. Call it once on a keras.Input and make a Functional model of that."
        )
    return tuple(
        InputSpec(
            # Not the tensor's name, which Keras sets anew whenever it builds the model again.
            tensor._keras_history.operation.name,
            tuple(tensor.shape[1:]),
            keras.backend.standardize_dtype(tensor.dtype),
        )
        for tensor in tensors
    )


def call(model: Model, arrays: list[Any]) -> list[Any]:
    """Runs a model for inference on one array or tensor per input; returns a list of outputs."""
    if isinstance(getattr(model, "inputs", None), list) and hasattr(model, "input"):
        packed = keras.tree.pack_sequence_as(model.input, arrays)
    else:
        packed = arrays if len(arrays) > 1 else arrays[0]
    return list(keras.tree.flatten(model(packed, training=False)))


def output_names(model: Model) -> tuple[str, ...]:
    """A name per output of a model, each once."""
    names = list(getattr(model, "output_names", ()) or ["output_0"])
    return tuple(
        name if names.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(names)
    )


def predict(model: Model, x: list[Array]) -> list[Array]:
    """Outputs of a model for inference, float32, one array `[n, ...]` per output.

    Args:
      model: a built Keras model.
      x: one array `[n, ...]` per input.
    """
    batches = [
        call(model, [array[start : start + PREDICT_BATCH] for array in x])
        for start in range(0, len(x[0]), PREDICT_BATCH)
    ]
    return [
        np.concatenate([np.asarray(part, np.float32) for part in parts])
        for parts in zip(*batches, strict=True)
    ]


def own_training(model: Model) -> list[str]:
    """The methods by which a model trains in a way of its own, by name."""
    names = ("train_step", "compute_loss", "compute_metrics")
    return [name for name in names if getattr(type(model), name) is not getattr(keras.Model, name)]


def is_model(layer: Layer) -> bool:
    """Whether a layer is itself a model, whose layers are listed one by one."""
    return isinstance(layer, keras.Model)


def has_graph(model: Model) -> bool:
    """Whether Keras knows how the layers of a model are connected (not so if it is subclassed)."""
    return bool(getattr(model, "outputs", None))


def functional(model: Model) -> Model:
    """The functional model that holds the graph of a model with one; Sequential wraps it."""
    return model._functional if isinstance(model, keras.Sequential) else model


def walk(model: Model, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yields `(path, layer)` in the order of the model, nested models opened.

    A layer used in several places may come up several times, under each of its paths.
    """
    for layer in model.layers:
        path = f"{prefix}{layer.name}"
        if is_model(layer):
            yield from walk(layer, f"{path}/")
        else:
            yield path, layer


def unique_layers(model: Model) -> dict[str, Layer]:
    """Every layer once, by the first path that reaches it."""
    found: dict[int, tuple[str, Layer]] = {}
    for path, layer in walk(model):
        found.setdefault(id(layer), (path, layer))
    return dict(found.values())


def layers_inside(layer: Layer) -> list[Layer]:
    """Every layer within a model or layer, however deep and in whatever attribute; itself first."""
    return list(layer._flatten_layers())


def kernel_variable(layer: Layer) -> Any:
    """The `keras.Variable` that patterns apply to: the kernel; of a separable layer the pointwise.

    None for a layer whose kind has no device matrix.
    """
    kind = type(layer).__name__
    if kind not in KINDS or not layer.built:
        return None
    return layer.pointwise_kernel if kind.startswith("Separable") else layer.kernel


def describe(model: Model) -> tuple[LayerInfo, ...]:
    """Lists every layer, as `plan` wants them; reads shapes only.

    Raises:
      ModelError: the model has no weights yet (it was never built).
    """
    if not model.built:
        raise ModelError(
            f"{model.name}: expected a built model. Received: one without weights. Call it once "
            "on data, or give it an Input, before saving."
        )
    last = _layers_before_output(model)
    return tuple(
        _layer_info(path, layer, id(layer) in last) for path, layer in unique_layers(model).items()
    )


def _layer_info(path: str, layer: Layer, feeds_output: bool) -> LayerInfo:
    kernel = kernel_variable(layer)
    return LayerInfo(
        path=path,
        kind=type(layer).__name__,
        shape=tuple(kernel.shape) if kernel is not None else None,
        parameters=sum(math.prod(weight.shape) for weight in layer.weights),
        pixels=_pixels(layer),
        strides=_as_tuple(getattr(layer, "strides", ())),
        groups=getattr(layer, "groups", 1),
        feeds_map=_pixels(layer) == 1 and _reaches_map(layer),
        feeds_output=feeds_output,
    )


def _as_tuple(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _pixels(layer: Layer) -> int | None:
    """Output positions of one sample (height * width); the most of them if called several times.

    None where the shape is not known before the model runs.
    """
    shapes = [tensor.shape for node in calls(layer) for tensor in node.output_tensors]
    if not shapes or getattr(layer, "data_format", None) == "channels_first":
        return None
    counts = [math.prod(shape[1:-1]) if None not in shape[1:-1] else None for shape in shapes]
    known = [count for count in counts if count is not None]
    return max(known) if len(known) == len(counts) else None


def _reaches_map(layer: Layer) -> bool:
    """Whether something behind a layer, in its own graph, is a feature map of several pixels."""
    waiting, seen = [layer], {id(layer)}
    while waiting:
        for node in waiting.pop()._outbound_nodes:
            shapes = [tensor.shape for tensor in node.output_tensors]
            if any(math.prod(size or 2 for size in shape[1:-1]) > 1 for shape in shapes):
                return True
            if id(node.operation) not in seen:
                seen.add(id(node.operation))
                waiting.append(node.operation)
    return False


def calls(operation: Any) -> list[Any]:
    """The calls of a layer that built the graph it stands in; Keras keeps them under this name."""
    return list(operation._inbound_nodes)


def _layers_before_output(model: Model) -> set[int]:
    """`id` of every layer that mixes channels and whose result reaches an output unmixed.

    Their output channels are the model's own outputs, such as classes, and cannot go.
    """
    if not has_graph(model):
        mixing = [layer for _, layer in walk(model) if _mixes_channels(layer)]
        return {id(layer) for layer in mixing[-1:]}
    found: set[int] = set()
    _collect_before(model.outputs, found, set())
    return found


def _collect_before(tensors: list[Any], found: set[int], seen: set[int]) -> bool:
    """Walks back from tensors to the layers that mixed them; True if an input was reached."""
    reached = False
    for tensor in tensors:
        operation, node_index, _ = tensor._keras_history
        node = calls(operation)[node_index]
        if id(node) not in seen:
            seen.add(id(node))
            reached |= _collect_behind(operation, node, found, seen)
    return reached


def _collect_behind(operation: Any, node: Any, found: set[int], seen: set[int]) -> bool:
    if _mixes_channels(operation):
        found.add(id(operation))
        return False
    if isinstance(operation, keras.layers.InputLayer):
        return True
    if is_model(operation) and not has_graph(operation):
        found |= _layers_before_output(operation)
        return False
    if is_model(operation) and not _collect_before(operation.outputs, found, seen):
        return False
    return _collect_before(node.input_tensors, found, seen)


def _mixes_channels(operation: Any) -> bool:
    if is_model(operation) or type(operation).__name__.startswith("Depthwise"):
        return False
    return any(len(weight.shape) > 1 for weight in getattr(operation, "weights", ()))
