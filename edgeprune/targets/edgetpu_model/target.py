"""The instrument `edgetpu-model`: the real compiler where it is installed, else edgeprune's model.

The compiler is closed and has no build for many machines; what it does was read from its outputs.
Either way nothing is timed: cycles are the compiler's own old estimate, and no time follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.errors import TargetError
from edgeprune.core.files import describe_file
from edgeprune.targets.checks import Case, Check
from edgeprune.targets.edgetpu_model.checks import checks
from edgeprune.targets.edgetpu_model.compiler import COMPILER, find_compiler
from edgeprune.targets.edgetpu_model.compiler_log import CompilerError
from edgeprune.targets.edgetpu_model.fit import streaming_time
from edgeprune.targets.edgetpu_model.opinion import MODEL_TITLE, Opinion, opinion
from edgeprune.targets.latency import Speedup
from edgeprune.targets.measurement import LayerCost, Measurement, Settings
from edgeprune.targets.target import Capabilities, Readiness
from edgeprune.tflite.compiled import require_uncompiled
from edgeprune.tflite.format import file as tflite_file

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile

_NAME = "edgetpu-model"
DEBIAN_PACKAGE = "edgetpu-compiler (Debian, x86)"
CHIP, CPU = "Edge TPU", "CPU"


class EdgeTpuModel:
    """Says what the Edge TPU compiler makes of files, by itself or by its model."""

    capabilities = Capabilities(leaves_unknown=True, repeatable=True, cost_unit="cycles")

    def readiness(self) -> Readiness:
        """Always ready; says whether the compiler itself is here."""
        program = find_compiler()
        if program:
            return Readiness(True, program)
        detail = f"{MODEL_TITLE}, since {COMPILER} is not on the PATH"
        return Readiness(True, detail, f"for the compiler itself: Coral's package {DEBIAN_PACKAGE}")

    def install(self, tell: Callable[[str, int, int], None]) -> None:
        """Has nothing to do."""

    def measure(
        self, models: Sequence[Path], profile: DeviceProfile, settings: Settings
    ) -> tuple[Measurement, ...]:
        """Estimates files; several are compared with the first by their cycles."""
        if settings.runtime is not None:
            raise TargetError(
                f"Target '{_NAME}' models a compiler and has no runtime to choose. Received: "
                f"{settings.runtime}. Leave out --runtime, or name another --target."
            )
        graphs = [tflite_file.read(path) for path in models]
        for graph in graphs:
            require_uncompiled(graph)
        found = [_measurement(opinion(graph, profile), profile) for graph in graphs]
        return tuple(
            replace(m, speedup=_faster(found[0], m)) if i else m for i, m in enumerate(found)
        )

    def check(self, case: Case) -> Iterator[Check]:
        """What is mapped, whether its parameters stay on the chip, and what flattening costs."""
        try:
            found = opinion(case.graph, case.profile)
        except CompilerError as error:
            yield Check(COMPILER, False, str(error), "compiles", str(error), kind="compiles")
            return
        yield from checks(found, case.profile.limits.on_chip_bytes)


EDGETPU_MODEL = EdgeTpuModel()


def _measurement(found: Opinion, profile: DeviceProfile) -> Measurement:
    log = found.log
    artifact = describe_file(found.graph.path)
    cached = log.cached_bytes if log else found.fit.cached_bytes
    streamed = log.streamed_bytes if log else found.fit.streamed_bytes
    return Measurement(
        model=str(found.graph.path),
        device=profile.name,
        target=_NAME,
        runtime=f"{COMPILER} {log.version}" if log else MODEL_TITLE,
        simulated=True,
        size_bytes=artifact.size_bytes,
        gzip_bytes=artifact.gzip_bytes,
        cycles=found.estimate.cycles or None,
        memory={"cached_bytes": cached, "streamed_bytes": streamed},
        ops_on_device=found.mapped,
        ops_on_cpu=found.operators - found.mapped,
        layers=_layers(found),
        conditions=_conditions(found, streamed),
        warnings=tuple(_warnings(found)),
    )


def _layers(found: Opinion) -> tuple[LayerCost, ...]:
    """One row per operator, by the model; the compiler names operators by kind only."""
    main = found.graph.subgraphs[0]
    rows = []
    for operator in found.estimate.operators:
        placement, stored = operator.placement, operator.stored
        outputs = main.operators[placement.index].outputs
        rows.append(
            LayerCost(
                name=main.tensors[outputs[0]].name if outputs else "",
                op=placement.op,
                where=CHIP if placement.mapped else CPU,
                cycles=stored.cycles if placement.mapped and stored.cycles else None,
                bytes=stored.kept + stored.streamed if placement.mapped else None,
                note=stored.note or placement.reason,
            )
        )
    return tuple(rows)


def _conditions(found: Opinion, streamed: int) -> str:
    """What the numbers are."""
    parts = [
        "cycles are what builds of the compiler up to 2020 estimated for the layers on the Edge "
        "TPU; no time follows from them"
    ]
    if found.log is not None:
        parts.append(
            f"bytes and operators by {COMPILER}, rounded as it prints them; {found.prediction}"
        )
    if streamed:
        parts.append(f"streaming adds {streaming_time(streamed)}")
    return "; ".join(parts)


def _warnings(found: Opinion) -> Iterator[str]:
    if found.on_cpu:
        yield f"On the CPU: {found.on_cpu}."
    if found.log is None and found.fit.state != "fits":
        yield f"{found.fit.message}."
    yield from found.estimate.notes()


def _faster(first: Measurement, other: Measurement) -> Speedup | None:
    """The ratio of cycles, where both leave as much to the CPU; what is streamed is not in it."""
    alike = first.ops_on_cpu == other.ops_on_cpu
    if not first.cycles or not other.cycles or not alike:
        return None
    ratio = first.cycles / other.cycles
    return Speedup(ratio, (ratio, ratio), of="cycles")
