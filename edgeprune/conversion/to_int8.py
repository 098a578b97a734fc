"""Makes the int8 file of a model out of its float file and calibration samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeprune.conversion.check_written import layer_of
from edgeprune.conversion.from_keras import quantized_all
from edgeprune.conversion.int8.candidates import Candidate, Kind, float_files
from edgeprune.conversion.int8.measure import COUNTED, Measured, measure
from edgeprune.conversion.int8.mend import Mended, mend
from edgeprune.conversion.int8.ranges import Ranges
from edgeprune.conversion.one_hot import requantize_one_hot
from edgeprune.conversion.same_padding import write_out_padding
from edgeprune.core.arrays import Array
from edgeprune.core.errors import ModelError
from edgeprune.keras_model.layers import Model, map_layers
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.targets.child import WorkerError
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.draft import Draft


@dataclass(frozen=True, eq=False)
class Int8Maker:
    """What the int8 file of a model is made of.

    `floating` is the float file that `from_keras.convert` makes for int8, `samples` are calibration
    data `[n, ...]` by the input's name in the signature, and `path` is what drafts name.
    """

    model: Model
    profile: DeviceProfile
    floating: bytes
    samples: Mapping[str, Array]
    path: Path
    isolated: bool

    def plain(self) -> tuple[Draft, None]:
        """The file as TensorFlow's quantizer makes it, by the extremes of the samples.

        Raises:
          ModelError: the float file does not run, gives values that are not finite, or is refused.
        """
        extremes = self._measured(counted=0).extremes
        return self._candidates({"extremes": (self.floating, extremes)})[0].draft, None

    def nearest(self) -> tuple[Draft, Mended]:
        """The file that is mended where that brings its outputs nearer to the model; and how.

        Raises:
          ModelError: as `plain`.
        """
        files = float_files(self.floating, self._measured(counted=COUNTED))
        draft, done = mend(self._candidates(files), self.samples)
        paths = tuple(map_layers(self.model).layers)
        named = (replace(row, layer=layer_of(row.layer, paths)) for row in done.noise)
        return draft, replace(done, noise=tuple(named))

    def _measured(self, counted: int) -> Measured:
        try:
            measured = measure(self.floating, self.samples, counted=counted)
        except WorkerError as error:
            raise ModelError(
                f"{self.model.name}: expected a float file that LiteRT runs on the calibration "
                f"data, for the ranges of int8. Received: {error}. Export it with --numerics "
                "float32 and look at that file with `edgeprune inspect`."
            ) from error
        ranges = measured.extremes.items()
        odd = [name for name, found in ranges if not np.isfinite([found.low, found.high]).all()]
        if odd:
            raise ModelError(
                f"{self.model.name}: expected finite values on the calibration data, for the "
                f"ranges of int8. Received: some that are not, first in '{odd[0]}'. Look for "
                "layers that divide by zero or overflow, and for very large inputs."
            )
        return measured

    def _candidates(self, files: Mapping[Kind, tuple[bytes, Ranges]]) -> list[Candidate]:
        """The int8 files by several float files and ranges, in their order."""
        contents = quantized_all(
            self.model,
            self.profile,
            list(files.values()),
            samples=self.samples,
            isolated=self.isolated,
        )
        pairs = zip(files.items(), contents, strict=True)
        return [
            Candidate(kind, floating, ready(content, self.path))
            for (kind, (floating, _)), content in pairs
        ]


def ready(content: bytes, path: Path) -> Draft:
    """A converted file with what TensorFlow's converter leaves wrong put right."""
    return write_out_padding(requantize_one_hot(tflite_draft.from_bytes(content, path)))
