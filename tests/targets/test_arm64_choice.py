"""Which emulator runs what, by what is set up; nothing here starts one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.core.errors import TargetError
from edgeprune.core.runtime import Runtime
from edgeprune.core.terms import CORE_FEATURES, CORE_SINCE_QEMU, Core
from edgeprune.inspection.validate_file import validate
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.arm64_emulated import ARM64_EMULATED, ready
from edgeprune.targets.arm64_emulated.choose import (
    emulator_of,
    find_runtime,
    installed_runtimes,
    listed_runtimes,
)
from edgeprune.targets.arm64_emulated.emulator import cached_emulator
from edgeprune.targets.arm64_emulated.latest import LatestEmulator, cached_latest
from edgeprune.targets.arm64_emulated.llvm_mca import LlvmMca
from edgeprune.targets.measuring import measure, readiness_for, targets_for
from edgeprune.targets.missing import not_measured
from tests.support.profiles import profile_on_core
from tests.support.stand_in_emulators import (
    LATEST_LITERT,
    LITERT,
    TFLITE_RUNTIME,
    pretend_first_emulator,
    pretend_latest_emulator,
)
from tests.support.tiny_tflite import fully_connected

assert sys.platform == "linux"

BOTH = (TFLITE_RUNTIME, LITERT)
ALL = (*BOTH, LATEST_LITERT)
OLD_CORES = ("cortex-a35", "cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "neoverse-n1")
NEW_CORES: tuple[Core, ...] = ("cortex-a710", "neoverse-v1", "neoverse-n2")
COMMAND = r"Run: edgeprune targets install arm64-emulated --latest$"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives every test a cache folder of its own, and no llvm-mca."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ready, "find_llvm_mca", lambda: None)


@pytest.fixture
def first() -> None:
    pretend_first_emulator()


@pytest.fixture
def latest() -> None:
    pretend_first_emulator()
    pretend_latest_emulator()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return fully_connected(tmp_path / "m.tflite", np.ones((8, 16), np.float32))


def test_every_core_is_known_to_one_of_the_emulators() -> None:
    assert set(get_args(Core)) == {*OLD_CORES, *NEW_CORES}
    assert set(CORE_SINCE_QEMU) == set(NEW_CORES)
    assert all(since <= (10, 0) for since in CORE_SINCE_QEMU.values())


def test_the_newer_cores_multiply_int8_matrices_and_the_older_ones_do_not() -> None:
    able = {core for core, features in CORE_FEATURES.items() if "int8-matrix" in features}
    assert able == set(NEW_CORES)
    assert CORE_FEATURES["cortex-a76"] == {"dot-product", "fp16-arithmetic"}
    assert "cortex-a72" not in CORE_FEATURES


@pytest.mark.usefixtures("latest")
@pytest.mark.parametrize("core", [*OLD_CORES, *NEW_CORES])
@pytest.mark.parametrize("runtime", ALL)
def test_the_first_emulator_runs_what_it_can_and_the_newer_one_the_rest(
    core: Core, runtime: Runtime
) -> None:
    chosen = emulator_of(runtime, core)
    newer = runtime == LATEST_LITERT or core in NEW_CORES
    assert isinstance(chosen, LatestEmulator) == newer
    command = chosen.emulated(core, Path("log")).command
    assert command[0] == str(cached_latest().qemu if newer else cached_emulator().qemu)
    assert command[command.index("-cpu") + 1] == core
    shown = runtime == LATEST_LITERT
    root = cached_latest().parts if shown else cached_emulator().folder
    assert command[command.index("-L") + 1] == str(root / "root")
    (path,) = (part for part in command if part.startswith("PYTHONPATH="))
    own = str(cached_latest().site(LATEST_LITERT))
    assert path.startswith(f"PYTHONPATH={own}:") == (runtime == LATEST_LITERT)
    assert path.endswith(str(cached_emulator().folder / "site"))


@pytest.mark.usefixtures("first")
def test_without_the_newer_emulator_its_command_is_named(tmp_path: Path, model: Path) -> None:
    assert emulator_of(LITERT, "cortex-a72") == cached_emulator()
    with pytest.raises(TargetError, match=f"core cortex-a710 needs the newer .* {COMMAND}"):
        emulator_of(LITERT, "cortex-a710")
    with pytest.raises(TargetError, match=f"LiteRT 2.3.0 needs the newer .* {COMMAND}"):
        emulator_of(LATEST_LITERT, "cortex-a76")
    with pytest.raises(TargetError, match=f"LiteRT 2.3.0 is not installed. {COMMAND}"):
        measure([model], "xnnpack-arm64", runtime="LiteRT==2.3.0")
    with pytest.raises(TargetError, match=f"core neoverse-n2 needs .* {COMMAND}"):
        measure([model], profile_on_core(tmp_path / "own.toml", "neoverse-n2"))


@pytest.mark.usefixtures("first")
def test_the_command_line_ends_with_2_and_the_command(tmp_path: Path, model: Path) -> None:
    def said(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["measure", str(model), *arguments], terminal_width=500)
        assert (done.exit_code, done.stdout) == (2, "")
        return " ".join(done.stderr.split())

    command = "edgeprune targets install arm64-emulated --latest"
    assert command in said("--device", str(profile_on_core(tmp_path / "own.toml", "neoverse-v1")))
    assert command in said("--device", "xnnpack-arm64", "--runtime", "LiteRT==2.3.0")
    other = said("--device", "xnnpack-arm64", "--runtime", "LiteRT==9.9")
    assert "has these runtimes: tflite-runtime 2.14.0, LiteRT 2.1.6, LiteRT 2.3.0" in other
    assert "LiteRT==9.9" in other
    assert "expected a version behind ==" in said(
        "--device", "xnnpack-arm64", "--runtime", "LiteRT=="
    )
    assert "is not one of" in said("--device", "xnnpack-arm64", "--runtime", "LiteRD==2.3.0")


@pytest.mark.usefixtures("first")
def test_a_sparse_file_is_not_proven_on_a_core_that_is_not_emulated(tmp_path: Path) -> None:
    from tests.targets.test_arm64_emulated import sparse_net

    verdict = validate(
        sparse_net(tmp_path / "s.tflite"), profile_on_core(tmp_path / "own.toml", "cortex-a710")
    )
    assert verdict.ok
    message = verdict.checks[-1].message
    assert "not proven on ARM64" in message
    assert message.endswith("edgeprune targets install arm64-emulated --latest")


@pytest.mark.usefixtures("first")
def test_the_first_emulator_alone_is_ready_and_says_nothing_of_the_other() -> None:
    assert installed_runtimes() == BOTH
    assert ARM64_EMULATED.readiness().detail == (
        "tflite-runtime 2.14.0, LiteRT 2.1.6 under QEMU 7.2.22"
    )


@pytest.mark.usefixtures("latest")
def test_both_emulators_are_ready_with_what_each_runs() -> None:
    assert installed_runtimes() == ALL
    assert ARM64_EMULATED.readiness().detail == (
        "tflite-runtime 2.14.0, LiteRT 2.1.6 under QEMU 7.2.22; "
        "LiteRT 2.3.0 and newer cores under QEMU 10.0.13"
    )


@pytest.mark.usefixtures("first")
def test_what_models_cycles_is_named_or_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without = ARM64_EMULATED.readiness()
    assert without.ready
    assert without.remedy == (
        "for modelled cycles: apt-get install --no-install-recommends llvm-19"
    )
    llvm = LlvmMca(Path("llvm-mca"), Path("llvm-mc"), "19.1.7")
    monkeypatch.setattr(ready, "find_llvm_mca", lambda: llvm)
    found = ARM64_EMULATED.readiness()
    assert found.detail == f"{without.detail}; modelled cycles by llvm-mca 19.1.7"
    assert found.remedy == ""


def test_the_newer_emulator_alone_is_not_ready() -> None:
    pretend_latest_emulator()
    assert installed_runtimes() == ()
    assert not ARM64_EMULATED.readiness().ready


def test_the_default_is_the_first_that_the_device_lists_and_that_is_installed() -> None:
    assert find_runtime(BOTH, BOTH) == TFLITE_RUNTIME
    assert find_runtime(ALL, (LATEST_LITERT, LITERT)) == LATEST_LITERT
    assert find_runtime(BOTH, (LATEST_LITERT, LITERT)) == LITERT
    assert find_runtime(ALL, (LATEST_LITERT,), "LiteRT") == LATEST_LITERT
    assert find_runtime(ALL, (TFLITE_RUNTIME,), "LiteRT") == LITERT
    assert find_runtime(ALL, BOTH, "LiteRT", "2.3.0") == LATEST_LITERT
    with pytest.raises(TargetError, match=r"Received: TensorFlow\.$"):
        find_runtime(ALL, BOTH, "TensorFlow")


def test_a_listed_version_that_is_not_installed_is_the_first_under_its_name() -> None:
    assert listed_runtimes(BOTH, (*BOTH, LATEST_LITERT)) == BOTH
    assert listed_runtimes(ALL, (*BOTH, LATEST_LITERT)) == ALL
    assert listed_runtimes(ALL, (Runtime("LiteRT", "2.2.0"),)) == (LITERT,)
    assert listed_runtimes(ALL, (Runtime("TFLM", "1"),)) == ()


@pytest.mark.usefixtures("latest")
def test_the_runtimes_of_a_device_are_those_that_it_lists() -> None:
    assert ARM64_EMULATED.runtimes(load_profile("xnnpack-arm64"))[:2] == BOTH


def test_only_what_has_a_newer_version_takes_latest() -> None:
    done = CliRunner().invoke(cli, ["targets", "install", "host", "--latest"], terminal_width=500)
    assert done.exit_code == 2
    assert "Those that have a newer one: arm64-emulated." in " ".join(done.stderr.split())
    done = CliRunner().invoke(cli, ["targets", "install", "hots", "--latest"], terminal_width=500)
    assert done.exit_code == 2
    assert "host" in done.stderr


def test_a_target_with_one_version_of_a_runtime_refuses_another(model: Path) -> None:
    with pytest.raises(TargetError, match=r"Target 'host' has LiteRT .* Received: LiteRT==1\.0\."):
        measure([model], "xnnpack-x86", target="host", runtime="LiteRT==1.0")


def test_a_core_that_nothing_emulates_yet_is_not_ready_and_says_what_adds_it() -> None:
    old, new = load_profile("raspberry-pi-4"), load_profile("android-phone-2023")
    assert readiness_for("arm64-emulated", old).remedy == "edgeprune targets install arm64-emulated"
    state = readiness_for("arm64-emulated", new)
    assert not state.ready
    assert state.detail.startswith("not set up for cortex-a710, which")
    pretend_first_emulator()
    assert readiness_for("arm64-emulated", old).ready
    state = readiness_for("arm64-emulated", new)
    assert (state.ready, state.installs) == (False, "")
    command = "edgeprune targets install arm64-emulated --latest"
    assert state.remedy == command
    said = f"arm64-emulated is set up without cortex-a710, which `{command}` adds"
    assert not_measured(new) == said
    assert targets_for((), new) == ()
    assert targets_for((), old) == ("arm64-emulated",)
    pretend_latest_emulator()
    assert readiness_for("arm64-emulated", new).ready
    assert targets_for((), new) == ("arm64-emulated",)
