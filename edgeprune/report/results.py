"""A device's report as JSON that reads back whole, for the next run on the same output folder."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgeprune.core.files import Artifact
from edgeprune.report.device_report import DeviceReport
from edgeprune.targets.measurement import Measurement


@cache
def _adapter() -> TypeAdapter[DeviceReport]:
    return TypeAdapter(DeviceReport)


def to_content(report: DeviceReport) -> Any:
    """Everything that a report holds, as JSON has it; `from_content` reads it back."""
    return _adapter().dump_python(report, mode="json")


def from_content(content: Any, folder: Path, model: str) -> DeviceReport | None:
    """The report, for files that may have moved with their folder, and a model that may have.

    Args:
      content: as `to_content` made it.
      folder: where the files are now.
      model: the model's path as it is given now.

    Returns:
      None if the content is not that of a report.
    """
    try:
        report = _adapter().validate_python(content)
    except ValidationError:
        return None
    return replace(
        report,
        plan=report.plan.model_copy(update={"model": model}) if report.plan else None,
        artifact=moved_artifact(report.artifact, folder),
        dense_artifact=moved_artifact(report.dense_artifact, folder),
        verdict=report.verdict
        and replace(report.verdict, model=_moved(report.verdict.model, folder)),
        dense=tuple(moved_measurement(found, folder) for found in report.dense),
        pruned=tuple(moved_measurement(found, folder) for found in report.pruned),
    )


def _moved(path: str, folder: Path) -> str:
    return str(folder / Path(path).name)


def moved_artifact(artifact: Artifact | None, folder: Path) -> Artifact | None:
    """A file that may have moved with its folder."""
    return artifact and replace(artifact, path=folder / artifact.path.name)


def moved_measurement(found: Measurement, folder: Path) -> Measurement:
    """The measurement of a file that may have moved with its folder."""
    artifact = None if found.artifact is None else _moved(found.artifact, folder)
    return replace(found, model=_moved(found.model, folder), artifact=artifact)
