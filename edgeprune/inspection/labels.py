"""Whether samples have labels by which accuracy can be told, before any work is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprune.core.data import Data, Ports
from edgeprune.core.errors import DataError
from edgeprune.core.sources import Table
from edgeprune.inspection.accuracy import class_labels


def no_labels(data: Any) -> DataError:
    """The error of a limit of accuracy that nothing can judge.

    Args:
      data: the samples as they were given, which a path names.
    """
    subject = str(data) if isinstance(data, str | Path) else "data"
    return DataError(
        f"{subject}: a lowest accuracy or a largest drop needs labelled samples that the model was "
        "not trained on. Expected x_test and y_test in the data, or --validation-data with labels. "
        "Received: no labels. Add them, or leave out --max-drop and --min-accuracy."
    )


def require_classes(test: Data | Table, ports: Ports, remedy: str) -> None:
    """Checks that accuracy can be told: one output with scores, and labels that name one.

    Args:
      test: labelled samples.
      ports: what the model takes and gives.
      remedy: a sentence that says how to go on with other models and labels.

    Raises:
      DataError: it cannot.
    """
    if ports.scores is None:
        raise DataError(
            "Accuracy needs a model with one output [n, classes]. Received: "
            f"{', '.join(ports.outputs)} of another form. {remedy}"
        )
    try:
        labels = class_labels(test.y)
    except DataError as error:
        raise DataError(f"{error} {remedy}") from error
    classes = max(2, ports.scores)
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"Expected labels from 0 to {classes - 1}, since the model has {ports.scores} outputs. "
            f"Received: {labels.min()} to {labels.max()}. {remedy}"
        )
