"""A runtime that has an environment of its own, as where edgeprune's Python has no wheel of it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.conversion.convert import export
from edgeprune.core import runtime
from edgeprune.core.errors import TargetError
from edgeprune.inspection.validate_file import validate
from edgeprune.profiles.profile import load_profile
from edgeprune.targets import host, own_environment
from edgeprune.targets.checks import Check, Verdict
from edgeprune.targets.host import HOST, installed_runtimes
from edgeprune.targets.measuring import measure
from edgeprune.targets.own_environment import OWN_ENVIRONMENTS, RECORD, OwnEnvironment
from edgeprune.tflite.format import file as tflite_file
from tests.support.architectures import build
from tests.support.tiny_tflite import fully_connected

assert sys.platform == "linux"

REFERENCE = OWN_ENVIRONMENTS["tflite-runtime"]
WEIGHTS = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
COMMAND = "edgeprune targets install tflite-runtime"


@pytest.fixture
def without_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has edgeprune's own Python lack the reference, as Python 3.13 does; yields the cache."""
    known = runtime.installed_version

    def installed_version(package: str) -> str | None:
        return None if package == REFERENCE.runtime else known(package)

    for module in (own_environment, host):
        monkeypatch.setattr(module, "installed_version", installed_version)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def stand_in_environment(folder: Path) -> None:
    """An environment whose Python is this one, and whose runtime is LiteRT by another name."""
    site = folder / "site"
    (site / "tflite_runtime").mkdir(parents=True)
    (site / "tflite_runtime/__init__.py").write_text("")
    (site / "tflite_runtime/interpreter.py").write_text("from ai_edge_litert.interpreter import *")
    (site / "tflite_runtime-2.14.0.dist-info").mkdir()
    (site / "tflite_runtime-2.14.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: tflite-runtime\nVersion: 2.14.0\n"
    )
    # Without the first argument, -I, by which a Python ignores PYTHONPATH.
    program(folder / "bin/python", f'shift\nPYTHONPATH={site} exec {sys.executable} "$@"')
    (folder / RECORD).write_text("{}")


@pytest.mark.usefixtures("without_reference")
def test_without_the_reference_litert_does_the_work_of_every_device() -> None:
    assert list(installed_runtimes()) == ["LiteRT"]
    assert HOST.runtimes(load_profile("xnnpack-arm64")) == ("LiteRT",)
    assert HOST.runtimes(load_profile("edge-tpu")) == ("LiteRT",)
    state = HOST.readiness()
    assert state.ready
    assert state.detail.startswith(f"LiteRT {installed_runtimes()['LiteRT']} on ")
    assert state.detail.endswith("; without tflite-runtime 2.14.0")
    assert state.remedy == COMMAND


@pytest.mark.usefixtures("without_reference")
@pytest.mark.parametrize("device", ["xnnpack-arm64", "xnnpack-x86"])
def test_a_missing_reference_is_one_line_of_a_verdict_that_passes(
    tmp_path: Path, device: str
) -> None:
    verdict = validate(fully_connected(tmp_path / "m.tflite", WEIGHTS), device)
    assert verdict.ok
    assert verdict.ran
    (said,) = [check for check in verdict.checks if "not proven" in check.message]
    assert said.name == "runs (tflite-runtime)"
    assert said.value is None
    assert said.message == (
        "not proven on tflite-runtime 2.14.0, which is not installed here. To try it there: "
        f"{COMMAND}"
    )
    assert any(check.name.startswith("runs (LiteRT ") for check in verdict.checks)


def test_a_file_of_which_it_is_only_said_that_it_was_not_tried_did_not_run() -> None:
    untried = Check("runs (tflite-runtime)", True, None, None, "not proven", kind="runs")
    failed = Check("runs (LiteRT)", False, "no kernel", "runs", "no kernel", kind="runs")
    assert not Verdict("m.tflite", "xnnpack-x86", (untried, failed)).ran
    ran = Check("runs (LiteRT)", True, "runs", "runs", "4 inferences ended well", kind="runs")
    assert Verdict("m.tflite", "xnnpack-x86", (untried, ran)).ran


