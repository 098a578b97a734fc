"""What a plan changes in a model's function before anything is pruned: padding and activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeprune.core.plan import ActivationPlan, PaddingPlan
from edgeprune.core.terms import Activation
from edgeprune.keras_model.activations import find_activations, replace_activations
from edgeprune.keras_model.layers import LayerMap, Model, map_layers
from edgeprune.keras_model.padding import find_asymmetric, make_symmetric
from edgeprune.profiles.profile import DeviceProfile


@dataclass(frozen=True)
class Changes:
    """What changes, and the model with that done; the model itself if nothing does."""

    padding: tuple[PaddingPlan, ...]
    activation: tuple[ActivationPlan, ...]
    mapped: LayerMap

    @property
    def model(self) -> Model:
        """The model with that done."""
        return self.mapped.model


def change_functions(
    mapped: LayerMap,
    profile: DeviceProfile,
    padding: Literal["keep", "symmetric"],
    activation: Activation,
) -> Changes:
    """Finds what the options for padding and activations change in a model, on a copy of it.

    Args:
      mapped: a built Keras model; not changed.
      profile: the device; padding changes only where one of its routes wants that.
      padding: as for `plan`.
      activation: as for `plan`.
    """
    wanted = profile.symmetric_padding or any(r.symmetric_padding for r in profile.offered)
    rows = find_asymmetric(mapped) if padding == "symmetric" and wanted else ()
    replaced = find_activations(mapped, activation) if activation != "keep" else ()
    changed = mapped
    if replaced:
        changed = map_layers(replace_activations(mapped.model, replaced))
    if rows:
        changed = map_layers(make_symmetric(changed.model, rows))
    return Changes(tuple(rows), tuple(replaced), changed)
