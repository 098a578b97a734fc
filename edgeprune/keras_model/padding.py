"""Padding: makes the padding of stride-2 convolutions symmetric, where a device's kernels want it.

Keras and TensorFlow pad a stride-2 convolution on an even map at the lower right only:

    3x3, stride 2, 8 columns    SAME or ((0, 1), (0, 1))   |01234567|.     reads 0-2, 2-4, 4-6, 6-.
                                symmetric, (1, 1)         .|01234567|.     reads .-1, 1-3, 3-5, 5-7

The number of outputs is the same, what they look at moves by one pixel. So the function changes a
little, and a model should be trained afterwards. XNNPACK's sparse mode takes symmetric padding only
(google/XNNPACK src/subgraph.c, xnn_subgraph_rewrite_for_nchw).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from edgeprune.core.errors import ModelError
from edgeprune.core.plan import PaddingPlan
from edgeprune.keras_model.calls import CallGraph, read_calls
from edgeprune.keras_model.copies import compile_as, copy_layer, copy_model, rewire
from edgeprune.keras_model.layers import Layer, LayerMap, Model, can_rebuild, is_model, map_layers

Pads = tuple[tuple[int, int], tuple[int, int]]
"""Rows above and below, columns left and right."""

_PAD_SUFFIX = "_symmetric_pad"
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")


def find_asymmetric(mapped: LayerMap) -> tuple[PaddingPlan, ...]:
    """Lists what pads a stride-2 convolution on one side more than on the other.

    That is a convolution with padding "same", or a `ZeroPadding2D` in front of one with "valid".
    Left out are those that would give another number of outputs with symmetric padding, and those
    whose input size is not known.
    """
    rows = []
    graph = read_calls(mapped.model)
    for path, layer in mapped.layers.items():
        pads = _pads(layer, graph)
        if pads is not None and any(before != after for before, after in pads):
            before = "same" if _is_convolution(layer) else _written(pads)
            rows.append(PaddingPlan(path=path, before=before, after=_written(_symmetric(pads))))
    return tuple(rows)


def make_symmetric(model: Model, rows: Iterable[PaddingPlan]) -> Model:
    """Returns a new model with the padding of the rows' layers made symmetric.

    A convolution with padding "same" gets a `ZeroPadding2D` named `<layer>_symmetric_pad` in front
    of it. Weights, names and compilation are carried over.

    Args:
      model: Sequential or Functional, nested or not.
      rows: as `find_asymmetric` lists them; those that are done already are passed over.

    Raises:
      ModelError: a row names a layer that does not pad as it says, or the model is subclassed.
    """
    layers, graph = map_layers(model).layers, read_calls(model)
    pads: dict[int, Pads] = {}
    for row in rows:
        if _is_done(row, layers):
            continue
        found = _pads(layers[row.path], graph) if row.path in layers else None
        if found is None or _written(_symmetric(found)) != row.after:
            raise ModelError(
                f"{row.path}: expected a layer whose padding can become {row.after}. Received: "
                "a model that it does not fit. Make a new plan for this model."
            )
        pads[id(layers[row.path])] = _symmetric(found)
    if not pads:
        return copy_model(model)
    copy = _rebuilt(model, pads)
    copy.set_weights(model.get_weights())
    compile_as(copy, model)
    return copy


def _is_done(row: PaddingPlan, layers: Mapping[str, Layer]) -> bool:
    """Whether a row's layer is padded as the row wants it."""
    layer = layers.get(row.path)
    if layer is not None and _is_convolution(layer):
        layer = layers.get(f"{row.path}{_PAD_SUFFIX}")
    return (
        layer is not None
        and type(layer).__name__ == "ZeroPadding2D"
        and _written(layer.padding) == row.after
    )


def _rebuilt(model: Model, pads: dict[int, Pads]) -> Model:
    if isinstance(model, keras.Sequential):
        return _rebuilt_sequential(model, pads)
    if not can_rebuild(model):
        raise ModelError(
            f"{model.name}: padding cannot be changed inside a subclassed model. Use "
            "--padding keep, or make it a Functional model."
        )
    inserted: dict[int, Layer] = {}

    def clone(layer: Layer) -> Layer:
        new, pad = _replacement(layer, pads)
        if pad is not None:
            inserted[id(new)] = pad
        return new

    def call(layer: Layer, *args: Any, **kwargs: Any) -> Any:
        pad = inserted.get(id(layer))
        return layer(pad(args[0]), *args[1:], **kwargs) if pad else layer(*args, **kwargs)

    return rewire(model, clone, call)


