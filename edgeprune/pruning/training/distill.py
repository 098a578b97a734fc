"""Distillation: a pruned model learns from the outputs of the dense one, with labels or without.

For class probabilities or logits the loss is the divergence of the softened distributions,

    T^2 * KL(softmax(teacher / T) || softmax(student / T))

(Hinton, Vinyals and Dean, 2015, arXiv:1503.02531, section 2). Any other output is compared by its
mean squared error, relative to the variance of the teacher's output in the batch.

No gradient leads through an island of a .tflite file. What lies before one learns from the values
that reach it, compared as outputs that are no classes are; with any weight of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import keras

from edgeprune.conversion.lift.parts import before_islands, learning_outputs
from edgeprune.core.errors import InputError
from edgeprune.keras_model.interface import softmax_ends
from edgeprune.keras_model.layers import Model
from edgeprune.pruning.training.losses import Losses, loss_of_each, own_losses

OutputKind: TypeAlias = Literal["logits", "probabilities", "values"]
"""What an output of a model holds."""

_TINY = 1e-7
"""Keeps logarithms and quotients finite."""


@dataclass(frozen=True)
class Distillation:
    """The weight of the distillation loss, and its temperature.

    Raises:
      InputError: a weight outside [0, 1], or a temperature that is not positive and finite.
    """

    weight: float = 0.5
    """Weight of the distillation loss; the loss over labels has the rest. 0 uses no teacher."""
    temperature: float = 2.0
    """Divides logits, which softens the distributions."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise InputError(
                f"`distillation`: expected a weight from 0 to 1. Received: {self.weight}."
            )
        if not 0 < self.temperature < float("inf"):
            raise InputError(
                f"`distillation`: the temperature must be positive. Received: {self.temperature}."
            )


class Distilled(keras.Model):  # type: ignore[misc]  # Keras has no types
    """Trains a student on its own loss and on a teacher's outputs for the same batch.

    Batches without labels use the teacher alone, and do not update the metrics.

    Args:
      student: the model to train; not copied.
      teacher: a model with outputs of the same shapes; not trained, saved or listed as a layer.
      kinds: the kind of each output.
      distillation: weight and temperature.
    """

    def __init__(
        self,
        student: Model,
        teacher: Model,
        kinds: tuple[OutputKind, ...],
        distillation: Distillation,
    ) -> None:
        super().__init__(name=student.name)
        self.student = student
        names = getattr(student, "output_names", None)
        if names:
            # Losses and metrics may be given by output name.
            self.output_names = names
        # Keras would track a teacher in an attribute as a layer; in a closure it does not.
        self._ask = _teacher_function(teacher)
        self._kinds = kinds
        self._distillation = distillation
        reached = before_islands(student)
        self._watched = _Watched(student, reached) if reached else None
        self._ask_parts = _teacher_function(_reaching(teacher)) if reached else None
        # What an island gives counts by what reaches it.
        self._counted = learning_outputs(student) if reached else None
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Calls the student."""
        if self._watched is not None:
            return self._watched.call(inputs, training)
        return self.student(inputs, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The student's loss mixed with the distance to the teacher, a scalar."""
        weight = self._distillation.weight
        distance = self._distance(x, y_pred) if weight or y is None else 0.0
        parts = self._distance_of_parts(x)
        if y is None:
            return distance + parts + sum(self.losses)
        own = super().compute_loss(x, y, y_pred, sample_weight, training)
        return (1 - weight) * own + weight * distance + parts

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Updates the metrics with a batch; without labels they stay as they are."""
        if y is None:
            return self.get_metrics_result()
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self) -> dict[str, Any]:
        """The loss, and the metrics that were updated with labels."""
        found: dict[str, Any] = {}
        for metric in self.metrics:
            # The metrics of `compile` are built with the first labels.
            if getattr(metric, "built", True):
                result = metric.result()
                found.update(result if isinstance(result, dict) else {metric.name: result})
        return found

    def _distance(self, x: Any, y_pred: Any) -> Any:
        wanted = keras.tree.flatten(self._ask(x))
        given = keras.tree.flatten(y_pred)
        # The number of outputs of a subclassed model is not known before it is called.
        unknown: tuple[OutputKind, ...] = tuple("values" for _ in given)
        kinds = self._kinds if len(self._kinds) == len(given) else unknown
        parts = [
            output_distance(teacher, student, kind, self._distillation.temperature)
            for teacher, student, kind, counted in zip(
                wanted, given, kinds, self._counted or [True] * len(given), strict=True
            )
            if counted
        ]
        return sum(parts) / max(len(parts), 1)

    def _distance_of_parts(self, x: Any) -> Any:
        """The mean distance of what reaches islands, in the student's last call."""
        if self._watched is None or self._ask_parts is None:
            return 0.0
        pairs = zip(keras.tree.flatten(self._ask_parts(x)), self._watched.reached(), strict=True)
        parts = [output_distance(teacher, student, "values", 1.0) for teacher, student in pairs]
        return sum(parts) / len(parts)


