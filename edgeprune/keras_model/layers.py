"""The layers of a Keras model by their paths, and the kernels that patterns apply to.

A path holds the names of the nested models around a layer too: `"backbone/stem/conv1"`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras

from edgeprune.core.terms import LAYER_KINDS

Model = Any
"""A `keras.Model`; Keras ships no type information."""
Layer = Any
"""A `keras.layers.Layer`."""


@dataclass(frozen=True, eq=False)
class LayerMap:
    """A model with its layers, each once, by the first path that reaches it.

    It is made once for a model and handed on; layers are shared with the model, not copied.
    """

    model: Model
    layers: Mapping[str, Layer]
    """By path, in the order of the model, nested models opened."""
    kernels: Mapping[str, Any]
    """The `keras.Variable` that patterns apply to, of those layers that have one; by path."""
    paths: Mapping[int, str]
    """Path by the `id` of a layer."""

    def path_of(self, layer: Layer) -> str | None:
        """The path of a layer; None if it is not one of the model's own."""
        return self.paths.get(id(layer))


def map_layers(model: Model) -> LayerMap:
    """Lists the layers of a model.

    Args:
      model: a Keras model, built or not; the kernels of layers that are not built are left out.
    """
    paths: dict[int, str] = {}
    layers: dict[str, Layer] = {}
    for path, layer in _walk(model):
        if paths.setdefault(id(layer), path) == path:
            layers[path] = layer
    found = ((path, kernel_variable(layer)) for path, layer in layers.items())
    kernels = {path: kernel for path, kernel in found if kernel is not None}
    return LayerMap(
        model, MappingProxyType(layers), MappingProxyType(kernels), MappingProxyType(paths)
    )


def _walk(model: Model, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yields `(path, layer)` in the order of the model, a shared layer under each of its paths."""
    for layer in model.layers:
        path = f"{prefix}{layer.name}"
        if is_model(layer):
            yield from _walk(layer, f"{path}/")
        else:
            yield path, layer


def kernel_variable(layer: Layer) -> Any:
    """The `keras.Variable` that patterns apply to: the kernel; of a separable layer the pointwise.

    None for a layer that is not built, or whose kind has no device matrix.
    """
    kind = type(layer).__name__
    if kind not in LAYER_KINDS or not layer.built:
        return None
    return layer.pointwise_kernel if kind.startswith("Separable") else layer.kernel


def layers_inside(layer: Layer) -> list[Layer]:
    """Every layer within a model or layer, however deep and in whatever attribute; itself first."""
    return list(layer._flatten_layers())


def layers_with_masks(model: Model) -> list[Layer]:
    """The layers of a model that hold masks while they train, known by their `masked_kernels`."""
    return [layer for layer in layers_inside(model) if hasattr(layer, "masked_kernels")]


def can_rebuild(model: Model) -> bool:
    """Whether a model is Sequential (built or not) or Functional, rather than subclassed."""
    return isinstance(model, keras.Sequential) or has_graph(model)


def is_model(layer: Layer) -> bool:
    """Whether a layer is itself a model, whose layers are listed one by one."""
    return isinstance(layer, keras.Model)


def has_graph(model: Model) -> bool:
    """Whether Keras knows how the layers of a model are connected (not so if it is subclassed)."""
    return bool(getattr(model, "outputs", None))


def functional(model: Model) -> Model:
    """The functional model that holds the graph of a model with one; Sequential wraps it."""
    return model._functional if isinstance(model, keras.Sequential) else model
