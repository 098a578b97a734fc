"""The activation that many operators end with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import keras

from edgeprune.conversion.lift.site import BlockedError, KerasTensor, Site, quantized, span_of

_NAMES: Mapping[int, str | None] = {0: None, 1: "relu", 2: "hard_tanh", 3: "relu6"}
"""LiteRT leaves the others of the schema (tanh, the sign bit) out without a word."""
_LIMITS: Mapping[str | None, tuple[float, float]] = {
    None: (-math.inf, math.inf),
    "relu": (0.0, math.inf),
    "hard_tanh": (-1.0, 1.0),
    "relu6": (0.0, 6.0),
}

_ENDED = frozenset(
    (
        *("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"),
        *("ADD", "SUB", "MUL", "DIV"),
    )
)
"""Operators of which a quantized output may be all that says how they end."""


def activation_of(site: Site) -> str | None:
    """The name that Keras has for an operator's activation; None for none.

    Where the operator names none, its quantized output may stand for it: what holds values from 0
    to 6 is the result of a ReLU6.

    Raises:
      BlockedError: it is one that runtimes do not compute.
    """
    code = getattr(site.options, "fusedActivationFunction", 0)
    if code not in _NAMES:
        raise BlockedError(f"runtimes have no fused activation of kind {code}")
    return "relu6" if code == 0 and _holds_relu6(site) else _NAMES[code]


def _holds_relu6(site: Site) -> bool:
    tensor = site.building.subgraph.tensors[site.operator.outputs[0]]
    if site.operator.op not in _ENDED or not quantized(tensor):
        return False
    pairs = zip(span_of(tensor), _LIMITS["relu6"], strict=True)
    return all(abs(end - limit) <= tensor.scales[0] / 2 for end, limit in pairs)


def limits_of(site: Site) -> tuple[float, float]:
    """Between what an operator's activation leaves values as they are."""
    return _LIMITS[activation_of(site)]


def activated(site: Site, made: KerasTensor) -> KerasTensor:
    """Applies the activation by a layer of its own, where the operator has one."""
    name = activation_of(site)
    if name is None:
        return made
    suffix = site.new_name("activation")
    if name in ("relu", "relu6"):
        return site.apply(keras.layers.ReLU({"relu6": 6.0}.get(name), name=suffix), made)
    return site.apply(keras.layers.Activation(name, name=suffix), made)
