"""The computer that edgeprune runs on, as an instrument: real runtimes in child processes.

It speaks for `xnnpack-x86` where it is such a computer. For other devices it can say whether a file
loads and computes the same, and its latency stands in for the device's until an instrument for that
device is there; it is always named as what it is.
"""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgeprune.artifact import describe_file
from edgeprune.checks import (
    Case,
    Check,
    Reference,
    check_finite,
    check_outputs,
    named_outputs,
    numerics,
)
from edgeprune.errors import TargetError
from edgeprune.layout import Array
from edgeprune.measure import Measurement, Settings, latency, speedup
from edgeprune.profile import DeviceProfile
from edgeprune.targets.child import Reply, WorkerError, run_worker, worker_model
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.replies import check_refusal, check_reply, check_runs
from edgeprune.targets.target import Readiness
from edgeprune.tflite import file as tflite_file
from edgeprune.tflite.file import Graph

PACKAGES = {"tflite-runtime": "tflite-runtime", "LiteRT": "ai-edge-litert"}
"""The runtimes that the worker knows, the reference first, and the package each comes in."""
PROCESSES = 4
"""Timing starts anew so many times, since where memory happens to lie moves latency too."""
ROUNDS = 25
SECONDS = 5.0
"""A process stops timing after so many seconds even if rounds are left, but not before ten."""


class Host:
    """Runs and times files in the runtimes that are installed beside edgeprune."""

    def readiness(self) -> Readiness:
        """Ready if a runtime is installed."""
        found = installed_runtimes()
        listed = ", ".join(f"{name} {found[name]}" for name in found)
        if found:
            return Readiness(True, f"{listed} on {platform.machine()}")
        return Readiness(False, "no runtime is installed", "pip install ai-edge-litert")

    def install(self, tell: Callable[[str, int, int], None]) -> None:  # noqa: ARG002
        """Cannot add to the Python that it runs in; says what to run.

        Raises:
          TargetError: no runtime is installed.
        """
        state = self.readiness()
        if not state.ready:
            raise TargetError(f"Target 'host' is not ready: {state.detail}. Run: {state.remedy}")

    def runtimes(self, profile: DeviceProfile) -> tuple[str, ...]:
        """The installed runtimes that the profile names; any installed one if it names none."""
        wanted = {runtime.name for runtime in profile.runtimes}
        found = installed_runtimes()
        return tuple(name for name in found if name in wanted) or tuple(found)

    def run(
        self, graph: Graph, inputs: list[Array], runtime: str, *, delegates: bool = True
    ) -> Reply:
        """Runs samples in a child process, with or without XNNPACK."""
        job = {
            "kind": "run",
            "runtime": runtime,
            "threads": 1,
            "delegates": delegates,
            "models": [worker_model(graph)],
        }
        return run_worker(job, [inputs])

    def measure(
        self, models: Sequence[Path], profile: DeviceProfile, settings: Settings
    ) -> tuple[Measurement, ...]:
        """Times files in turn, round by round."""
        threads = settings.threads
        graphs = [tflite_file.read(path) for path in models]
        inputs = [generated_inputs(graph, 1) for graph in graphs]
        chosen = self._runtime(profile, settings.runtime)
        for graph, arrays in zip(graphs, inputs, strict=True):
            self._require_runs(graph, arrays, chosen)
        replies = [
            self._time(graphs, inputs, chosen, threads, process) for process in range(PROCESSES)
        ]
        return _measurements(graphs, profile, replies, threads)

    def check(self, case: Case) -> Iterator[Check]:
        """Runs a file in every runtime of the profile, by XNNPACK's kernels and by plain ones."""
        runtimes = self.runtimes(case.profile)
        if not runtimes:
            state = self.readiness()
            yield Check("runs", False, None, None, f"{state.detail}: {state.remedy}")
        for runtime in runtimes:
            try:
                reply = self.run(case.graph, case.inputs, runtime)
            except WorkerError as error:
                yield check_refusal(case, runtime, error)
                continue
            yield check_runs(case, reply)
            outputs = named_outputs(case.graph, reply.outputs)
            yield check_finite(outputs, reply.facts["runtime"])
            yield _check_kernels(case, plain_kernels(case, runtime), reply)
            if case.wanted is not None:
                yield check_reply(case, reply, case.wanted)

    def _runtime(self, profile: DeviceProfile, runtime: str | None) -> str:
        known = self.runtimes(profile) if runtime is None else tuple(installed_runtimes())
        if not known or (runtime is not None and runtime not in known):
            raise TargetError(
                f"Target 'host' has these runtimes: {', '.join(known) or 'none'}. "
                f"Received: {runtime or 'any'}. Install one: pip install ai-edge-litert"
            )
        return runtime or known[0]

    def _time(
        self,
        graphs: Sequence[Graph],
        inputs: list[list[Array]],
        runtime: str,
        threads: int,
        process: int,
    ) -> Reply:
        """Times all files in one child process; every second one loads them in reverse."""
        job: dict[str, Any] = {
            "kind": "time",
            "runtime": runtime,
            "threads": threads,
            "delegates": True,
            "models": [worker_model(graph) for graph in graphs],
            "rounds": ROUNDS,
            "seconds": SECONDS,
            "seed": process,
        }
        if process % 2 == 0:
            return run_worker(job, inputs)
        reply = run_worker({**job, "models": job["models"][::-1]}, inputs[::-1])
        samples = reply.facts["samples_ms"][::-1]
        return replace(reply, facts={**reply.facts, "samples_ms": samples})

    def _require_runs(self, graph: Graph, inputs: list[Array], runtime: str) -> None:
        """Runs a file alone first, so that one that crashes is known by name."""
        try:
            self.run(graph, inputs, runtime)
        except WorkerError as error:
            raise WorkerError(f"{graph.path}: {runtime} does not run it: {error}") from error


