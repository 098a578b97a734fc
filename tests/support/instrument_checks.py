"""Holds the newer emulator against the first one, and the gate against the runtimes that it adds.

Every network of the gate's family runs with dense and with sparse weights: whether outputs stay the
same and how many instructions an inference takes say what its XNNPACK did with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from edgeprune.core.runtime import Runtime
from edgeprune.core.terms import CORE_SINCE_QEMU, DEFAULT_CORE, Core
from edgeprune.targets.arm64_emulated import ARM64_EMULATED
from edgeprune.targets.arm64_emulated.emulator import cached_emulator
from edgeprune.targets.arm64_emulated.latest import ADDED_RUNTIMES, cached_latest
from edgeprune.targets.child import Reply, WorkerError
from edgeprune.targets.inputs import generated_inputs
from edgeprune.tflite.format.file import read
from edgeprune.tflite.gate import judge
from tests.support.gate_networks import FAMILY, Network, save_sparse

AGREEMENT = 1e-3
"""Largest relative difference between counts of one file in one runtime under both emulators."""
SAME_OUTPUTS = 1e-4
"""Largest difference between outputs that are the same, relative to the largest of them."""
SAME_COUNT = 0.01
"""Relative difference of counts below which zeros were not skipped."""
COMPARED_SIZE = 128
"""Pixels of a side, so that an inference takes millions of instructions."""


@dataclass(frozen=True)
class Finding:
    """What one check found; `right` is whether that is what was expected."""

    subject: str
    found: str
    right: bool

    def __str__(self) -> str:
        return f"{'ok' if self.right else 'NOT AS EXPECTED'}: {self.subject}: {self.found}"


@dataclass(frozen=True)
class Run:
    """What a network did in a runtime, dense and sparse."""

    error: float
    """Largest difference of outputs, relative; infinite where the sparse file does not run."""
    dense: int
    sparse: int
    """Instructions; 0 where the sparse file does not run."""

    @property
    def wrong(self) -> bool:
        """Whether the sparse file computes something else."""
        return not self.error <= SAME_OUTPUTS

    @property
    def skips_zeros(self) -> bool:
        """Whether the sparse file takes another number of instructions."""
        return abs(self.sparse / self.dense - 1) > SAME_COUNT

    def fits(self, state: str) -> bool:
        """Whether a verdict of the gate is true of it; a dangerous network may come out right."""
        if state == "dangerous":
            return self.wrong or self.skips_zeros
        return not self.wrong and self.skips_zeros == (state == "on")

    def __str__(self) -> str:
        return f"{self.dense} to {self.sparse} instructions, error {self.error:.1e}"


def run_network(network: Network, runtime: Runtime, folder: Path) -> Run:
    """Runs one network of the family, dense and sparse."""
    dense = network.save(folder / f"{network.name}.tflite")
    sparse = save_sparse(dense, folder / f"{network.name}-sparse.tflite")
    before = _count(dense, runtime, DEFAULT_CORE)
    try:
        after = _count(sparse, runtime, DEFAULT_CORE)
    except WorkerError:
        return Run(float("inf"), before.facts["instructions"], 0)
    return Run(difference(before, after), before.facts["instructions"], after.facts["instructions"])


def difference(before: Reply, after: Reply) -> float:
    """Largest difference between outputs, relative; infinite between other shapes, and for NaN."""
    found = 0.0
    for one, other in zip(before.outputs, after.outputs, strict=True):
        if one.shape != other.shape or not np.isfinite(other).all():
            return float("inf")
        found = max(found, float(np.abs(one - other).max() / (np.abs(one).max() or 1.0)))
    return found


def check_gate(runtime: Runtime, folder: Path, jobs: int) -> Iterator[Finding]:
    """Yields for every network of the family whether the gate's verdict is true of it."""
    with ThreadPoolExecutor(jobs) as pool:
        runs = pool.map(partial(run_network, runtime=runtime, folder=folder), FAMILY)
        for network, run in zip(FAMILY, runs, strict=True):
            verdict = judge(read(folder / f"{network.name}-sparse.tflite"), runtime)
            subject = f"{network.name} in {runtime}: {verdict.state}"
            yield Finding(subject, str(run), run.fits(verdict.state))


def check_counts(runtimes: Sequence[Runtime], folder: Path) -> Iterator[Finding]:
    """Yields how far both emulators' counts of one file are apart, in the runtimes of both."""
    network = replace(FAMILY[0], name="compared", size=COMPARED_SIZE)
    dense = network.save(folder / "compared.tflite")
    sparse = save_sparse(dense, folder / "compared-sparse.tflite")
    for runtime in runtimes:
        for path in (dense, sparse):
            first = _count(path, runtime, DEFAULT_CORE).facts["instructions"]
            latest = _counted_by_latest(path, runtime).facts["instructions"]
            apart = abs(latest / first - 1)
            found = f"{first} and {latest} instructions, {apart:.1e} apart"
            yield Finding(f"{path.stem} in {runtime} on {DEFAULT_CORE}", found, apart < AGREEMENT)


def check_cores(runtimes: Sequence[Runtime], folder: Path) -> Iterator[Finding]:
    """Yields whether a sparse network computes the same as the dense one on every newer core."""
    network = replace(FAMILY[0], name="cores", size=COMPARED_SIZE)
    dense = network.save(folder / "cores.tflite")
    sparse = save_sparse(dense, folder / "cores-sparse.tflite")
    for core in CORE_SINCE_QEMU:
        for runtime in runtimes:
            before, after = (_count(path, runtime, core) for path in (dense, sparse))
            run = Run(
                difference(before, after), before.facts["instructions"], after.facts["instructions"]
            )
            yield Finding(f"{network.name} in {runtime} on {core}", str(run), run.fits("on"))


CHECKS = ("counts", "cores", "gate")


def run_checks(names: Sequence[str], folder: Path, jobs: int) -> Iterator[Finding]:
    """Runs some of `CHECKS`, as many networks at once as there are jobs."""
    added = [each.runtime for each in ADDED_RUNTIMES]
    first = cached_emulator().runtimes()
    if "counts" in names:
        yield from check_counts(first, folder)
    if "cores" in names:
        yield from check_cores((*first, *added), folder)
    if "gate" in names:
        for runtime in added:
            yield from check_gate(runtime, folder, jobs)


def _count(path: Path, runtime: Runtime, core: Core) -> Reply:
    graph = read(path)
    return ARM64_EMULATED.count(graph, generated_inputs(graph, 1), runtime, core=core)


def _counted_by_latest(path: Path, runtime: Runtime) -> Reply:
    """Counts in the newer emulator what the first one runs too."""
    graph, emulator = read(path), cached_latest().running(runtime)
    return ARM64_EMULATED.count_under(emulator, graph, generated_inputs(graph, 1), runtime)
