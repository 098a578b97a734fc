from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeprune
from edgeprune.core.errors import ProfileError, TargetError
from edgeprune.core.runtime import Runtime
from edgeprune.core.terms import Core
from edgeprune.inspection.validate_file import validate
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.arm64_emulated import ARM64_EMULATED, debian, target
from edgeprune.targets.arm64_emulated.emulator import (
    REQUIREMENTS,
    Emulator,
    cached_emulator,
)
from edgeprune.targets.arm64_emulated.install import unpack_wheels
from edgeprune.targets.child import WorkerError
from edgeprune.targets.commands import run_command
from edgeprune.targets.measuring import default_target, measure
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_sparsely import encode_file
from tests.support.gate_networks import FAMILY, ask_for_halves, save_sparse
from tests.support.profiles import profile_on_core
from tests.support.states import run_alone_and_in_a_row, run_stream
from tests.support.tflite_builder import dense_net, prune
from tests.support.tiny_tflite import fully_connected
from tests.targets.test_host import stand_in

assert sys.platform == "linux"

RUNTIMES = ("tflite-runtime", "LiteRT")
VERSIONS = ("tflite-runtime 2.14.0", "LiteRT 2.1.6")
WEIGHTS = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
NOBODY = 65534


def sparse_net(path: Path) -> Path:
    """A Dense layer stored sparsely behind DENSIFY."""
    weights = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    encode_file(dense_net(path, prune(weights, 0.9, (1, 1))), EncodingRules(), path)
    return path


