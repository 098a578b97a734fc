"""Converts a Keras model by TensorFlow's converter, with a batch of 1 and the model's own names."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from edgeprune.conversion.converter import Conversion, convert_in_child, convert_saved_model
from edgeprune.conversion.int8.quantize import quantize, quantize_in_child
from edgeprune.conversion.int8.ranges import Ranges
from edgeprune.conversion.obstacles import cause, require_convertible
from edgeprune.conversion.table_ids import file_inputs
from edgeprune.core.arrays import Array
from edgeprune.core.data import InputSpec, signature_name
from edgeprune.core.errors import ModelError
from edgeprune.core.terms import Numerics
from edgeprune.core.work_note import working
from edgeprune.keras_model.calls import read_calls
from edgeprune.keras_model.converter_copy import for_converter
from edgeprune.keras_model.interface import infer, input_specs, output_names
from edgeprune.keras_model.layers import Model
from edgeprune.profiles.profile import DeviceProfile

MAX_CALIBRATION_SAMPLES = 256
"""Samples run to find the range of every activation; more take time and change little."""
_MADE_BY = f"the TensorFlow {tf.__version__} converter"


def convert(
    model: Model,
    profile: DeviceProfile,
    numerics: Numerics,
    *,
    isolated: bool = False,
    lengths: Sequence[int] = (),
) -> bytes:
    """Converts with the settings that the device's runtimes need; returns the file's bytes.

    Args:
      model: a built Keras model with fixed input sizes.
      profile: the device.
      numerics: number format. For int8 this is the float32 file that `quantize` makes one of: its
        recurrent layers are unrolled, and inputs that choose rows of a table are int32.
      isolated: as for `export`.
      lengths: of the first axis of each input, where that is not a batch of 1.

    Raises:
      ModelError: as `export`.
    """
    require_convertible(model, numerics)
    inputs = file_inputs(model, numerics)
    written: Numerics = "float32" if numerics == "int8" else numerics
    conversion = Conversion(written, profile.per_channel_dense)
    ready = for_converter(model, unroll=numerics == "int8")
    with tempfile.TemporaryDirectory() as name, _refusals(model, numerics):
        _save_with_signature(model, ready, name, inputs, lengths or [1] * len(inputs))
        run = convert_in_child if isolated else convert_saved_model
        return run(Path(name), conversion)


def quantized(
    model: Model,
    profile: DeviceProfile,
    floating: bytes,
    ranges: Ranges,
    *,
    samples: Mapping[str, Array] | None = None,
    isolated: bool = False,
) -> bytes:
    """The int8 file of a float file that `convert` made, see `quantize`.

    Raises:
      ModelError: TensorFlow's quantizer does not take it.
    """
    given = [(floating, ranges)]
    return quantized_all(model, profile, given, samples=samples, isolated=isolated)[0]


def quantized_all(
    model: Model,
    profile: DeviceProfile,
    files: Sequence[tuple[bytes, Ranges]],
    *,
    samples: Mapping[str, Array] | None = None,
    isolated: bool = False,
) -> list[bytes]:
    """The int8 files of several float files with their ranges, as `quantized`."""
    dense = profile.per_channel_dense
    with _refusals(model, "int8"):
        if isolated:
            return quantize_in_child(files, per_channel_dense=dense, samples=samples)
        return [quantize(*each, per_channel_dense=dense, samples=samples) for each in files]


def calibration(model: Model, x: Sequence[Array]) -> dict[str, Array]:
    """Calibration samples `[n, ...]` by the input's name in the signature of an int8 file.

    They are spread over the whole array, since data may be sorted by class.
    """
    count = min(len(x[0]), MAX_CALIBRATION_SAMPLES)
    rows = np.linspace(0, len(x[0]) - 1, count).astype(int)
    return {
        signature_name(spec.name): array[rows].astype(spec.dtype)
        for spec, array in zip(file_inputs(model, "int8"), x, strict=True)
    }


@contextlib.contextmanager
def _refusals(model: Model, numerics: Numerics) -> Iterator[None]:
    """Names the model and the cause where TensorFlow refuses to convert."""
    with working(f"{_MADE_BY} made {numerics} of {model.name}"):
        try:
            yield
        except Exception as error:
            raise ModelError(
                f"{model.name}: {_MADE_BY} does not take this model ({cause(error)}). Replace the "
                "layer it names by one that TFLite has."
            ) from error


def _save_with_signature(
    model: Model,
    ready: Model,
    folder: str,
    inputs: Sequence[InputSpec],
    lengths: Sequence[int],
) -> None:
    """Saves `ready` as a SavedModel whose signature has the model's names, and these batches."""
    specs = [
        tf.TensorSpec((length, *spec.shape), spec.dtype, name=signature_name(spec.name))
        for length, spec in zip(lengths, inputs, strict=True)
    ]
    names = [signature_name(name) for name in output_names(model)]
    changed = [spec.dtype for spec in inputs] != [spec.dtype for spec in input_specs(model)]
    # Keras would cast what goes into a model to the dtype of its input; its calls take it as it is.
    graph = read_calls(ready) if changed else None

    def serve(*given: Any) -> dict[str, Any]:
        made = (
            infer(ready, list(given))
            if graph is None
            else graph.apply(given, lambda call, values: call.run(values))
        )
        return dict(zip(names, made, strict=True))

    module = tf.Module()
    module.variables_of_model = [variable.value for variable in ready.variables]
    module.serve = tf.function(serve, input_signature=specs)
    tf.saved_model.save(module, folder, signatures=module.serve)
