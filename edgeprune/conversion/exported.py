"""What `export` gives back."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.conversion.int8.mend import Mended
from edgeprune.conversion.trained_ranges import TrainedRanges
from edgeprune.core.files import Artifact
from edgeprune.core.terms import Numerics
from edgeprune.targets.tflm.packing import Packed
from edgeprune.tflite.rewrites import Rewritten
from edgeprune.tflite.storage_plan import TensorPlan


@dataclass(frozen=True)
class Exported:
    """The file that `export` wrote, and how it is stored."""

    artifact: Artifact
    numerics: Numerics
    tensors: tuple[TensorPlan, ...]
    """How each weight is stored, and why."""
    network: Rewritten
    """Whether the whole network runs on sparse kernels, and the rewrites applied for that."""
    warnings: tuple[str, ...]
    """Sentences for the user."""
    unproven: tuple[str, ...] = ()
    """Sentences on the device's runtimes that are not here, in which the file was not tried."""
    trained_ranges: TrainedRanges | None = None
    """The ranges of quantisation-aware training that an int8 file has; None without."""
    mended: Mended | None = None
    """What was done to an int8 file beyond what TensorFlow's quantizer does; None for other number
    formats, and for a file that is made for its cost alone."""
    packed: Packed | None = None
    """What packing did, on a route that packs weights; None on the others."""

    @property
    def sparse(self) -> tuple[TensorPlan, ...]:
        """The weights that are stored sparsely."""
        return tuple(tensor for tensor in self.tensors if tensor.storage != "dense")
