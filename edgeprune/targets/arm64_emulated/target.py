"""The instrument: outputs and instruction counts of files on an emulated ARM64 core."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.arrays import Array
from edgeprune.core.errors import TargetError
from edgeprune.core.files import describe_file
from edgeprune.core.runtime import Runtime, read_runtime
from edgeprune.core.terms import CORE_FEATURES, DEFAULT_CORE, Core
from edgeprune.profiles.encoding import runtimes_of
from edgeprune.targets.arm64_emulated.choose import (
    emulator_of,
    find_runtime,
    installed_runtimes,
    listed_runtimes,
    required_emulator,
)
from edgeprune.targets.arm64_emulated.cycles import modelled_or_why
from edgeprune.targets.arm64_emulated.emulator import NAME, Emulator, cached_emulator
from edgeprune.targets.arm64_emulated.llvm_mca import LlvmMca, find_llvm_mca
from edgeprune.targets.arm64_emulated.plugin_log import read_counts, read_executed
from edgeprune.targets.arm64_emulated.ready import readiness, readiness_on
from edgeprune.targets.checks import Case, Check, check_finite, named_outputs
from edgeprune.targets.child import Launcher, Reply, WorkerError, run_worker, worker_model
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.latency import Speedup
from edgeprune.targets.measurement import Measurement, Settings
from edgeprune.targets.replies import check_refusal, check_reply, check_runs
from edgeprune.targets.target import Capabilities, OnCores, Readiness
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.file import Graph
from edgeprune.tflite.gate import known_rules, rules_for
from edgeprune.tflite.metadata import asks_for_halves

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile

REPEATABILITY = 1e-6
"""Relative difference between two counts of the same file, with one thread.

