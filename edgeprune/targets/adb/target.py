"""The instrument: latency of files on an Android device."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.core.errors import TargetError
from edgeprune.core.files import describe_file
from edgeprune.targets.adb.device import Device, command_line
from edgeprune.targets.adb.output import Benchmark, parse_output
from edgeprune.targets.checks import Case, Check
from edgeprune.targets.child import WorkerError
from edgeprune.targets.latency import Latency, median_interval, speedup
from edgeprune.targets.measurement import Measurement, Settings
from edgeprune.targets.target import Capabilities, Readiness, Remote
from edgeprune.tflite.format import file as tflite_file

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile

_NAME = "adb"
_PROCESSES = 5
"""How often every file is loaded and timed, in turn with the others."""
FLAGS = (
    "--use_xnnpack=true",
    "--num_runs=50",
    "--min_secs=1",
    "--warmup_runs=5",
    "--warmup_min_secs=0.5",
)
WHERE = "--benchmark-binary PATH names TensorFlow's benchmark_model, built for the device"


class Adb(Remote):
    """Times files on an Android device with TensorFlow's benchmark program."""

    capabilities = Capabilities(every_numerics=True, cost_unit="ms")

    def __init__(self, address: str) -> None:
        """Takes a serial number as `adb devices` lists it; empty if only one is connected."""
        self.device = Device(address or None)

    def readiness(self) -> Readiness:
        """Ready if `adb` is there; whether the device is, shows when it is used."""
        try:
            found = self.device.adb("version").splitlines()
        except TargetError:
            return Readiness(False, "no 'adb'", "apt-get install adb")
        return Readiness(True, f"{found[0]}; {WHERE}" if found else WHERE)

    def install(self, tell: Callable[[str, int, int], None]) -> None:
        """Looks whether the device answers; installs nothing on it.

        Raises:
          TargetError: it does not.
        """
        tell(f"asking {self.device}", 0, 1)
        self.device.adb("get-state")

    def measure(
        self, models: Sequence[Path], profile: DeviceProfile, settings: Settings
    ) -> tuple[Measurement, ...]:
        """Times files in turn; every timing is a process of its own."""
        binary = _require_binary(settings.benchmark_binary)
        for path in models:
            tflite_file.read(path)
        self.device.adb("get-state")
        with self.device.folder() as folder:
            before = self.device.facts()
            self._push(models, binary, folder)
            benchmarks = self._time(models, folder, settings)
            after = self.device.facts()
        machine = {
            **before,
            "affinity": list(settings.affinity) or None,
            "temperature_c": {"before": before["temperature_c"], "after": after["temperature_c"]},
        }
        program = hashlib.sha256(binary.read_bytes()).hexdigest()[:12]
        name = f"{_NAME}:{self.device.serial}" if self.device.serial else _NAME
        return tuple(
            Measurement(
                model=str(path),
                device=profile.name,
                target=name,
                runtime=f"benchmark_model (sha256 {program}...)",
                simulated=False,
                size_bytes=describe_file(path).size_bytes,
                gzip_bytes=describe_file(path).gzip_bytes,
                latency_ms=_latency(benchmarks[index]),
                speedup=speedup(_rounds(benchmarks[0]), _rounds(benchmarks[index]))
                if index
                else None,
                conditions=_conditions(machine, settings, benchmarks[index]),
                rounds_ms=_rounds(benchmarks[index]),
                warnings=_warnings(benchmarks[index]),
                machine=machine,
            )
            for index, path in enumerate(models)
        )

    def check(self, case: Case) -> Iterator[Check]:  # noqa: ARG002
        """Adds nothing: `benchmark_model` gives no outputs to compare."""
        yield from ()

    def _push(self, models: Sequence[Path], binary: Path, folder: str) -> None:
        self.device.push(binary, f"{folder}/benchmark_model")
        self.device.shell(f"chmod 755 {folder}/benchmark_model")
        for index, path in enumerate(models):
            self.device.push(path, f"{folder}/model{index}.tflite")

    def _time(
        self, models: Sequence[Path], folder: str, settings: Settings
    ) -> list[list[Benchmark]]:
        """Times all files, in a new random order every round; `[files, rounds]`."""
        benchmarks: list[list[Benchmark]] = [[] for _ in models]
        generator = np.random.default_rng(0)
        steps = _PROCESSES * len(models)
        for process in range(_PROCESSES):
            for turn, index in enumerate(generator.permutation(len(models))):
                settings.tell(f"{self.device}: timing", process * len(models) + turn, steps)
                said = self.device.shell(_command(folder, int(index), settings), check=False)
                try:
                    benchmarks[index].append(parse_output(said))
                except WorkerError as error:
                    raise WorkerError(f"{models[index]}: {error}") from error
        return benchmarks


def _require_binary(path: Path | None) -> Path:
    if path is None or not path.is_file():
        raise TargetError(
            f"Target '{_NAME}': expected {WHERE} (EDGEPRUNE_BENCHMARK_BINARY does too). "
            f"Received: {path or 'none'}."
        )
    return path


def _command(folder: str, index: int, settings: Settings) -> str:
    """The benchmark of one file, bound to processors by a mask if some are chosen."""
    mask = sum(1 << processor for processor in settings.affinity)
    return command_line(
        *(["taskset", f"{mask:x}"] if mask else []),
        f"{folder}/benchmark_model",
        f"--graph={folder}/model{index}.tflite",
        f"--num_threads={settings.threads}",
        *FLAGS,
    )


def _rounds(benchmarks: Sequence[Benchmark]) -> tuple[tuple[float, ...], ...]:
    """One number per process, in milliseconds: the median, or the average where all give that."""
    medians = [benchmark.median for benchmark in benchmarks if benchmark.median is not None]
    known = len(medians) == len(benchmarks)
    return tuple((us / 1000,) for us in (medians if known else [b.mean for b in benchmarks]))


def _latency(benchmarks: Sequence[Benchmark]) -> Latency:
    """What the program's versions allow to say: an older one knows no median."""
    runs = sum(benchmark.runs for benchmark in benchmarks)
    mean = sum(benchmark.mean * benchmark.runs for benchmark in benchmarks) / runs / 1000
    if any(benchmark.median is None for benchmark in benchmarks):
        return Latency(None, None, None, runs, mean)
    rounds = _rounds(benchmarks)
    return Latency(float(np.median(rounds)), None, median_interval(rounds, seed=0), runs, mean)


def _conditions(
    machine: dict[str, Any], settings: Settings, benchmarks: Sequence[Benchmark]
) -> str:
    where = "any processor"
    if settings.affinity:
        where = f"processors {', '.join(map(str, settings.affinity))}"
    known = all(benchmark.median is not None for benchmark in benchmarks)
    facts = [machine[key] for key in ("board", "cpu", "system")]
    return ", ".join(
        (
            *filter(None, facts),
            f"governor {machine['governor'] or 'hidden'}",
            f"{settings.threads} thread(s) on {where}",
            f"batch 1, models in turn in random order, {len(benchmarks)} processes of their own",
            f"a round is one process's {'median' if known else 'average'}",
        )
    )


def _warnings(benchmarks: Sequence[Benchmark]) -> tuple[str, ...]:
    if all(benchmark.xnnpack for benchmark in benchmarks):
        return ()
    return ("benchmark_model does not say that XNNPACK took the network: check its version.",)
