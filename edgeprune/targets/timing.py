"""The protocol of latency, the same on every machine that the worker runs on.

Each file is run alone first, so that one that crashes is known by name. Then several processes,
one after the other, load all files, warm each up until its time is steady, and time them in turn,
in a new random order every round. Where memory happens to lie moves latency by a percent or two and
changes with the process only, hence several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgeprune.core.arrays import Array
from edgeprune.core.errors import TargetError
from edgeprune.core.files import describe_file
from edgeprune.targets.child import Reply, WorkerError, worker_model
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.latency import latency, speedup
from edgeprune.targets.measurement import Measurement, Settings
from edgeprune.targets.worker import BAD_AFFINITY
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.file import Graph

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile

PROCESSES = 4
ROUNDS = 25
SECONDS = 5.0
"""Seconds after which a process stops timing even if rounds are left, but not before ten."""


class Runner(Protocol):
    """Has the worker do a job somewhere."""

    def __call__(self, job: dict[str, Any], inputs: list[list[Array]]) -> Reply:
        """Returns the worker's reply.

        Args:
          job: as worker.py describes it, without the paths of inputs, outputs and result.
          inputs: for every model, one array `[n, ...]` of real values per input.

        Raises:
          WorkerError: the runtime refuses a file, crashes on it or does not end.
        """


def choose_runtime(
    target: str,
    found: Mapping[str, str],
    profile: DeviceProfile,
    settings: Settings,
    *,
    remedy: str = "pip install ai-edge-litert",
) -> str:
    """The runtime to use: the one asked for, else the first that the profile names, else any.

    Args:
      target: the instrument's name.
      found: version by name of the runtimes it has, the reference first.
      profile: of the device.
      settings: with what a person asked for, if anything.
      remedy: the command that installs it there; empty if none does.

    Raises:
      TargetError: it does not have that one, or none, or has it at another version.
    """
    wanted, version = settings.runtime, settings.runtime_version
    if not found or (wanted is not None and wanted not in found):
        raise TargetError(
            f"Target '{target}' has these runtimes: {', '.join(found) or 'none'}. "
            f"Received: {wanted or 'any'}. "
            + (f"Install one there: {remedy}" if remedy else "No wheel of it fits this computer.")
        )
    if wanted is not None and version not in (None, found[wanted]):
        raise TargetError(
            f"Target '{target}' has {wanted} {found[wanted]}. Received: {wanted}=={version}."
        )
    named = {runtime.name for runtime in profile.runtimes}
    return wanted or next((name for name in found if name in named), next(iter(found)))


def time_files(
    run: Runner,
    models: Sequence[Path],
    profile: DeviceProfile,
    settings: Settings,
    *,
    target: str,
    runtime: str,
) -> tuple[Measurement, ...]:
    """Times files in turn; several are compared with the first.

    Raises:
      TfliteError: a file does not parse.
      WorkerError: the runtime refuses a file, crashes on it or does not end.
    """
    graphs = [tflite_file.read(path) for path in models]
    inputs = [generated_inputs(graph, 1) for graph in graphs]
    steps = len(graphs) + PROCESSES
    job: dict[str, Any] = {
        "runtime": runtime,
        "threads": settings.threads,
        "affinity": list(settings.affinity),
        "delegates": True,
    }
    for index, (graph, arrays) in enumerate(zip(graphs, inputs, strict=True)):
        settings.tell(f"{target}: running {graph.path.name}", index, steps)
        _require_runs(run, job, graph, arrays)
    replies = []
    for process in range(PROCESSES):
        settings.tell(f"{target}: timing", len(graphs) + process, steps)
        replies.append(_time(run, job, graphs, inputs, process))
    settings.tell(f"{target}: done", steps, steps)
    return _measurements(graphs, profile, replies, settings, target)


def _require_runs(run: Runner, job: dict[str, Any], graph: Graph, inputs: list[Array]) -> None:
    try:
        run({**job, "kind": "run", "models": [worker_model(graph)]}, [inputs])
    except WorkerError as error:
        if BAD_AFFINITY in str(error):
            raise TargetError(str(error)) from error
        raise WorkerError(f"{graph.path}: {job['runtime']} does not run it: {error}") from error


def _time(
    run: Runner,
    job: dict[str, Any],
    graphs: Sequence[Graph],
    inputs: list[list[Array]],
    process: int,
) -> Reply:
    """Times all files in one process; every second one loads them in reverse."""
    models = [worker_model(graph) for graph in graphs]
    limits = {"rounds": ROUNDS, "seconds": SECONDS, "seed": process}
    if process % 2 == 0:
        return run({**job, **limits, "kind": "time", "models": models}, inputs)
    reply = run({**job, **limits, "kind": "time", "models": models[::-1]}, inputs[::-1])
    samples = reply.facts["samples_ms"][::-1]
    return replace(reply, facts={**reply.facts, "samples_ms": samples})


def _measurements(
    graphs: Sequence[Graph],
    profile: DeviceProfile,
    replies: Sequence[Reply],
    settings: Settings,
    target: str,
) -> tuple[Measurement, ...]:
    machine = _machine(replies)
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
                target=target,
                runtime=replies[0].facts["runtime"],
                simulated=False,
                size_bytes=artifact.size_bytes,
                gzip_bytes=artifact.gzip_bytes,
                latency_ms=latency(rounds[index]),
                speedup=speedup(rounds[0], rounds[index]) if index else None,
                conditions=_conditions(machine, settings, len(replies)),
                rounds_ms=rounds[index],
                machine=machine,
            )
        )
    return tuple(found)


def _machine(replies: Sequence[Reply]) -> dict[str, Any]:
    """What the machine is, and its temperature before the first process and after the last."""
    first, last = replies[0].facts, replies[-1].facts
    return {
        **first["machine"],
        "affinity": first["affinity"],
        "temperature_c": {"before": first["temperature_c"][0], "after": last["temperature_c"][1]},
    }


def _conditions(machine: dict[str, Any], settings: Settings, processes: int) -> str:
    """The same in words, for people."""
    where = "any processor"
    if settings.affinity:
        where = f"processors {', '.join(map(str, settings.affinity))}"
    before, after = machine["temperature_c"].values()
    return ", ".join(
        filter(
            None,
            (
                machine["board"],
                machine["cpu"],
                f"{machine['cores']} cores",
                f"governor {machine['governor']}" if machine["governor"] else "",
                "" if None in (before, after) else f"{before:.0f} to {after:.0f} °C",
                f"{settings.threads} thread(s) on {where}",
                "batch 1",
                "warm-up until steady",
                f"models in turn in random order, {processes} processes",
            ),
        )
    )