Under another path it is up to 1e-5, since names of other lengths move what follows in memory.
"""
_TIME_LIMIT_S = 1800.0


class Arm64Emulated(OnCores):
    """Runs files in the aarch64 runtimes under QEMU and counts the instructions of an inference."""

    capabilities = Capabilities(
        sparse_networks=True, every_numerics=True, repeatable=True, cost_unit="instructions"
    )

    def readiness(self) -> Readiness:
        """Ready if it was set up; says how if not."""
        return readiness()

    def readiness_on(self, core: Core) -> Readiness:
        """That of the first emulator, unless it does not know the core: then of the newer one."""
        return readiness_on(core)

    def install(self, tell: Callable[[str, int, int], None]) -> None:
        """Sets it up in the user's cache folder; does nothing if that is done."""
        from edgeprune.targets.arm64_emulated.install import install_emulator

        install_emulator(tell)

    def runtimes(self, profile: DeviceProfile) -> tuple[Runtime, ...]:
        """The installed runtimes that the profile lists, else all; none before it is set up."""
        installed = installed_runtimes()
        return listed_runtimes(installed, runtimes_of(profile)) or installed

    def run(
        self,
        graph: Graph,
        inputs: list[Array],
        runtime: Runtime | str,
        *,
        delegates: bool = True,
        core: Core = DEFAULT_CORE,
    ) -> Reply:
        """Runs samples, on the processor itself where that is an ARM64 one.

        A runtime in words is `NAME` or `NAME==VERSION`.

        The reply's fact `runtime` says where: "LiteRT 2.1.6 on emulated cortex-a76".

        Raises:
          TargetError: it is not set up.
          WorkerError: the runtime refuses the file, crashes on it or does not end.
        """
        chosen = _installed(runtime)
        emulator = emulator_of(chosen, core)
        # This processor may lack the half precision that the core has.
        halves = asks_for_halves(graph.metadata)
        native = platform.machine() == "aarch64" and not halves
        launcher = emulator.native() if native else emulator.emulated(core)
        job = {"kind": "run", "threads": 1}
        reply = _start(job, graph, inputs, chosen, launcher, delegates=delegates)
        place = "this ARM64 processor" if native else f"emulated {core}"
        return _with_facts(reply, runtime=f"{reply.facts['runtime']} on {place}")

    def run_on_core(self, graph: Graph, inputs: list[Array], profile: DeviceProfile) -> Reply:
        """Runs samples in the device's first runtime that is set up, on its core."""
        required_emulator()
        runtime = find_runtime(installed_runtimes(), runtimes_of(profile))
        return self.run(graph, inputs, runtime, core=profile.core)

    def count(
        self,
        graph: Graph,
        inputs: list[Array],
        runtime: Runtime | str,
        *,
        core: Core = DEFAULT_CORE,
        threads: int = 1,
        blocks: bool = False,
    ) -> Reply:
        """Runs samples on the emulated core, then counts one more inference of the last.

        With one thread, what the thread executes that calls the interpreter; with several, all.
        `blocks` asks for the executed blocks and the cache misses too, of that one thread.

        Returns:
          The outputs, and the facts `instructions` and `instruction_classes` beside those of a run.
          The classes (loads_stores, vector, branches, other) are those of the top-level encoding.
          With `blocks` also `executed`, an `Executed`.

        Raises:
          TargetError: it is not set up.
          WorkerError: the runtime refuses the file, crashes on it or does not end.
        """
        chosen = _installed(runtime)
        emulator = emulator_of(chosen, core)
        return self.count_under(
            emulator, graph, inputs, chosen, core=core, threads=threads, blocks=blocks
        )

    def count_under(
        self,
        emulator: Emulator,
        graph: Graph,
        inputs: list[Array],
        runtime: Runtime,
        *,
        core: Core = DEFAULT_CORE,
        threads: int = 1,
        blocks: bool = False,
    ) -> Reply:
        """Counts as `count` does, under an emulator that has the runtime and knows the core.

        Raises:
          WorkerError: the runtime refuses the file, crashes on it or does not end.
        """
        with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
            log = Path(folder) / "count.log"
            launcher = emulator.emulated(core, log, blocks=blocks)
            job = {"kind": "count", "threads": threads, "blocks": blocks}
            reply = _start(job, graph, inputs, runtime, launcher)
            (classes,) = read_counts(log, 1)
            executed = read_executed(log.read_text(encoding="utf-8")) if blocks else None
        return _with_facts(
            reply,
            executed=executed,
            runtime=f"{reply.facts['runtime']} on emulated {core}",
            instructions=sum(classes.values()),
            instruction_classes=classes,
        )

    def count_each(
        self, graphs: Sequence[Graph], runtime: Runtime | str, *, core: Core = DEFAULT_CORE
    ) -> tuple[int, ...]:
        """Counts the instructions of one inference of each file, all in one emulated process.

        Starting the emulated runtime costs as much as dozens of small networks.

        Raises:
          TargetError: it is not set up.
          WorkerError: the runtime refuses a file, crashes on it or does not end.
        """
        chosen = _installed(runtime)
        emulator = emulator_of(chosen, core)
        job = {
            "kind": "count-each",
            "runtime": chosen.name,
            "threads": 1,
            "delegates": True,
            "models": [worker_model(graph) for graph in graphs],
        }
        inputs = [generated_inputs(graph, 1) for graph in graphs]
        with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
            log = Path(folder) / "count.log"
            launcher = emulator.emulated(core, log)
            run_worker(job, inputs, launcher=launcher, time_limit_s=_TIME_LIMIT_S)
            return tuple(sum(classes.values()) for classes in read_counts(log, len(graphs)))

    def measure(
        self, models: Sequence[Path], profile: DeviceProfile, settings: Settings
    ) -> tuple[Measurement, ...]:
        """Counts one inference of every file; several are compared with the first.

        Where llvm-mca is installed, the cycles of one thread are modelled too.
        """
        threads = settings.threads
        required_emulator()
        llvm = find_llvm_mca() if threads == 1 else None
        wanted = (settings.runtime, settings.runtime_version)
        chosen = find_runtime(installed_runtimes(), runtimes_of(profile), *wanted)
        qemu = emulator_of(chosen, profile.core).version("qemu")
        graphs = [tflite_file.read(path) for path in models]
        counted = [
            self._count_named(graph, chosen, profile.core, threads, blocks=llvm is not None)
            for graph in graphs
        ]
        warnings = _warnings(graphs, chosen, profile.core)
        first = counted[0].facts["instructions"]
        found = []
        for index, (graph, reply) in enumerate(zip(graphs, counted, strict=True)):
            artifact = describe_file(graph.path)
            instructions = reply.facts["instructions"]
            cycles, unmodelled = modelled_or_why(llvm, reply.facts["executed"], profile.core)
            found.append(
                Measurement(
                    model=str(graph.path),
                    device=profile.name,
                    target=NAME,
                    runtime=f"{reply.facts['runtime']} (QEMU {qemu})",
                    simulated=True,
                    size_bytes=artifact.size_bytes,
                    gzip_bytes=artifact.gzip_bytes,
                    speedup=_fewer(first / instructions) if index else None,
                    instructions=instructions,
                    instruction_classes=reply.facts["instruction_classes"],
                    modelled_cycles=cycles,
                    cycles_core=profile.cycles_core,
                    conditions=_conditions(threads, llvm),
                    warnings=(*warnings, *unmodelled),
                )
            )
        return tuple(found)

    def check(self, case: Case) -> Iterator[Check]:
        """Runs a file in the ARM64 runtimes, where XNNPACK has kernels that x86 has not.

        A few samples do: emulation is slow, and what sparse kernels get wrong they get wrong on
        every input.
        """
        if not cached_emulator().complete():
            yield from _not_proven(case, f"To run it: {self.readiness().remedy}")
            return
        # Half precision goes wrong on some inputs only.
        few = case if asks_for_halves(case.graph.metadata) else case.first_samples()
        for runtime in self.runtimes(case.profile):
            try:
                reply = self.run(few.graph, few.inputs, runtime, core=case.profile.core)
            except TargetError as error:
                yield from _not_proven(case, str(error))
                return
            except WorkerError as error:
                yield check_refusal(few, f"{runtime.name} on emulated {case.profile.core}", error)
                continue
            yield check_runs(few, reply)
            yield check_finite(named_outputs(few.graph, reply.outputs), reply.facts["runtime"])
            if few.wanted is not None:
                yield check_reply(few, reply, few.wanted)

    def _count_named(
        self, graph: Graph, runtime: Runtime, core: Core, threads: int, *, blocks: bool
    ) -> Reply:
        """Counts a file whose errors have to name it."""
        inputs = generated_inputs(graph, 1)
        try:
            return self.count(graph, inputs, runtime, core=core, threads=threads, blocks=blocks)
        except WorkerError as error:
            raise WorkerError(
                f"{graph.path}: {runtime.name} does not run it on an emulated {core}: {error}"
            ) from error


