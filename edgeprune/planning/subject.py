"""What is planned within a cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeprune.core.data import Data
from edgeprune.core.plan import LayerInfo, Plan
from edgeprune.core.progress import Progress
from edgeprune.core.terms import Allocation
from edgeprune.keras_model.layers import LayerMap
from edgeprune.planning.converted import Converted
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.channels.plan_removal import ChannelRules


@dataclass(frozen=True)
class Subject:
    """A model to be planned within a cost, on a route of a device."""

    mapped: LayerMap
    changed: LayerMap
    """The model with the padding and activations of the plan."""
    file: Converted
    """That one as a float32 file."""
    layers: Sequence[LayerInfo]
    profile: DeviceProfile
    """Narrowed to the route."""
    samples: Data | None
    allocation: Allocation | None
    """How zeros are spread; by the losses on samples, else by the weights, if None."""
    rules: ChannelRules
    at: Callable[[float | None], Plan]
    """The plan by the rules of the route at a sparsity; at its default if None."""
    progress: Progress