@pytest.mark.slow
@pytest.mark.usefixtures("without_reference")
def test_measuring_goes_on_with_litert_and_names_what_adds_the_reference(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    with pytest.raises(TargetError, match=f"Received: tflite-runtime.*{COMMAND}"):
        measure([path], "xnnpack-x86", runtime="tflite-runtime")
    (found,) = measure([path], "xnnpack-x86")
    assert found.runtime == f"LiteRT {installed_runtimes()['LiteRT']}"


@pytest.mark.slow
def test_a_runtime_in_its_environment_runs_files_like_any_other(
    tmp_path: Path, without_reference: Path
) -> None:
    stand_in_environment(REFERENCE.folder)
    assert REFERENCE.folder == without_reference / "edgeprune/tflite-runtime-2.14.0"
    assert next(iter(installed_runtimes().items())) == ("tflite-runtime", "2.14.0")
    assert HOST.readiness().detail.startswith(
        "tflite-runtime 2.14.0 (in an environment of its own), LiteRT "
    )
    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    x = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    reply = HOST.run(tflite_file.read(path), [x], "tflite-runtime")
    np.testing.assert_allclose(reply.outputs[0], x @ WEIGHTS.T, rtol=1e-5, atol=1e-5)
    assert reply.facts["runtime"] == "tflite-runtime 2.14.0"
    verdict = validate(path, "xnnpack-arm64")
    assert verdict.ok
    assert "runs (tflite-runtime 2.14.0)" in [check.name for check in verdict.checks]
    assert not any("not installed here" in check.message for check in verdict.checks)
    (found,) = measure([path], "edge-tpu", target="host")
    assert found.runtime == "tflite-runtime 2.14.0"


def test_an_environment_whose_python_was_removed_is_not_there(without_reference: Path) -> None:
    stand_in_environment(REFERENCE.folder)
    assert REFERENCE.readiness().ready
    (REFERENCE.folder / "bin/python").unlink()
    (REFERENCE.folder / "bin/python").symlink_to(without_reference / "gone")
    assert not REFERENCE.readiness().ready
    assert list(installed_runtimes()) == ["LiteRT"]


def other_pythons(*versions: tuple[int, int]) -> OwnEnvironment:
    return replace(REFERENCE, runtime="other", pythons=versions)


def test_a_python_is_looked_for_along_the_whole_path_past_shims_that_start_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = "echo '[\"{}\", {}, {}]'"
    folders = [tmp_path / name for name in ("shims", "other", "old", "right")]
    program(folders[0] / "python3.98", 'echo "pyenv: python3.98: command not found" >&2; exit 127')
    program(folders[1] / "python3.98", says.format("PyPy", 3, 98))
    program(folders[2] / "python3.98", says.format("CPython", 3, 9))
    wanted = program(folders[3] / "python3.98", says.format("CPython", 3, 98))
    monkeypatch.setenv("PATH", ":".join([*map(str, folders), "/usr/bin", "/bin"]))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    environment = other_pythons((3, 99), (3, 98))
    assert environment.find_python() == wanted
    for patch in (2, 10):
        program(
            tmp_path / f"pyenv/versions/3.99.{patch}/bin/python3.99", says.format("CPython", 3, 99)
        )
    assert environment.find_python() == tmp_path / "pyenv/versions/3.99.10/bin/python3.99"


@pytest.mark.usefixtures("without_reference")
def test_without_a_python_that_fits_it_says_what_to_install() -> None:
    with pytest.raises(TargetError, match=r"Python 3\.99 or 3\.98\. Received: none .*apt-get"):
        other_pythons((3, 99), (3, 98)).install(lambda *_: None)


def test_on_a_computer_without_wheels_it_says_so() -> None:
    elsewhere = replace(other_pythons((3, 11)), system="plan9")
    assert elsewhere.readiness().remedy == ""
    with pytest.raises(TargetError, match=r"wheels for plan9 .*Everything works without it"):
        elsewhere.install(lambda *_: None)


@pytest.mark.usefixtures("without_reference")
def test_where_no_wheel_exists_nothing_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    verdict = validate(fully_connected(tmp_path / "m.tflite", WEIGHTS), "xnnpack-x86")
    (said,) = [check.message for check in verdict.checks if "not proven" in check.message]
    assert said.endswith("which is not installed here. No wheel fits this computer")
    assert verdict.ok
    assert HOST.readiness().remedy == ""
    done = CliRunner().invoke(cli, ["targets", "install", "tflite-runtime"])
    assert done.exit_code == 2
    with pytest.raises(TargetError, match="Received: tflite-runtime. No wheel of it fits"):
        measure([tmp_path / "m.tflite"], "xnnpack-x86", runtime="tflite-runtime")


def test_an_installation_that_fails_leaves_nothing_that_looks_finished(
    without_reference: Path,
) -> None:
    broken = replace(other_pythons(sys.version_info[:2]), requirements=("no such requirement",))
    with pytest.raises(TargetError, match=r"other: .*exit code 1, .*Run again: edgeprune targets"):
        broken.install(lambda *_: None)
    assert not broken.readiness().ready
    assert [path.name for path in (without_reference / "edgeprune").iterdir()] == ["other.lock"]


def test_a_name_that_is_misspelt_gets_the_closest_one() -> None:
    done = CliRunner().invoke(cli, ["targets", "install", "tflite-runtim"])
    assert done.exit_code == 2
    assert "Did you mean 'tflite-runtime'?" in done.output


@pytest.mark.slow
@pytest.mark.usefixtures("without_reference")
def test_an_export_says_where_it_was_not_tried(tmp_path: Path) -> None:
    exported = export(build("mlp"), "xnnpack-x86", tmp_path / "m.tflite")
    (said,) = exported.unproven
    assert said.startswith("not proven on tflite-runtime 2.14.0, ")
    assert said not in exported.warnings


@pytest.mark.slow
def test_the_reference_is_installed_into_the_cache_and_computes_there(
    tmp_path: Path, without_reference: Path
) -> None:
    told: list[str] = []
    REFERENCE.install(lambda step, *_: told.append(step))
    assert told[-1] == "installing tflite-runtime==2.14.0, numpy>=1.26,<2"
    record = json.loads((REFERENCE.folder / RECORD).read_text())
    assert record["tflite-runtime"] == "2.14.0"
    assert record["numpy"].startswith("1.26.")
    assert record["python"].rpartition(".")[0] in {"3.10", "3.11"}
    names = {path.name for path in (without_reference / "edgeprune").iterdir()}
    assert names == {"tflite-runtime-2.14.0", "tflite-runtime.lock"}
    REFERENCE.install(lambda *_: pytest.fail("it was there already"))

    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    x = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    reply = HOST.run(tflite_file.read(path), [x], "tflite-runtime")
    np.testing.assert_allclose(reply.outputs[0], x @ WEIGHTS.T, rtol=1e-5, atol=1e-5)
    assert reply.facts["runtime"] == "tflite-runtime 2.14.0"
    assert reply.facts["machine"]["python"] == record["python"]
    code = "import tflite_runtime, sys; print(tflite_runtime.__file__)"
    done = subprocess.run(
        [*REFERENCE.launcher().command, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(REFERENCE.folder))
