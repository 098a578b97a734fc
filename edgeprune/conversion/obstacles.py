"""What keeps a Keras model from being converted, in words that name the layer."""

from __future__ import annotations

import re

from edgeprune.core.errors import ModelError
from edgeprune.core.terms import Numerics
from edgeprune.keras_model.converter_copy import find_loops, require_stateless
from edgeprune.keras_model.interface import input_specs
from edgeprune.keras_model.layers import Layer, Model, layers_inside, layers_with_masks, map_layers

LONGEST_CAUSE = 300
"""Characters of TensorFlow's own message that an error repeats."""
_FLOAT_ONLY = {"Conv3D": "CONV_3D", "Conv3DTranspose": "CONV_3D_TRANSPOSE"}
"""Operators by kind of layer that TFLite's kernels compute in float only."""
_MISSING = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
_PLACE = re.compile(r'"([^"@]*/[^"@]*)@')
_LOCATION = re.compile(r"loc\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\):?\s*|<unknown>:\d+:\s*")


def require_convertible(model: Model, numerics: Numerics) -> None:
    """Checks what is known to keep a model from being converted.

    Raises:
      ModelError: a model that is wrapped, keeps a state, has an input without a fixed size, or a
        layer that TFLite cannot compute in this number format.
    """
    if layers_with_masks(model):
        raise ModelError(
            f"{model.name}: expected a plain model. Received: one that is still wrapped for "
            "pruning. Call edgeprune.strip_pruning(model) first."
        )
    for spec in input_specs(model):
        if None in spec.shape:
            raise ModelError(
                f"{model.name}: input '{spec.name}' has no fixed size. Received: "
                f"[n, {', '.join(str(size or 'any') for size in spec.shape)}]. Rebuild the model "
                "with the size that the device will see."
            )
    mapped = map_layers(model)
    require_stateless(mapped)
    for path, layer in mapped.layers.items():
        for inner in layers_inside(layer):
            _require_kernel(path, inner, numerics)


def _require_kernel(path: str, layer: Layer, numerics: Numerics) -> None:
    kind = type(layer).__name__
    if kind == "Conv3D" and layer.groups > 1:
        raise ModelError(
            f"{path}: expected a Conv3D without groups, since TFLite's CONV_3D has none. Received: "
            f"groups={layer.groups}. Use {layer.groups} Conv3D layers on slices of the channels, "
            "and a Concatenate."
        )
    if numerics == "int8" and kind in _FLOAT_ONLY:
        raise ModelError(
            f"{path}: expected layers that TFLite computes in int8. Received: a {kind}, whose "
            f"operator {_FLOAT_ONLY[kind]} has a float kernel only. Replace it by 2-D convolutions "
            "(each slice, then the slices joined), or choose a device or --numerics with float32."
        )


def unrolled_notes(model: Model, numerics: Numerics) -> tuple[str, ...]:
    """A sentence for each recurrent layer that is unrolled for the converter."""
    if numerics != "int8":
        return ()
    return tuple(
        f"{loop.path}: the {loop.kind} was unrolled, since TensorFlow's converter crashes on its "
        f"loop in int8; the file holds its operators {loop.steps or 'as many'} times."
        for loop in find_loops(map_layers(model))
    )


def cause(error: Exception) -> str:
    """What TensorFlow's converter complains about, without the locations that it puts first."""
    text = str(error)
    missing = {name: _place(line) for line in text.splitlines() for name in _MISSING.findall(line)}
    if missing:
        named = [f"{name}{f' in {place}' if place else ''}" for name, place in missing.items()]
        return f"TFLite has no operator for TensorFlow's {', '.join(named)}"
    lines = [" ".join(_LOCATION.sub("", line).split()) for line in text.splitlines()]
    said = [line for line in lines if line.strip(".: ")] or [type(error).__name__]
    errors = [line for line in said if line.startswith("error:")]
    found = (errors or said)[0].removeprefix("error:").strip()
    return found if len(found) <= LONGEST_CAUSE else f"{found[:LONGEST_CAUSE]}..."


def _place(line: str) -> str | None:
    """The scope of Keras' layers in a line's location: `model/layer` of `model/layer/Erfinv`."""
    found = _PLACE.search(line)
    return found[1].rpartition("/")[0] if found else None