class _Watched:
    """A student whose values before islands are kept while it is called.

    Args:
      student: the model.
      reached: its symbolic tensors that reach islands.
    """

    def __init__(self, student: Model, reached: list[Any]) -> None:
        self._structure = student.output
        outputs = keras.tree.flatten(student.output)
        self._outputs = len(outputs)
        self._model = keras.Model(student.input, [*outputs, *reached])
        self._last: list[Any] = []

    def call(self, inputs: Any, training: bool | None) -> Any:
        """What the student gives."""
        made = self._model(inputs, training=training)
        self._last = list(made[self._outputs :])
        return keras.tree.pack_sequence_as(self._structure, made[: self._outputs])

    def reached(self) -> list[Any]:
        """What reached the islands in the last call."""
        return self._last


def _reaching(teacher: Model) -> Model:
    return keras.Model(teacher.input, before_islands(teacher))


def _teacher_function(teacher: Model) -> Callable[[Any], Any]:
    def ask(x: Any) -> Any:
        answer = teacher(x, training=False)
        return keras.tree.map_structure(keras.ops.stop_gradient, answer)

    return ask


def output_distance(teacher: Any, student: Any, kind: OutputKind, temperature: float) -> Any:
    """The distance of one output of the student from the teacher's, a scalar, the batch's mean.

    Args:
      teacher: tensor `[n, ..., classes]`, or of any shape if it holds values.
      student: tensor of the same shape.
      kind: what both hold.
      temperature: softens distributions; not used for values.
    """
    teacher = keras.ops.cast(teacher, "float32")
    student = keras.ops.cast(student, "float32")
    if kind == "values":
        spread = keras.ops.var(teacher) + _TINY
        return keras.ops.mean(keras.ops.square(teacher - student)) / spread
    if kind == "probabilities":
        teacher, student = (
            keras.ops.log(keras.ops.clip(given, _TINY, 1.0)) for given in (teacher, student)
        )
    wanted = keras.ops.log_softmax(teacher / temperature)
    given = keras.ops.log_softmax(student / temperature)
    divergence = keras.ops.sum(keras.ops.exp(wanted) * (wanted - given), axis=-1)
    return temperature**2 * keras.ops.mean(divergence)


def output_kinds(model: Model, loss: Losses | None = None) -> tuple[OutputKind, ...]:
    """The kinds of a model's outputs, in its order.

    The output of a softmax holds probabilities. Others hold logits if the model is trained with a
    categorical loss, or is not compiled and has one output `[n, classes]`, whose default loss is
    such a one; anything else holds values.

    Args:
      model: compiled or not.
      loss: what replaces its own, if anything does.
    """
    ends = softmax_ends(model)
    losses = _class_losses(model, loss, len(ends))
    return tuple(
        "probabilities" if softmax else "logits" if classes else "values"
        for softmax, classes in zip(ends, losses, strict=True)
    )


def _class_losses(model: Model, loss: Losses | None, outputs: int) -> list[bool]:
    """Whether each output is trained with a categorical loss."""
    if loss is None and not model.compiled:
        return [outputs == 1] * outputs
    found = own_losses(model) if loss is None else loss_of_each(loss, outputs)
    return list(map(_over_classes, found))


def _over_classes(loss: Any) -> bool:
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    return "categorical" in str(name).lower()
