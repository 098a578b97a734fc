"""The computer that edgeprune runs on, as an instrument: real runtimes in child processes.

It measures `xnnpack-x86` where it is such a computer. For other devices it says whether a file
loads, computes the same and how large it is. Its time says nothing of theirs: other kernels run
there.
"""

from __future__ import annotations

import functools
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.arrays import Array
from edgeprune.core.errors import TargetError
from edgeprune.core.files import describe_file
from edgeprune.core.runtime import Runtime, installed_version
from edgeprune.profiles.encoding import runtimes_of
from edgeprune.targets.checks import (
    Case,
    Check,
    Reference,
    check_finite,
    check_outputs,
    named_outputs,
    numerics,
)
from edgeprune.targets.child import (
    THIS_PYTHON,
    Launcher,
    Reply,
    WorkerError,
    run_worker,
    worker_model,
)
from edgeprune.targets.decisions import without_decisions
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.measurement import Measurement, Settings
from edgeprune.targets.own_environment import OWN_ENVIRONMENTS
from edgeprune.targets.replies import check_refusal, check_reply, check_runs
from edgeprune.targets.target import Capabilities, Readiness
from edgeprune.targets.timing import choose_runtime, time_files
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.file import Graph

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile

_NAME = "host"
LITERT = "pip install ai-edge-litert"
PACKAGES = {"tflite-runtime": "tflite-runtime", "LiteRT": "ai-edge-litert"}
"""The runtimes that the worker knows, the reference first, and the package each comes in."""


class Host:
    """Runs and times files in the runtimes that are installed beside edgeprune.

    A runtime that does not fit edgeprune's own Python may have an environment of its own.
    """

    name = _NAME
    capabilities = Capabilities(every_numerics=True, this_computer=True, cost_unit="ms")

    def readiness(self) -> Readiness:
        """Ready if a runtime is installed; names those that are, and what adds the others."""
        found = installed_runtimes()
        if not found:
            return Readiness(False, "no runtime is installed", LITERT)
        listed = ", ".join(f"{name} {found[name]}{_place(name)}" for name in found)
        missing = [own for name, own in OWN_ENVIRONMENTS.items() if name not in found]
        without = "".join(f"; without {own.runtime} {own.version}" for own in missing)
        remedy = "; ".join(own.command for own in missing if own.command)
        return Readiness(True, f"{listed} on {platform.machine()}{without}", remedy)

    def install(self, tell: Callable[[str, int, int], None]) -> None:  # noqa: ARG002
        """Cannot add to the Python that it runs in; says what to run.

        Raises:
          TargetError: no runtime is installed.
        """
        state = self.readiness()
        if not state.ready:
            raise TargetError(f"Target '{_NAME}' is not ready: {state.detail}. Run: {state.remedy}")

    def runtimes(self, profile: DeviceProfile) -> tuple[str, ...]:
        """The installed runtimes that the profile names; any installed one if it names none."""
        wanted = {runtime.name for runtime in profile.runtimes}
        found = installed_runtimes()
        return tuple(name for name in found if name in wanted) or tuple(found)

    def run(
        self,
        graph: Graph,
        inputs: list[Array],
        runtime: str,
        *,
        delegates: bool = True,
    ) -> Reply:
        """Runs samples in a child process, with or without XNNPACK.

        No sample sees a state that the one before it left in the file's variables, but a window
        over earlier samples, see `tflite.streams`.

        Args:
          graph: the file.
          inputs: samples `[n, ...]` for each input.
          runtime: a key of `PACKAGES`.
          delegates: whether XNNPACK computes what it can.

        Raises:
          WorkerError: the runtime does not run it.
        """
        job = {
            "kind": "run",
            "runtime": runtime,
            "threads": 1,
            "delegates": delegates,
            "models": [worker_model(graph)],
        }
        return run_worker(job, [inputs], launcher=launcher_of(runtime))

    def measure(
        self, models: Sequence[Path], profile: DeviceProfile, settings: Settings
    ) -> tuple[Measurement, ...]:
        """Times files in turn, round by round."""
        runtime = self._chosen(profile, settings)
        run = functools.partial(run_worker, launcher=launcher_of(runtime))
        return time_files(run, models, profile, settings, target=_NAME, runtime=runtime)

    def _chosen(self, profile: DeviceProfile, settings: Settings) -> str:
        wanted = settings.runtime
        remedy = how_to_add(wanted) if wanted in PACKAGES else LITERT
        return choose_runtime(_NAME, installed_runtimes(), profile, settings, remedy=remedy)

    def run_once(
        self, models: Sequence[Path], profile: DeviceProfile, settings: Settings
    ) -> tuple[Measurement, ...]:
        """Runs every file, without a look at the clock, for a device that this computer is not.

        Raises:
          TfliteError, TargetError, CheckError: as `measure`.
        """
        runtime = self._chosen(profile, settings)
        return tuple(self._ran(path, profile, runtime) for path in models)

    def _ran(self, path: Path, profile: DeviceProfile, runtime: str) -> Measurement:
        graph = tflite_file.read(path)
        try:
            reply = self.run(graph, generated_inputs(graph, 1), runtime)
        except WorkerError as error:
            raise WorkerError(f"{path}: {runtime} does not run it: {error}") from error
        artifact = describe_file(path)
        return Measurement(
            model=str(path),
            device=profile.name,
            target=_NAME,
            runtime=reply.facts["runtime"],
            simulated=False,
            size_bytes=artifact.size_bytes,
            gzip_bytes=artifact.gzip_bytes,
            conditions=f"run once on this computer, which is not {profile.name}, and not timed",
        )

    def check(self, case: Case) -> Iterator[Check]:
        """Runs a file in every runtime of the profile, by XNNPACK's kernels and by plain ones."""
        runtimes = self.runtimes(case.profile)
        yield from (
            Check(f"runs ({runtime.name})", True, None, None, not_proven_on(runtime), kind="runs")
            for runtime in missing_runtimes(case.profile)
        )
        if not runtimes:
            state = self.readiness()
            message = f"{state.detail}: {state.remedy}"
            yield Check("runs", False, None, None, message, kind="runs")
        for runtime in runtimes:
            try:
                reply = self.run(case.graph, case.inputs, runtime)
            except WorkerError as error:
                yield check_refusal(case, runtime, error)
                continue
            yield check_runs(case, reply)
            outputs = named_outputs(case.graph, reply.outputs)
            yield check_finite(outputs, reply.facts["runtime"])
            yield _check_kernels(case, runtime, reply)
            if case.wanted is not None:
                yield check_reply(case, reply, case.wanted)


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