HOST = Host()


def plain_kernels(case: Case, runtime: str) -> Reference | WorkerError:
    """What the runtime's own plain kernels make of the first samples, or why they do not run."""
    few = case.first_samples()
    try:
        reply = HOST.run(few.graph, few.inputs, runtime, delegates=False)
    except WorkerError as error:
        return error
    named = named_outputs(case.graph, reply.outputs)
    return Reference("the same file without XNNPACK", named, numerics(case.graph) == "int8")


def _check_kernels(case: Case, plain: Reference | WorkerError, reply: Reply) -> Check:
    """Compares XNNPACK's kernels with the runtime's own plain ones, on the first samples."""
    name = f"kernels ({reply.facts['runtime']})"
    if isinstance(plain, WorkerError):
        return Check(name, True, None, None, f"not compared: plain kernels do not run ({plain})")
    outputs = named_outputs(case.graph, reply.outputs)
    found = {output: array[: len(plain.outputs[output])] for output, array in outputs.items()}
    scales = reply.facts["output_scales"]
    return check_outputs(name, found, plain, numerics(case.graph), scales)


@functools.cache
def installed_runtimes() -> dict[str, str]:
    """Version by name of every runtime that is installed, the reference first."""
    found = {}
    for name, package in PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _measurements(
    graphs: Sequence[Graph], profile: DeviceProfile, replies: Sequence[Reply], threads: int
) -> tuple[Measurement, ...]:
    facts = replies[0].facts
    conditions = (
        f"{facts['cpu']}, {os.cpu_count()} cores, {threads} thread(s), batch 1, after warm-up, "
        f"models in turn in random order, {len(replies)} processes"
    )
    rounds = [
        tuple(tuple(reply.facts["samples_ms"][index]) for reply in replies)
        for index in range(len(graphs))
    ]
    found = []
    for index, graph in enumerate(graphs):
        artifact = describe_file(graph.path)
        found.append(
            Measurement(
                model=str(graph.path),
                device=profile.name,
                target="host",
                runtime=facts["runtime"],
                simulated=False,
                size_bytes=artifact.size_bytes,
                gzip_bytes=artifact.gzip_bytes,
                latency_ms=latency(rounds[index]),
                speedup=speedup(rounds[0], rounds[index]) if index else None,
                conditions=conditions,
                rounds_ms=rounds[index],
            )
        )
    return tuple(found)