def cut_sparse_net(path: Path) -> Path:
    """As TensorFlow's own route to sparse files writes it: a stem and three separable layers."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((32, 32, 3), batch_size=1)
    stem = layers.Conv2D(16, 3, 2, activation="relu")
    x = stem(layers.ZeroPadding2D(1)(inputs))
    for channels, stride in ((32, 1), (64, 2), (64, 1)):
        x = layers.DepthwiseConv2D(3, stride, padding="same", activation="relu")(x)
        x = layers.Conv2D(channels, 1, activation="relu")(x)
    outputs = layers.Dense(10)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D) and layer is not stem:
            kernel, bias = layer.get_weights()
            layer.set_weights([prune(kernel, 0.9, (1, 1, 1, 1)), bias])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    path.write_bytes(converter.convert())
    return path


@pytest.mark.parametrize("device", ["xnnpack-arm64", "arm-neon-int8"])
def test_what_is_not_installed_is_an_error_with_the_command(tmp_path: Path, device: str) -> None:
    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    command = "edgeprune targets install arm64-emulated"
    with pytest.raises(TargetError, match=command):
        measure([path], device, target="arm64-emulated")
    with pytest.raises(TargetError, match=command):
        ARM64_EMULATED.run(tflite_file.read(path), [WEIGHTS[:1]], "LiteRT")
    assert ARM64_EMULATED.runtimes(load_profile(device)) == ()
    assert default_target(load_profile(device)) is None


def test_another_system_is_told_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"ID": "fedora", "VERSION_ID": "41"}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: other)
    with pytest.raises(TargetError, match=r"Debian 12 on x86-64 or ARM64\. Received: fedora 41"):
        ARM64_EMULATED.install(lambda *_: None)
    assert "debian:12" in ARM64_EMULATED.readiness().remedy
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian"})
    with pytest.raises(TargetError, match="Received: debian on"):
        debian.require_machine()


def test_macos_is_told_that_linux_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_release() -> dict[str, str]:
        raise FileNotFoundError("/etc/os-release")

    monkeypatch.setattr(platform, "freedesktop_os_release", no_release)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(TargetError, match=r"needs Linux: .* Received: Darwin on arm64") as caught:
        ARM64_EMULATED.install(lambda *_: None)
    assert caught.value.exit_code == 2


def test_a_cache_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edgeprune").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(TargetError, match=r"a cache folder that can be written.*XDG_CACHE_HOME"):
        ARM64_EMULATED.install(lambda *_: None)


def test_a_program_that_fails_or_is_missing_says_what_to_do() -> None:
    with pytest.raises(TargetError, match=r"exit code 2, .*gone.* Try X\."):
        run_command("x", ["ls", "/gone"], "Try X.")
    with pytest.raises(TargetError, match=r"cannot be run .* Try X\."):
        run_command("x", ["no-such-program"], "Try X.")


def test_a_core_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"core.*cortex-a76"):
        load_profile(profile_on_core(tmp_path / "own.toml", "max"))


@pytest.mark.slow
def test_a_sparse_float_file_is_not_proven_without_the_emulator(tmp_path: Path) -> None:
    verdict = validate(sparse_net(tmp_path / "m.tflite"), "xnnpack-arm64")
    assert verdict.ok
    assert "not proven on ARM64" in verdict.checks[-1].message
    dense = validate(fully_connected(tmp_path / "d.tflite", WEIGHTS), "xnnpack-arm64")
    assert not any("not proven on ARM64" in check.message for check in dense.checks)


@pytest.mark.parametrize("core", ["cortex-a76", "cortex-a53"])
def test_a_runtime_that_skips_zeros_with_fp16_only_warns_of_other_cores(
    tmp_path: Path, core: Core
) -> None:
    graphs = [tflite_file.read(sparse_net(tmp_path / "m.tflite"))]
    (warning,) = target._warnings(graphs, Runtime("tflite-runtime", "2.14.0"), core)
    assert warning.startswith("tflite-runtime 2.14.0 ")
    assert core in warning
    assert warning.endswith("LiteRT skips zeros there too.")
    assert target._warnings(graphs, Runtime("LiteRT", "2.1.6"), core) == ()
    dense = [tflite_file.read(fully_connected(tmp_path / "d.tflite", WEIGHTS))]
    assert target._warnings(dense, Runtime("tflite-runtime", "2.14.0"), core) == ()


@pytest.mark.slow
@pytest.mark.usefixtures("emulator")
class TestEmulated:
    """What needs the emulator: it is set up once, and every guest takes two seconds to start."""

    def test_samples_follow_each_other_in_a_stream_and_nowhere_else(self, tmp_path: Path) -> None:
        def run(graph: tflite_file.Graph, x: list[Any]) -> Any:
            return ARM64_EMULATED.run(graph, x, "LiteRT").outputs[0]

        np.testing.assert_allclose(*run_alone_and_in_a_row(run, tmp_path), rtol=1e-6)
        np.testing.assert_allclose(*run_stream(run, tmp_path), atol=0.16)

    @pytest.mark.parametrize("runtime", RUNTIMES)
    def test_half_precision_breaks_a_sparse_network_and_encode_drops_it(
        self, tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        network = next(network for network in FAMILY if network.name == "base")
        dense = network.save(tmp_path / "dense")
        sparse = save_sparse(dense, tmp_path / "sparse")
        encode_file(
            ask_for_halves(dense, tmp_path / "halves"),
            EncodingRules(sparse_networks=True),
            tmp_path / "encoded",
        )
        x = [np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)]

        def answer(path: Path) -> Any:
            return ARM64_EMULATED.run(tflite_file.read(path), x, runtime).outputs[0]

        right = answer(dense)
        np.testing.assert_allclose(
            answer(tmp_path / "encoded"), right, rtol=0, atol=1e-5 * np.abs(right).max()
        )
        both = ask_for_halves(sparse, tmp_path / "both")
        if runtime == "LiteRT":
            # It reads behind its buffers, and mostly crashes; once it went on for ever.
            monkeypatch.setattr("edgeprune.targets.arm64_emulated.target._TIME_LIMIT_S", 60.0)
            with pytest.raises(WorkerError, match=r"crashed with SIG|did not end"):
                answer(both)
        else:
            assert np.isnan(answer(both)).any()

    @pytest.mark.parametrize("runtime", RUNTIMES)
    def test_outputs_are_those_of_numpy(self, tmp_path: Path, runtime: str) -> None:
        graph = tflite_file.read(fully_connected(tmp_path / "m.tflite", WEIGHTS))
        x = np.random.default_rng(1).normal(size=(3, 16)).astype(np.float32)
        for reply in (
            ARM64_EMULATED.run(graph, [x], runtime, delegates=runtime == "LiteRT"),
            ARM64_EMULATED.count(graph, [x], runtime),
        ):
            np.testing.assert_allclose(reply.outputs[0], x @ WEIGHTS.T, rtol=1e-5, atol=1e-5)
            version = VERSIONS[RUNTIMES.index(runtime)]
            assert reply.facts["runtime"] == f"{version} on emulated cortex-a76"

    @pytest.mark.parametrize("runtime", RUNTIMES)
    def test_counts_repeat_and_grow_with_the_work(self, tmp_path: Path, runtime: str) -> None:
        """256 x 256 against 512 x 512: four times the multiplications, all of them vector work."""
        small = fully_connected(tmp_path / "small.tflite", np.ones((256, 256)))
        large = fully_connected(tmp_path / "large.tflite", np.ones((512, 512)))
        first, again, other = measure([small, small, large], "xnnpack-arm64", runtime=runtime)
        assert first.instructions is not None
        assert again.instructions == pytest.approx(first.instructions, rel=1e-6)
        assert again.speedup is not None
        assert not again.speedup.significant
        assert other.speedup is not None
        assert other.speedup.significant
        assert other.speedup.median < 0.5
        assert str(other.speedup).endswith("x by instructions")
        vector = [m.instruction_classes["vector"] for m in (first, other)]
        assert vector[1] / vector[0] == pytest.approx(4, rel=0.02)
        assert sum(first.instruction_classes.values()) == first.instructions
        assert (first.target, first.simulated) == ("arm64-emulated", True)
        assert first.latency_ms is None
        assert "on emulated cortex-a76 (QEMU 7.2" in first.runtime
        assert first.to_json()["instructions"] == first.instructions

    def test_with_several_threads_all_of_them_count(self, tmp_path: Path) -> None:
        path = fully_connected(tmp_path / "m.tflite", np.ones((1024, 1024)))
        graph, x = tflite_file.read(path), [np.ones((1, 1024), np.float32)]
        one, two = (
            ARM64_EMULATED.count(graph, x, "LiteRT", threads=threads).facts for threads in (1, 2)
        )
        work = [facts["instruction_classes"]["vector"] for facts in (one, two)]
        assert work[1] == pytest.approx(work[0], rel=0.01)

    def test_a_core_without_fp16_arithmetic_comes_with_a_warning(self, tmp_path: Path) -> None:
        path = sparse_net(tmp_path / "m.tflite")
        profile = load_profile(profile_on_core(tmp_path / "own.toml", "cortex-a53"))
        (found,) = measure([path], profile)
        assert "emulated cortex-a53" in found.runtime
        assert "stays dense on cortex-a53" in found.warnings[0]
        (found,) = measure([path], "xnnpack-arm64")
        assert "cortex-a35, a53, a57, a72" in found.warnings[0]
        (found,) = measure([path], profile, runtime="LiteRT")
        assert found.warnings == ()

    def test_a_crash_in_the_guest_is_a_failed_check(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A module that reads at address 0 stands in for the runtime, in the emulated Python."""
        path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
        site = f"{stand_in(tmp_path, 'import ctypes; ctypes.string_at(0)')}:{site_folder()}"
        home = str(cached_emulator().folder / "root/usr")
        variables = {"PYTHONHOME": home, "PYTHONPATH": site}
        monkeypatch.setattr(Emulator, "_python_variables", lambda _: variables)
        failed = [c for c in validate(path, "xnnpack-arm64").checks if not c.ok]
        assert [c.name for c in failed] == ["runs (tflite-runtime on emulated cortex-a76)"]
        assert "crashed with SIGSEGV" in failed[0].message
        with pytest.raises(WorkerError, match=r"m\.tflite: .*cortex-a76: .*SIGSEGV"):
            measure([path], "xnnpack-arm64", target="arm64-emulated")

    def test_validate_compares_the_outputs_on_arm64(self, tmp_path: Path) -> None:
        path = sparse_net(tmp_path / "m.tflite")
        verdict = validate(path, "xnnpack-arm64")
        assert verdict.ok
        names = [check.name for check in verdict.checks]
        assert [f"outputs ({version} on emulated cortex-a76)" for version in VERSIONS] == [
            name for name in names if name.startswith("outputs")
        ]
        assert not any("not proven" in check.message for check in verdict.checks)
        other = dense_net(tmp_path / "other.tflite", np.ones((512, 512), np.float32))
        wrong = validate(path, "xnnpack-arm64", reference=other)
        failed = [check.name for check in wrong.checks if not check.ok]
        assert len([name for name in failed if "emulated" in name]) == 2

    def test_a_file_that_is_wrong_on_arm64_only_fails(self, tmp_path: Path) -> None:
        """A SAME-padded stride of 2 cuts XNNPACK's sparse mode in half: x86 does not show it."""
        path = cut_sparse_net(tmp_path / "m.tflite")
        verdict = validate(path, "xnnpack-arm64")
        failed = [check for check in verdict.checks if not check.ok]
        assert [check.name for check in failed] == [
            "sparse network",
            *(f"outputs ({version} on emulated cortex-a76)" for version in VERSIONS),
        ]
        errors = [check.value for check in failed[1:]]
        assert all(isinstance(error, float) and error > 0.1 for error in errors)

    def test_it_is_what_measures_the_device_once_it_is_there(self) -> None:
        assert default_target(load_profile("xnnpack-arm64")) == "arm64-emulated"
        assert default_target(load_profile("xnnpack-x86")) == "host"
        assert ARM64_EMULATED.readiness().ready
        record = json.loads((cached_emulator().folder / "versions.json").read_text())
        assert record["debian"]["qemu-user:amd64" if is_x86() else "qemu-user:arm64"]

    def test_the_command_of_an_arm64_machine_starts_the_same_python(self) -> None:
        """Its own loader runs the same files; here the emulator stands in for the processor."""
        here, there = cached_emulator().emulated("cortex-a76"), cached_emulator().native()
        emulate = here.command[: here.command.index(str(cached_emulator().python))]
        variables = [part for item in there.environment.items() for part in ("-E", "=".join(item))]
        program = "import platform, tflite_runtime.interpreter; print(platform.machine())"
        said = run_command(
            "x",
            [emulate[0], *variables, *there.command, "-c", program],
            "",
            environment=here.environment,
        )
        assert said.split() == ["aarch64"]


