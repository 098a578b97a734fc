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
from edgeprune.core.terms import CORE_SINCE_QEMU, DEFAULT_CORE, MODELLED_CORES, Core
from edgeprune.targets.arm64_emulated import ARM64_EMULATED
from edgeprune.targets.arm64_emulated.cycles import modelled_or_why
from edgeprune.targets.arm64_emulated.emulator import Emulator, cached_emulator
from edgeprune.targets.arm64_emulated.latest import ADDED_RUNTIMES, cached_latest
from edgeprune.targets.arm64_emulated.llvm_mca import find_llvm_mca
from edgeprune.targets.child import Reply, WorkerError
from edgeprune.targets.inputs import generated_inputs
from edgeprune.tflite.format.file import read
from edgeprune.tflite.gate import judge
from tests.support.gate_networks import FAMILY, Network, ask_for_halves, save_sparse

AGREEMENT = 1e-3
"""Largest relative difference between counts of one file in one runtime under both emulators."""
CYCLES_AGREEMENT = 0.02
"""The same of modelled cycles: a block is cut where a page ends, which differs from run to run."""
SAME_OUTPUTS = 1e-4
"""Largest difference between outputs that are the same, relative to the largest of them."""
SAME_COUNT = 0.01
"""Relative difference of counts below which zeros were not skipped."""
COMPARED_SIZE = 128
"""Pixels of a side, so that an inference takes millions of instructions."""

HALVES = ("base", "stem_same", "hard_swish")
"""Networks of the family that are tried in half precision too."""


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
        """Whether a verdict of the gate is true of it."""
        if state == "dangerous":
            return self.wrong
        return not self.wrong and self.skips_zeros == (state == "on")

    def __str__(self) -> str:
        return f"{self.dense} to {self.sparse} instructions, error {self.error:.1e}"


def run_network(network: Network, runtime: Runtime, folder: Path) -> Run:
    """Runs one network of the family, dense and sparse, on the default core."""
    return run_pair(*save_pair(network, folder), runtime, DEFAULT_CORE)


def save_pair(network: Network, folder: Path) -> tuple[Path, Path]:
    """Writes a network with dense and with sparse weights."""
    dense = network.save(folder / f"{network.name}.tflite")
    return dense, save_sparse(dense, folder / f"{network.name}-sparse.tflite")


def run_pair(dense: Path, sparse: Path, runtime: Runtime, core: Core) -> Run:
    """Runs a dense file and what should compute the same.

    Raises:
      WorkerError: the dense file does not run.
    """
    before = _count(dense, runtime, core)
    try:
        after = _count(sparse, runtime, core)
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


def check_halves(runtime: Runtime, folder: Path) -> Iterator[Finding]:
    """Yields whether the gate is right about a sparse network that asks for half precision."""
    for name in HALVES:
        pair = save_pair(next(each for each in FAMILY if each.name == name), folder)
        dense, sparse = (ask_for_halves(path, path.with_suffix(".halves")) for path in pair)
        verdict = judge(read(sparse), runtime)
        run = run_pair(dense, sparse, runtime, DEFAULT_CORE)
        subject = f"{name} in half precision in {runtime}: {verdict.state}"
        yield Finding(subject, str(run), run.fits(verdict.state))


def check_counts(runtimes: Sequence[Runtime], folder: Path) -> Iterator[Finding]:
    """Yields how far both emulators' counts of one file are apart, in the runtimes of both."""
    pair = save_pair(replace(FAMILY[0], name="compared", size=COMPARED_SIZE), folder)
    for runtime in runtimes:
        for path in pair:
            first = _count(path, runtime, DEFAULT_CORE).facts["instructions"]
            emulator = cached_latest().running(runtime)
            latest = _counted_by(emulator, path, runtime).facts["instructions"]
            apart = abs(latest / first - 1)
            found = f"{first} and {latest} instructions, {apart:.1e} apart"
            yield Finding(f"{path.stem} in {runtime} on {DEFAULT_CORE}", found, apart < AGREEMENT)


def check_cycles(runtimes: Sequence[Runtime], folder: Path) -> Iterator[Finding]:
    """Yields how far both emulators' modelled cycles of one file are apart, by the core."""
    llvm = find_llvm_mca()
    for path in save_pair(replace(FAMILY[0], name="modelled", size=COMPARED_SIZE), folder):
        for runtime in runtimes:
            executed = [
                _counted_by(emulator, path, runtime, blocks=True).facts["executed"]
                for emulator in (cached_emulator(), cached_latest().running(runtime))
            ]
            first, latest = (
                modelled_or_why(llvm, each, DEFAULT_CORE)[0] or {} for each in executed
            )
            for core in MODELLED_CORES:
                subject = f"{path.stem} in {runtime}, modelled on {core}"
                if core not in first or core not in latest:
                    yield Finding(subject, "no modelled cycles", right=False)
                    continue
                apart = abs(latest[core].cycles / first[core].cycles - 1)
                found = f"{first[core].cycles} and {latest[core].cycles} cycles, {apart:.1e} apart"
                yield Finding(subject, found, apart < CYCLES_AGREEMENT)


def check_cores(runtimes: Sequence[Runtime], folder: Path) -> Iterator[Finding]:
    """Yields whether a sparse network computes the same as the dense one on every newer core."""
    pair = save_pair(replace(FAMILY[0], name="on_cores", size=COMPARED_SIZE), folder)
    for core in CORE_SINCE_QEMU:
        for runtime in runtimes:
            run = run_pair(*pair, runtime, core)
            yield Finding(f"sparse network in {runtime} on {core}", str(run), run.fits("on"))


CHECKS = ("counts", "cycles", "cores", "halves", "gate")


def run_checks(names: Sequence[str], folder: Path, jobs: int) -> Iterator[Finding]:
    """Runs some of `CHECKS`, as many networks at once as there are jobs."""
    added = [each.runtime for each in ADDED_RUNTIMES]
    first = cached_emulator().runtimes()
    if "counts" in names:
        yield from check_counts(first, folder)
    if "cycles" in names:
        yield from check_cycles(first, folder)
    if "cores" in names:
        yield from check_cores((*first, *added), folder)
    if "halves" in names:
        for runtime in added:
            yield from check_halves(runtime, folder)
    if "gate" in names:
        for runtime in added:
            yield from check_gate(runtime, folder, jobs)


def _count(path: Path, runtime: Runtime, core: Core) -> Reply:
    graph = read(path)
    return ARM64_EMULATED.count(graph, generated_inputs(graph, 1), runtime, core=core)


def _counted_by(emulator: Emulator, path: Path, runtime: Runtime, *, blocks: bool = False) -> Reply:
    """Counts under an emulator, whichever would be chosen."""
    graph = read(path)
    inputs = generated_inputs(graph, 1)
    return ARM64_EMULATED.count_under(emulator, graph, inputs, runtime, blocks=blocks)
