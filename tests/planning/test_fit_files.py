"""Channels removed of a quantized .tflite file until it fits a device, in the real instruments."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.conversion.convert import export
from edgeprune.core.errors import CheckError
from edgeprune.planning.fit import fit_plan
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.pruning.carry_out import prune
from edgeprune.targets.measuring import measure
from tests.support.quantized_networks import quantized_net


def with_limits(name: str, **most: int) -> DeviceProfile:
    """A device with so many bytes of each memory."""
    profile = load_profile(name)
    limits = {
        f"{memory}_bytes": getattr(profile.limits, f"{memory}_bytes").model_copy(
            update={"value": value}
        )
        for memory, value in most.items()
    }
    return profile.model_copy(update={"limits": profile.limits.model_copy(update=limits)})


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cortex-m-tflm", "ethos-u55"])
def test_what_is_exported_of_a_quantized_file_is_within_the_flash_that_was_fitted(
    device: str, tmp_path: Path
) -> None:
    path = quantized_net(tmp_path / "m.tflite", width=1024)
    roomy = with_limits(device, flash=10**7)
    dense = fit_plan(path, roomy)
    assert not dense.plan.pruned
    room = int(0.7 * dense.needs[0].value)
    small = with_limits(device, flash=room)
    found = fit_plan(path, small)
    assert found.ok
    assert found.needs[0].value > 0.5 * room
    saved = prune(path, found.plan).save(tmp_path / "p.tflite").path
    made = export(saved, small, tmp_path / "out.tflite", plan=found.plan).artifact.path
    (measured,) = measure([made], small)
    assert measured.memory.get("flash_bytes", measured.size_bytes) <= room


@pytest.mark.slow
def test_a_file_that_the_device_does_not_run_is_named_and_not_the_one_made_of_it(
    tmp_path: Path,
) -> None:
    path = quantized_net(tmp_path / "old.tflite", "uint8")
    with pytest.raises(CheckError, match=r"old\.tflite: --fit measures.*TFLite Micro does not run"):
        fit_plan(path, with_limits("cortex-m-tflm", flash=1000))
