"""The C++ files of an export: the file itself, or what Arm's compiler makes of it for an NPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.errors import CheckError, TargetError
from edgeprune.targets.tflm.packing import measured_arena
from edgeprune.targets.vela.target import compile_beside
from edgeprune.tflite.c_array import CArray, write_c_array
from edgeprune.tflite.firmware_arena import planned_arena
from edgeprune.tflite.format.file import read

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile


def write_firmware_array(model: Path, profile: DeviceProfile) -> tuple[CArray, tuple[str, ...]]:
    """Writes the file that firmware for a device links in as C++ source beside a .tflite file.

    Where Arm's compiler compiles for the device, that is its output, which is kept as a file too;
    else the file itself, with what TensorFlow Lite Micro needs where it runs the device.

    Returns:
      what was written, and warnings: that the compiler could not be asked, or refused the file,
      whose array then runs on the microcontroller alone.

    Raises:
      CheckError: TensorFlow Lite Micro does not run the file.
      OutputError: a file cannot be written.
    """
    if profile.vela is not None:
        return _compiled_array(model, profile)
    if profile.tflm is None:
        return write_c_array(model), ()
    return write_c_array(model, measured_arena(model) or planned_arena(read(model))), ()


def _compiled_array(model: Path, profile: DeviceProfile) -> tuple[CArray, tuple[str, ...]]:
    try:
        compiled = compile_beside(model, profile)
    except (CheckError, TargetError) as error:
        made = write_c_array(model)
        return made, (
            f"{made.source} and {made.header} hold {model.name} as it is, not compiled for the "
            f"NPU, which then computes nothing: {error}",
        )
    return write_c_array(model, planned_arena(read(compiled)), compiled), ()