def _rebuilt_sequential(model: Model, pads: dict[int, Pads]) -> Model:
    layers = [keras.Input(batch_shape=model.input_shape, name=model.inputs[0].name)]
    for layer in model.layers:
        new, pad = _replacement(layer, pads)
        layers += [pad, new] if pad is not None else [new]
    return keras.Sequential(layers, name=model.name)


def _replacement(layer: Layer, pads: dict[int, Pads]) -> tuple[Layer, Layer | None]:
    """The new layer, and the padding that goes in front of it if any."""
    if is_model(layer):
        return _rebuilt(layer, pads), None
    chosen = pads.get(id(layer))
    if chosen is None:
        return copy_layer(layer), None
    if not _is_convolution(layer):
        return type(layer).from_config({**layer.get_config(), "padding": chosen}), None
    pad = keras.layers.ZeroPadding2D(chosen, name=f"{layer.name}{_PAD_SUFFIX}")
    return type(layer).from_config({**layer.get_config(), "padding": "valid"}), pad


def _is_convolution(layer: Layer) -> bool:
    return type(layer).__name__ in _CONVOLUTIONS


def _pads(layer: Layer, graph: CallGraph) -> Pads | None:
    """What is padded in front of a stride-2 convolution; None where symmetry would not fit."""
    if _is_convolution(layer) and layer.padding == "same":
        pads, convolutions = _same_pads(layer, graph), [layer]
    elif type(layer).__name__ == "ZeroPadding2D":
        pads, convolutions = layer.padding, _readers(layer, graph)
    else:
        return None
    sizes = _input_sizes(layer, graph)
    fits = (
        pads is not None
        and sizes is not None
        and bool(convolutions)
        and all(_keeps_size(sizes, pads, convolution) for convolution in convolutions)
    )
    return tuple(map(tuple, pads)) if fits and pads is not None else None  # type: ignore[return-value]


def _same_pads(layer: Layer, graph: CallGraph) -> Pads | None:
    """What padding "same" comes to, by the rule of TensorFlow: the odd pixel goes behind."""
    sizes = _input_sizes(layer, graph)
    if sizes is None:
        return None
    totals = [
        max((-(-size // stride) - 1) * stride + kernel - size, 0)
        for size, stride, kernel in zip(sizes, layer.strides, layer.kernel_size, strict=True)
    ]
    rows, columns = ((total // 2, total - total // 2) for total in totals)
    return rows, columns


def _readers(layer: Layer, graph: CallGraph) -> list[Layer]:
    """The layers behind a padding, if all of them are plain convolutions without their own."""
    readers = [call.operation for call in graph.readers_of(layer)]
    plain = all(_is_convolution(reader) and reader.padding == "valid" for reader in readers)
    return readers if plain else []


def _input_sizes(layer: Layer, graph: CallGraph) -> tuple[int, int] | None:
    calls = graph.calls_of(layer)
    shapes = {tuple(call.node.input_tensors[0].shape[1:3]) for call in calls}
    if len(shapes) != 1 or getattr(layer, "data_format", None) == "channels_first":
        return None
    rows, columns = shapes.pop()
    return None if rows is None or columns is None else (rows, columns)


def _keeps_size(sizes: tuple[int, int], pads: Pads, convolution: Layer) -> bool:
    """Whether a stride-2 convolution gives as many outputs with symmetric padding."""
    if tuple(convolution.strides) != (2, 2) or tuple(convolution.dilation_rate) != (1, 1):
        return False
    return all(
        (size + sum(now) - kernel) // 2 == (size + sum(then) - kernel) // 2
        for size, kernel, now, then in zip(
            sizes, convolution.kernel_size, pads, _symmetric(pads), strict=True
        )
    )


def _symmetric(pads: Pads) -> Pads:
    (top, bottom), (left, right) = pads
    rows, columns = max(top, bottom), max(left, right)
    return (rows, rows), (columns, columns)


def _written(pads: Pads) -> str:
    return str(pads).replace(" ", "")