def site_folder() -> Path:
    return cached_emulator().folder / "site"


def is_x86() -> bool:
    return platform.machine() == "x86_64"


@pytest.mark.slow
def test_a_wheel_with_another_checksum_is_refused(tmp_path: Path) -> None:
    line = next(line for line in REQUIREMENTS.read_text().splitlines() if "strenum" in line)
    forged = tmp_path / "requirements.txt"
    forged.write_text(line[:-4] + ("0000" if line[-4:] != "0000" else "1111"))
    with pytest.raises(TargetError, match=r"tampered with.*Expected sha256 fc297cb.*Run again"):
        unpack_wheels(forged, tmp_path / "wheels", tmp_path / "site")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user reaches; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="edgeprune-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def ordinary_python(environment: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """A Python that an ordinary user can start with edgeprune in it, and how to become that user.

    Tests may run as root from folders that others cannot read; then Debian's own Python does it.
    Where no user but the present one can, the present one it is.
    """
    nobody: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    user = nobody if os.getuid() == 0 else {}
    for python in (sys.executable, "/usr/bin/python3"):
        imports = "import pip, rich, edgeprune.cli.targets, edgeprune.targets.arm64_emulated"
        command = [python, "-c", imports]
        try:
            done = subprocess.run(command, env=environment, check=False, timeout=60, **user)
        except PermissionError:
            continue
        if done.returncode == 0:
            return python, user
    return sys.executable, {}


@pytest.mark.slow
def test_an_ordinary_user_without_a_compiler_repairs_an_interrupted_set_up(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two set-ups at once, in a cache where others were killed half-way and lost files later."""
    programs, cache = open_folder / "bin", open_folder / "cache"
    programs.mkdir()
    for program in Path("/usr/bin").iterdir():
        if not program.name.startswith("gcc"):
            (programs / program.name).symlink_to(program)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    folder = cached_emulator().folder
    partial = folder.with_name(f"{folder.name}.partial-killed")
    for left in (partial / "emulator/host", folder / "root"):
        left.mkdir(parents=True)
    environment = {
        **os.environ,
        "PATH": str(programs),
        "HOME": str(cache),
        "PYTHONPATH": f"{Path(edgeprune.__file__).parents[1]}:{sysconfig.get_path('purelib')}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    python, user = ordinary_python(environment)
    for path in (cache, *cache.rglob("*")):
        shutil.chown(path, *((NOBODY, NOBODY) if user else (os.getuid(), os.getgid())))
    command = [python, "-m", "edgeprune", "targets", "install", "arm64-emulated"]
    both = [
        subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=open_folder,
            **user,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "arm64-emulated is ready" in said[0]
    assert cached_emulator().complete()
    assert list((folder / "site/numpy").rglob("*.pyc"))
    assert not partial.exists()
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, "arm64-emulated.lock"}
    packages = json.loads((folder / "versions.json").read_text())["debian"]
    assert any(name.startswith("gcc-12:") for name in packages)
