"""Whether a training is quantisation-aware, and what goes before and after it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from edgeprune.conversion.from_keras import MAX_CALIBRATION_SAMPLES
from edgeprune.conversion.trained_ranges import attach_ranges
from edgeprune.core.arrays import Array
from edgeprune.core.data import Data
from edgeprune.core.errors import InputError, ModelError, ProfileError, QualityWarning
from edgeprune.core.plan import Plan
from edgeprune.core.spelling import with_article
from edgeprune.keras_model.copies import compile_as
from edgeprune.keras_model.interface import own_training
from edgeprune.keras_model.layers import Model, can_rebuild, layers_inside, map_layers
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.pruning.training.callbacks import Logs
from edgeprune.pruning.training.quantized.file_grid import FileGrid
from edgeprune.pruning.training.quantized.model import QuantizedModel
from edgeprune.pruning.training.quantized.points import FilePoints, find_points
from edgeprune.targets.child import WorkerError


@dataclass(frozen=True, eq=False)
class Awareness:
    """A model in training that computes as its int8 file, and what it needs afterwards."""

    student: QuantizedModel
    profile: DeviceProfile
    points: FilePoints | None
    """None where a given file has the ranges, which stay."""
    x: Sequence[Array]

    def measure(self) -> None:
        """Measures the ranges of the student as it is now, unless they are given."""
        if self.points is None:
            return
        self.student.measure([array[:MAX_CALIBRATION_SAMPLES] for array in self.x])

    def finish(self, trained: Model) -> None:
        """Gives the trained plain model its ranges, in place, unless its file has them."""
        if self.points is None:
            return
        now = np.asarray(self.student.ranges)
        attach_ranges(trained, *self.points.ranges_in_file(trained, self.profile, self.x, now))


def try_aware(
    wrapped: Model,
    plain: Model,
    profile: DeviceProfile | None,
    known: Data | None,
    asked: bool | None,
    grid: FileGrid | None = None,
) -> Awareness | None:
    """Makes a wrapped model compute as its int8 file does; None where that is not to be.

    Args:
      wrapped: the model in pruning wrappers, as training starts from it; not copied.
      plain: the same model with dense weights; it tells which values the file rounds.
      profile: what `aware_profile` gave.
      known: samples to calibrate by; None if they can be read only once.
      asked: what `Training.quantize_aware` says.
      grid: of the quantized file that the model was lifted from; None for all others.

    Raises:
      ModelError: it is asked for, and there is no int8 file to compute as.

    Warns:
      QualityWarning: there is none, and training goes on without.
    """
    if profile is None:
        return None
    if grid is not None:
        rounded = QuantizedModel(
            wrapped, *grid.points(plain), per_channel_dense=grid.per_channel_dense
        )
        compile_as(rounded, wrapped)
        return Awareness(rounded, profile, None, ())
    if known is None:
        _not_aware(asked, plain, "its samples can be read only once")
        return None
    try:
        points = find_points(plain, profile, known.x)
    except (ModelError, WorkerError) as error:
        _not_aware(asked, plain, f"there is no int8 file to compute as ({error})")
        return None
    student = QuantizedModel(
        wrapped,
        points.points,
        points.fixed_ranges(),
        per_channel_dense=profile.per_channel_dense,
    )
    compile_as(student, wrapped)
    aware = Awareness(student, profile, points, known.x)
    aware.measure()
    return aware


class MeasureRanges(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Measures the ranges of a student in training before each epoch is judged.

    Args:
      aware: the student and its samples.
      validated: whether epochs are judged by validation data, else by the loss of training.
    """

    def __init__(self, aware: Awareness, *, validated: bool) -> None:
        super().__init__()
        self._aware = aware
        self._validated = validated

    def on_test_begin(self, logs: Logs = None) -> None:
        """Measures them for the validation at the end of an epoch."""
        del logs
        if self._validated:
            self._aware.measure()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Measures them for the weights that are kept."""
        del epoch, logs
        if not self._validated:
            self._aware.measure()


def aware_profile(
    model: Model,
    plan: Plan,
    asked: bool | None,
    device: DeviceProfile | None = None,
    *,
    quantized_file: bool = False,
) -> DeviceProfile | None:
    """The device for which a training is quantisation-aware; None where it is not.

    Args:
      model: the model to be trained.
      plan: what is carried out.
      asked: what `Training.quantize_aware` says.
      device: the plan's device, where it is known; else it is found by its name.
      quantized_file: whether the model was lifted from a quantized file, which stays one whatever
        the route.

    Raises:
      InputError: it is asked for, on a route that is not int8.
      ModelError: the model has recurrent layers, or cannot be followed though it is asked for.

    Warns:
      QualityWarning: training on an int8 route cannot be quantisation-aware.
    """
    if asked is False:
        return None
    try:
        profile = (device or load_profile(plan.device)).on(plan.route)
    except ProfileError as error:
        if asked or plan.numerics == "int8":
            _not_aware(asked, model, f"the profile of '{plan.device}' is not found ({error})")
        return None
    if (plan.numerics or profile.numerics) != "int8" and not quantized_file:
        if asked:
            raise InputError(
                "Quantisation-aware training: expected a route whose number format is int8. "
                f"Received: route '{profile.route.name}' of {profile.name}, in {profile.numerics}. "
                "Leave out --quantize-aware (`quantize_aware`), or choose an int8 route."
            )
        return None
    _require_no_loops(model)
    if not can_rebuild(model):
        _not_aware(asked, model, f"Keras knows no graph of {with_article(type(model).__name__)}")
        return None
    own = own_training(model)
    if own:
        _not_aware(asked, model, f"it trains by its own {' and '.join(own)}")
        return None
    return profile


def _require_no_loops(model: Model) -> None:
    for path, layer in map_layers(model).layers.items():
        if any(isinstance(inner, keras.layers.RNN) for inner in layers_inside(layer)):
            raise ModelError(
                f"{path}: quantisation-aware training expects layers whose values are tensors of "
                f"the int8 file. Received: {with_article(type(layer).__name__)}, whose steps over "
                "time each round a state that Keras does not show. Train with --no-quantize-aware "
                "(`quantize_aware=False`); `export` quantises it afterwards by --data."
            )


def _not_aware(asked: bool | None, model: Model, reason: str) -> None:
    if asked:
        raise ModelError(
            f"{model.name}: quantisation-aware training is not possible: {reason}. Make it a "
            "Functional model that `fit` trains, or leave out --quantize-aware (`quantize_aware`)."
        )
    warnings.warn(
        f"Training is not quantisation-aware, since {reason}. `export` quantises the model "
        "afterwards by --data.",
        QualityWarning,
        stacklevel=3,
    )
