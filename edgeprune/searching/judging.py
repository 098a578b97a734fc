"""How good a file is on both halves of the labelled samples, beside the dense float model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgeprune.core.data import spread
from edgeprune.core.errors import DataError
from edgeprune.inspection.accuracy import (
    EMULATED_SAMPLES,
    accuracy,
    interval,
    model_accuracy,
)
from edgeprune.inspection.input_order import in_file_order
from edgeprune.inspection.metric import metric_of_file, metric_of_model
from edgeprune.keras_model.interface import output_names
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.searching.candidate import HalfAccuracy
from edgeprune.searching.halves import Labelled
from edgeprune.searching.subject import Subject

EMULATED_OF_HALF = EMULATED_SAMPLES // 2
"""Samples of each half that a file in half precision runs on, evenly spread, the same for every
candidate: an emulated core takes about a third of a second for each, of the network of the accuracy
goals."""


@dataclass(frozen=True)
class Judged:
    """Accuracy, or a metric, on one half."""

    value: float
    samples: int
    runtime: str
    dense: float
    """The same of the dense float model on the same samples."""


@dataclass(frozen=True)
class Judge:
    """Judges the files of a search; what the dense model answers is found out once."""

    subject: Subject
    _dense: dict[tuple[int, int], float] = field(default_factory=dict)
    """By half and number of samples."""

    def of_file(self, path: Path, profile: DeviceProfile, *, both: bool) -> HalfAccuracy | None:
        """How good a file is, in the real runtime; None where there are no labels.

        Args:
          path: the file.
          profile: the device on the route of the file.
          both: whether it is reported too, or only selected by.

        Raises:
          EdgepruneError: as `accuracy`, or as the metric.
        """
        if self.subject.selecting is None:
            return None
        selected = self._of_half(path, profile, 0)
        reported = self._of_half(path, profile, 1) if both else None
        return self._joined(selected, reported)

    def of_dense(self) -> HalfAccuracy | None:
        """How good the dense float model is, in Keras; None where there are no labels.

        Raises:
          DataError: as `of_file`.
        """
        if self.subject.selecting is None:
            return None
        first, second = map(self._dense_half, (0, 1))
        return self._joined(first, second)

    def _dense_half(self, which: int) -> Judged:
        samples = len(self._half(which))
        value = self._dense_on(which, samples)
        return Judged(value, samples, "Keras", value)

    def _joined(self, selected: Judged, reported: Judged | None) -> HalfAccuracy:
        bounds = None
        if reported is not None and self.subject.metric is None:
            bounds = interval(reported.value, reported.samples)
        return HalfAccuracy(
            selected_on=selected.value,
            reported_on=reported.value if reported else None,
            ci95=bounds,
            samples=(selected.samples, reported.samples if reported else 0),
            runtime=selected.runtime,
            dense=(selected.dense, reported.dense if reported else None),
        )

    def _half(self, which: int) -> Labelled:
        half = self.subject.reporting if which else self.subject.selecting
        if half is None:
            raise DataError("Expected labelled samples. Received: none.")
        return half

    def _of_half(self, path: Path, profile: DeviceProfile, which: int) -> Judged:
        half, metric = self._half(which), self.subject.metric
        ordered = in_file_order(self.subject.model, path)
        if metric is None:
            plain = accuracy(path, profile, half, ordered, samples=EMULATED_OF_HALF)
            value, samples, runtime = plain.value, plain.samples, plain.runtime
        else:
            names = output_names(self.subject.model)
            found = metric_of_file(
                metric,
                path,
                profile,
                half,
                ordered,
                names=names,
                samples=EMULATED_OF_HALF,
            )
            value, samples, runtime = found.value, found.samples, found.runtime
        return Judged(value, samples, runtime, self._dense_on(which, samples))

    def _dense_on(self, which: int, samples: int) -> float:
        """How good the dense model is on as many samples of a half as a file ran on."""
        key = (which, samples)
        if key not in self._dense:
            self._dense[key] = self._asked_dense(self._half(which), samples)
        return self._dense[key]

    def _asked_dense(self, half: Labelled, samples: int) -> float:
        metric, model = self.subject.metric, self.subject.model
        same = half if samples == len(half) else half.only(spread(len(half), samples))
        if metric is not None:
            return metric_of_model(metric, model, same).value
        return model_accuracy(model, same).value
