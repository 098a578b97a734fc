"""What the worker says of the machine it is on, from systems' files as boards have them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeprune.targets import host
from edgeprune.targets.child import WORKER
from edgeprune.targets.worker import (
    cpu_name,
    describe_machine,
    governor,
    hottest,
    machine,
    set_affinity,
    stack,
    temperature,
)
from tests.support.runtimes import RUNTIMES

RASPBERRY_PI_4 = {
    "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\n"
    "CPU part\t: 0xd08\n\nprocessor\t: 1\nCPU part\t: 0xd08\n\nRevision\t: c03114\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48199\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpufreq/boost": "0\n",
}
"""Source: the files of such a board under Linux 6.1, by their documented formats."""


def system(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_outputs_are_joined_along_the_axis_of_samples() -> None:
    assert stack([np.zeros((1, 3)), np.ones((1, 3))]).shape == (2, 3)
    assert stack([np.zeros((4, 3)), np.ones((4, 3))]).shape == (2, 4, 3)
    assert stack([np.zeros((2, 3)), np.ones((5, 3))]).shape == (7, 3)
    np.testing.assert_array_equal(stack([np.float32(1), np.float32(2)]), [1, 2])
    words = stack([np.array([[b"a", b"bc"]], object), np.array([[b"d", b""]], object)])
    assert words.tolist() == [[b"a", b"bc"], [b"d", b""]]
    assert words.dtype.kind == "S"


def test_a_raspberry_pi_says_what_it_is(tmp_path: Path) -> None:
    root = system(tmp_path, RASPBERRY_PI_4)
    found = machine(root)
    assert found["board"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert found["cpu"] == "Cortex-A72"
    assert found["governor"] == "ondemand"
    assert temperature(root) == 48.199


def test_a_phone_chip_names_both_kinds_of_cores(tmp_path: Path) -> None:
    text = "CPU part\t: 0xd05\nCPU part\t: 0xd41\nCPU part\t: 0xfff\n"
    name = cpu_name(system(tmp_path, {"proc/cpuinfo": text}))
    assert name == "Cortex-A55 and Cortex-A78 and ARM part 0xfff"


def test_what_the_system_hides_is_none(tmp_path: Path) -> None:
    assert governor(tmp_path) is None
    assert temperature(tmp_path) is None
    assert machine(tmp_path)["board"] is None
    assert cpu_name(tmp_path)


def test_the_processors_zone_counts_before_hotter_others() -> None:
    zones = [("battery", "60000"), ("cpu-0", "45000"), ("soc_thermal", "47000"), ("gpu", "")]
    assert hottest(zones) == 47
    assert hottest([("acpitz", "30000"), ("acpitz", "32000")]) == 32
    assert hottest([("cpu", "not readable")]) is None


@pytest.mark.linux
def test_affinity_binds_the_process_and_refuses_processors_that_are_not_there() -> None:
    """In a child process, since it is the process's own."""
    code = (
        "import os, runpy, sys\n"
        f"worker = runpy.run_path({str(WORKER)!r})\n"
        "known = sorted(os.sched_getaffinity(0))\n"
        "assert worker['set_affinity'](None) == known\n"
        "assert worker['set_affinity'](known[:1]) == known[:1] == sorted(os.sched_getaffinity(0))\n"
        "print(known[0])\n"
        "worker['set_affinity']([4095])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    first = done.stdout.strip()
    assert f"affinity: expected some of [{first}]. Received: [4095]." in done.stderr


def test_a_system_without_affinity_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert set_affinity([]) is None
    with pytest.raises(ValueError, match="a system that binds"):
        set_affinity([0])


def test_every_runtime_that_is_installed_is_found() -> None:
    found = describe_machine()["runtimes"]
    assert tuple(found) == (*RUNTIMES, "TensorFlow")
    for name, version in host.installed_runtimes().items():
        assert found[name] == version


def test_host_emulator_and_boards_run_one_worker() -> None:
    """Nothing but the worker imports a runtime."""
    folder = WORKER.parent
    places = [folder / "host.py", folder / "timing.py", folder / "child.py"]
    places += [*(folder / "arm64_emulated").glob("*.py"), *(folder / "ssh").glob("*.py")]
    for path in places:
        imported = [
            f"{node.module}.{name.name}" if isinstance(node, ast.ImportFrom) else name.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in node.names
        ]
        runtimes = ("tflite_runtime", "ai_edge_litert.interpreter")
        assert not any(name.startswith(runtimes) for name in imported)
        assert "import_module" not in path.read_text()
