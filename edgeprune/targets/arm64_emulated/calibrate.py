"""Measures the cost table of a core: counts small networks, and solves for what each part costs.

Those that run sparsely are here, single operators in `calibrate_operators`. Every network is a sum
of features with known amounts (see `kernel_costs`), and a constant for running a network at all.
There are more networks than features, so non-negative least squares gives the features' costs, and
how well they explain the counts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from edgeprune.core.errors import TargetError
from edgeprune.core.runtime import Runtime
from edgeprune.core.terms import CORE_FEATURES, Core, Numerics
from edgeprune.profiles import kernel_costs
from edgeprune.profiles.kernel_costs import (
    BLOCKS,
    DEPTHWISE,
    SPARSE_START,
    Amounts,
    CostTable,
    RuntimeCosts,
)
from edgeprune.targets.arm64_emulated.calibrate_operators import counted, solve_operators
from edgeprune.targets.arm64_emulated.choose import (
    emulator_of,
    installed_runtimes,
    required_emulator,
)
from edgeprune.targets.arm64_emulated.operator_probes import operator_probes
from edgeprune.targets.arm64_emulated.probes import DepthwiseProbe, PointwiseProbe, Probe
from edgeprune.targets.arm64_emulated.target import ARM64_EMULATED
from edgeprune.tflite.format.file import Graph, read
from edgeprune.tflite.gate import rules_for

_FORMATS: tuple[Numerics, ...] = ("float32", "float16-arithmetic", "dynamic-range", "int8")
START = {"nchw": SPARSE_START, "nhwc": "start/nhwc"}
"""What running a network costs at all, by its layout; that of dense ones is in no table."""
SIZES = {1: (1, 1), 2: (1, 2), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 49: (7, 7)}
SIZES |= {64: (8, 8), 196: (14, 14), 784: (28, 28), 3136: (56, 56)}
"""Height and width of a map by its pixels."""


def calibrate_core(core: Core, tell: Callable[[str, int, int], None]) -> CostTable:
    """Measures a core in every runtime that is set up for it; takes minutes.

    Raises:
      TargetError: the emulator is not set up.
      WorkerError: a runtime fails.
    """
    emulators = {runtime: emulator_of(runtime, core) for runtime in runtimes_on(core)}
    formats = [each for each in _FORMATS if each != "float16-arithmetic" or _has_halves(core)]
    steps = len(emulators) * (1 + len(formats))
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as name:
        sparse = tuple(make_probes())
        tell("building networks", 0, steps)
        networks = [
            probe.write(Path(name, f"{i:04}.tflite"), sparse=s)
            for i, (probe, s) in enumerate(sparse)
        ]
        sparse_graphs = [read(path) for path in networks]
        dense_graphs = {each: _write_probes(Path(name, each), each) for each in formats}
        runtimes = []
        for step, runtime in enumerate(emulators):
            begin = step * (1 + len(formats))
            tell(f"counting sparse networks in {runtime}", begin, steps)
            costs = RuntimeCosts(name=runtime.name, version=runtime.version, costs={})
            if not rules_for(runtime).needs_fp16 or _has_halves(core):
                counts = ARM64_EMULATED.count_each(sparse_graphs, runtime, core=core)
                costs = solve_costs(sparse, counts, runtime)
            found = []
            for place, (numerics, graphs) in enumerate(dense_graphs.items(), 1):
                tell(f"counting {numerics} networks in {runtime}", begin + place, steps)
                counts = ARM64_EMULATED.count_each(graphs, runtime, core=core)
                known = [counted(graph, count) for graph, count in zip(graphs, counts, strict=True)]
                found.append(solve_operators(known, numerics))
            runtimes.append(costs.model_copy(update={"formats": tuple(found)}))
    total = len(sparse) + sum(map(len, dense_graphs.values()))
    versions = dict.fromkeys(each.version("qemu") for each in emulators.values())
    return CostTable(
        date=datetime.now(timezone.utc).date().isoformat(),
        core=core,
        qemu=" and ".join(versions),
        source=f"edgeprune targets calibrate: executed instructions of {total} networks",
        runtimes=tuple(runtimes),
    )


def runtimes_on(core: Core) -> tuple[Runtime, ...]:
    """The runtimes that are set up and run on a core.

    Raises:
      TargetError: there is none; says what sets one up.
    """
    known = [each for each in installed_runtimes() if _runs(each, core)]
    if not known:
        emulator_of(required_emulator().runtimes()[-1], core)
    return tuple(known)


def _runs(runtime: Runtime, core: Core) -> bool:
    try:
        emulator_of(runtime, core)
    except TargetError:
        return False
    return True


def _has_halves(core: Core) -> bool:
    return "fp16-arithmetic" in CORE_FEATURES.get(core, ())


def _write_probes(folder: Path, numerics: Numerics) -> list[Graph]:
    folder.mkdir()
    graphs = []
    for index, network in enumerate(operator_probes(numerics)):
        path = folder / f"{index:04}.tflite"
        path.write_bytes(network.packed())
        graphs.append(read(path))
    return graphs


def solve_costs(
    probes: Sequence[tuple[Probe, bool]], counts: Sequence[int], runtime: Runtime
) -> RuntimeCosts:
    """Finds the costs that explain the counts best, with relative errors as the measure."""
    amounts = [probe_amounts(probe, sparse) for probe, sparse in probes]
    names = sorted({name for row in amounts for name in row})
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in amounts])
    measured = np.array(counts, float)
    costs, _ = nnls(matrix / measured[:, None], np.ones(len(counts)), maxiter=100 * len(names))
    error = np.abs(matrix @ costs / measured - 1).max()
    table = {
        feature: float(f"{value:.5g}")
        for feature, value in zip(names, costs, strict=True)
        if feature != START["nhwc"]
    }
    return RuntimeCosts(
        name=runtime.name, version=runtime.version, costs=table, error=float(f"{error:.2g}")
    )


def probe_amounts(probe: Probe, sparse: bool) -> Amounts:
    """The features of a probe, and its start."""
    kind: kernel_costs.MapLayout = "nchw" if sparse else "nhwc"
    pixels, channels = probe.height * probe.width, probe.channels
    parts: list[Amounts] = [
        {START[kind]: 1},
        kernel_costs.stem(channels, pixels, kind),
    ]
    for layer in probe.layers:
        match layer:
            case DepthwiseProbe(kernel, stride):
                pixels //= stride * stride
                parts.append(kernel_costs.depthwise(kernel, stride, channels, pixels, kind))
            case PointwiseProbe(outputs, sparsity, block) if sparse:
                parts.append(
                    kernel_costs.sparse_pointwise(outputs, channels, pixels, block, sparsity)
                )
                channels = outputs
            case PointwiseProbe(outputs):
                parts.append(kernel_costs.dense_pointwise(outputs, channels, pixels))
                channels = outputs
    return kernel_costs.add(*parts, kernel_costs.mean(channels, pixels, kind))


def make_probes() -> Iterator[tuple[Probe, bool]]:
    """Yields the networks to count, and whether each is stored for the sparse kernels."""
    for tile in kernel_costs.TILES:
        for block in BLOCKS:
            for outputs, sparsity in ((64, 0.7), (64, 0.9), (128, 0.8)):
                layer = PointwiseProbe(outputs, sparsity, block)
                yield Probe(*SIZES[tile], 256, (layer,)), True
            for inputs in (16, 48):
                yield Probe(*SIZES[tile], inputs, (PointwiseProbe(96, 0.75, block),)), True
            layers = (PointwiseProbe(128, 0.8, block), PointwiseProbe(64, 0.8, block))
            yield Probe(*SIZES[tile], 256, layers), True
    for block in BLOCKS:
        # Several layers, of which the mean sees the last alone.
        for inputs, *wide in ((16, 96), (48, 192, 24), (96, 24), (24, 144, 24, 144, 16)):
            chain = tuple(PointwiseProbe(each, 0.75, block) for each in wide)
            yield Probe(*SIZES[784], inputs, chain), True
    for pixels in kernel_costs.POINTWISE_PIXELS:
        for outputs in (32, 64, 128):
            yield Probe(*SIZES[pixels], 64, (PointwiseProbe(outputs), PointwiseProbe(64))), False
    for sparse in (False, True):
        yield from _probes_of_maps(sparse)


def _probes_of_maps(sparse: bool) -> Iterator[tuple[Probe, bool]]:
    """Yields the networks that tell stems, averages and depthwise convolutions apart."""
    sparsity = 0.75 if sparse else 0.0
    for pixels in kernel_costs.MAP_PIXELS:
        for channels, outputs in ((32, 64), (64, 64), (64, 32)):
            layer = PointwiseProbe(outputs, sparsity, 2)
            yield Probe(*SIZES[pixels], channels, (layer,)), sparse
    for pixels in kernel_costs.MAP_PIXELS:
        height, width = SIZES[pixels]
        for kernel, stride in DEPTHWISE:
            layers = (DepthwiseProbe(kernel, stride), PointwiseProbe(64, sparsity, 2))
            yield Probe(stride * height, stride * width, 32, layers), sparse
