"""The activation that many operators end with."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from edgeprune.conversion.lift.site import BlockedError, KerasTensor, Site

_NAMES: Mapping[int, str | None] = {0: None, 1: "relu", 2: "hard_tanh", 3: "relu6"}
"""LiteRT leaves the others of the schema (tanh, the sign bit) out without a word."""


def activation_name(code: int) -> str | None:
    """The name that Keras has for a fused activation; None for none.

    Raises:
      BlockedError: it is one that runtimes do not compute.
    """
    if code not in _NAMES:
        raise BlockedError(f"runtimes have no fused activation of kind {code}")
    return _NAMES[code]


def activated(site: Site, made: KerasTensor) -> KerasTensor:
    """Applies the fused activation by a layer of its own, where the operator has one."""
    name = activation_name(getattr(site.options, "fusedActivationFunction", 0))
    if name is None:
        return made
    suffix = site.new_name("activation")
    if name in ("relu", "relu6"):
        return site.apply(keras.layers.ReLU({"relu6": 6.0}.get(name), name=suffix), made)
    return site.apply(keras.layers.Activation(name, name=suffix), made)