def _check_kernels(case: Case, runtime: str, reply: Reply) -> Check:
    """Compares XNNPACK's kernels with the runtime's own plain ones, on the first samples.

    A file that ends in a decision and makes another one is compared by what it decides by.
    """
    found = _compare_kernels(case, plain_kernels(case, runtime), reply)
    if found.ok:
        return found
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        ending = without_decisions(case.graph, Path(folder) / case.graph.path.name)
        if ending is None:
            return found
        few = replace(case.first_samples(), graph=ending)
        try:
            before = HOST.run(ending, few.inputs, runtime)
        except WorkerError:
            return found
        again = _compare_kernels(few, plain_kernels(few, runtime), before)
    return replace(again, message=f"{again.message}; in front of its ARG_MAX or softmax")


def _compare_kernels(case: Case, plain: Reference | WorkerError, reply: Reply) -> Check:
    name = f"kernels ({reply.facts['runtime']})"
    if isinstance(plain, WorkerError):
        message = f"not compared: plain kernels do not run ({plain})"
        return Check(name, True, None, None, message, kind="kernels")
    outputs = named_outputs(case.graph, reply.outputs)
    found = {output: array[: len(plain.outputs[output])] for output, array in outputs.items()}
    scales = reply.facts["output_scales"]
    return check_outputs(name, found, plain, numerics(case.graph), scales, kind="kernels")


def installed_runtimes() -> dict[str, str]:
    """Version by name of every runtime that is installed, the reference first."""
    found = {}
    for name, package in PACKAGES.items():
        own = OWN_ENVIRONMENTS.get(name)
        known = installed_version(package)
        if known is not None:
            found[name] = known
        elif own is not None and own.complete():
            found[name] = own.version
    return found


def launcher_of(runtime: str) -> Launcher:
    """The Python that has a runtime: edgeprune's own, else that of the runtime's environment."""
    own = OWN_ENVIRONMENTS.get(runtime)
    elsewhere = own is not None and installed_version(PACKAGES[runtime]) is None
    return own.launcher() if own is not None and elsewhere else THIS_PYTHON


def missing_runtimes(profile: DeviceProfile) -> tuple[Runtime, ...]:
    """The runtimes of a profile that could be here and are not."""
    found = installed_runtimes()
    return tuple(
        runtime
        for runtime in runtimes_of(profile)
        if runtime.name in PACKAGES and runtime.name not in found
    )


def not_proven_on(runtime: Runtime) -> str:
    """Says that nothing was tried in a runtime that is not here, and what adds it."""
    command = how_to_add(runtime.name)
    remedy = f"To try it there: {command}" if command else "No wheel fits this computer"
    return f"not proven on {runtime}, which is not installed here. {remedy}"


def how_to_add(runtime: str) -> str:
    """The command that adds a runtime; empty where none does."""
    own = OWN_ENVIRONMENTS.get(runtime)
    return f"pip install {PACKAGES[runtime]}" if own is None else own.command


def _place(runtime: str) -> str:
    return "" if launcher_of(runtime) == THIS_PYTHON else " (in an environment of its own)"