ARM64_EMULATED = Arm64Emulated()


def _not_proven(case: Case, remedy: str) -> Iterator[Check]:
    """Says what stays unproven without the emulator; other files compute alike on x86 and ARM64."""
    why = ""
    if case.graph.subgraphs[0].restores_floats:
        why = "float weights are stored sparsely, and XNNPACK's sparse kernels run there only"
    elif asks_for_halves(case.graph.metadata):
        why = "arithmetic in half precision happens there only"
    if why:
        message = f"not proven on ARM64: {why}. {remedy}"
        yield Check("outputs (ARM64)", True, None, None, message, kind="outputs")


def _start(
    job: Mapping[str, object],
    graph: Graph,
    inputs: list[Array],
    runtime: Runtime,
    launcher: Launcher,
    *,
    delegates: bool = True,
) -> Reply:
    complete = {
        **job,
        "runtime": runtime.name,
        "delegates": delegates,
        "models": [worker_model(graph)],
    }
    return run_worker(complete, [inputs], launcher=launcher, time_limit_s=_TIME_LIMIT_S)


def _installed(runtime: Runtime | str) -> Runtime:
    """A runtime that was asked for, as it is set up."""
    if isinstance(runtime, Runtime):
        return runtime
    required_emulator()
    return find_runtime(installed_runtimes(), (), *read_runtime(runtime))


def _with_facts(reply: Reply, **facts: object) -> Reply:
    return replace(reply, facts={**reply.facts, **facts})


def _fewer(ratio: float) -> Speedup:
    spread = (ratio * (1 - 2 * REPEATABILITY), ratio * (1 + 2 * REPEATABILITY))
    return Speedup(ratio, spread, of="instructions")


def _conditions(threads: int, llvm: LlvmMca | None) -> str:
    repeats = "counts repeat to 1e-6" if threads == 1 else "waiting threads add to the count"
    said = (
        f"executed instructions of 1 inference after 1 warm-up, {threads} thread(s), batch 1; "
        f"{repeats}; a count is no time"
    )
    return f"{said}; modelled cycles by llvm-mca {llvm.version} are none either" if llvm else said


def _warnings(graphs: Sequence[Graph], runtime: Runtime, core: Core) -> tuple[str, ...]:
    """What a count on this core does not say about other cores."""
    sparse = any(graph.subgraphs[0].restores_floats for graph in graphs)
    rules = rules_for(runtime)
    if not rules.needs_fp16 or not sparse:
        return ()
    able = dict.fromkeys(each.runtime.name for each in known_rules() if not each.needs_fp16)
    others = f"{' and '.join(able)} skips zeros there too."
    if "fp16-arithmetic" in CORE_FEATURES.get(core, ()):
        return (
            f"{rules.runtime} skips zeros on cores with fp16 arithmetic such as {core} only; "
            f"on others (cortex-a35, a53, a57, a72) it stays dense. {others}",
        )
    return (
        f"{rules.runtime} stays dense on {core}, which has no fp16 arithmetic: zeros gain "
        f"nothing there. {others}",
    )
