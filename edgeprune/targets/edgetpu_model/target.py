"""The instrument `edgetpu-model`: the real compiler where it is installed, else edgeprune's model.

The compiler is closed and has no build for many machines; what it does was read from its outputs.
Either way nothing is timed: cycles are the compiler's own old estimate, and milliseconds stay open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.artifact import describe_file
from edgeprune.checks import Case, Check
from edgeprune.errors import TargetError
from edgeprune.measure import LayerCost, Measurement, Settings, Speedup
from edgeprune.profile import DeviceProfile
from edgeprune.targets.edgetpu_model.compiler import PROGRAM, compile_model, find_compiler
from edgeprune.targets.edgetpu_model.compiler_log import MAPPED, CompilerError, CompilerLog
from edgeprune.targets.edgetpu_model.estimate import Estimate, estimate
from edgeprune.targets.edgetpu_model.fit import Fit, fit, streaming_time
from edgeprune.targets.edgetpu_model.mapping import on_cpu
from edgeprune.targets.target import Readiness
from edgeprune.tflite import file as tflite_file
from edgeprune.tflite.file import Graph

NAME = "edgetpu-model"
MODEL = "edgeprune's model of edgetpu_compiler"
CHIP, CPU = "Edge TPU", "CPU"


@dataclass(frozen=True)
class Opinion:
    """What is known of one file: the model's estimate, and the compiler's log if it is here."""

    graph: Graph
    estimate: Estimate
    fit: Fit
    log: CompilerLog | None


class EdgeTpuModel:
    """Says what the Edge TPU compiler makes of files, by itself or by its model."""

    def readiness(self) -> Readiness:
        """Always ready; says whether the compiler itself is here."""
        program = find_compiler()
        found = program or f"{MODEL} ({PROGRAM} is not on the PATH)"
        return Readiness(True, found)

    def install(self, tell: Callable[[str, int, int], None]) -> None:
        """Has nothing to do."""

    def measure(
        self, models: Sequence[Path], profile: DeviceProfile, settings: Settings
    ) -> tuple[Measurement, ...]:
        """Estimates files; several are compared with the first by their cycles."""
        if settings.runtime is not None:
            raise TargetError(
                f"Target '{NAME}' models a compiler and has no runtime to choose. Received: "
                f"{settings.runtime}. Leave out --runtime, or name another --target."
            )
        graphs = [tflite_file.read(path) for path in models]
        found = [_measurement(_opinion(graph, profile), profile) for graph in graphs]
        return tuple(
            replace(m, speedup=_faster(found[0], m)) if i else m for i, m in enumerate(found)
        )

    def check(self, case: Case) -> Iterator[Check]:
        """What is mapped, whether its parameters stay on the chip, and what flattening costs."""
        try:
            opinion = _opinion(case.graph, case.profile)
        except CompilerError as error:
            yield Check(PROGRAM, False, str(error), "compiles", str(error))
            return
        yield _check_mapped(opinion)
        yield _check_fit(opinion, case.profile)
        yield from _check_flatten(opinion)


EDGETPU_MODEL = EdgeTpuModel()


def _opinion(graph: Graph, profile: DeviceProfile) -> Opinion:
    program = find_compiler()
    log = compile_model(program, graph.path) if program else None
    found = estimate(graph)
    return Opinion(graph, found, fit(found, profile.limits.on_chip_bytes.value), log)


def _measurement(opinion: Opinion, profile: DeviceProfile) -> Measurement:
    log, found = opinion.log, opinion.estimate
    artifact = describe_file(opinion.graph.path)
    cached = log.cached_bytes if log else opinion.fit.cached_bytes
    streamed = log.streamed_bytes if log else opinion.fit.streamed_bytes
    mapped = log.mapped if log else found.mapped
    return Measurement(
        model=str(opinion.graph.path),
        device=profile.name,
        target=NAME,
        runtime=f"{PROGRAM} {log.version}" if log else MODEL,
        simulated=True,
        size_bytes=artifact.size_bytes,
        gzip_bytes=artifact.gzip_bytes,
        cycles=found.cycles or None,
        memory={"cached_bytes": cached, "streamed_bytes": streamed},
        ops_on_device=mapped,
        ops_on_cpu=(log.operators if log else len(found.operators)) - mapped,
        layers=_layers(opinion),
        conditions=_conditions(opinion, streamed),
        warnings=tuple(_warnings(opinion)),
    )


def _layers(opinion: Opinion) -> tuple[LayerCost, ...]:
    """One row per operator, by the model; the compiler names operators by kind only."""
    main = opinion.graph.subgraphs[0]
    rows = []
    for found in opinion.estimate.operators:
        placement, stored = found.placement, found.stored
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


def _conditions(opinion: Opinion, streamed: int) -> str:
    """What the numbers are."""
    parts = [
        "cycles are what builds of the compiler up to 2020 estimated for the layers on the Edge "
        "TPU; no time follows from them"
    ]
    if opinion.log is not None:
        parts.append(
            f"bytes and operators by {PROGRAM}, rounded as it prints them; {_prediction(opinion)}"
        )
    if streamed:
        parts.append(f"streaming adds {streaming_time(streamed)}")
    return "; ".join(parts)


def _prediction(opinion: Opinion) -> str:
    """The model's numbers, beside those of the compiler."""
    found = opinion.fit
    return (
        f"{MODEL} predicts {found.cached_bytes} bytes cached, {found.streamed_bytes} streamed, "
        f"{opinion.estimate.mapped} operators mapped"
    )


def _warnings(opinion: Opinion) -> Iterator[str]:
    if opinion.log is not None:
        left = [row for row in opinion.log.rows if row.status != MAPPED]
        if left:
            rows = "; ".join(f"{row.op} x{row.count}: {row.status}" for row in left)
            yield f"On the CPU, as {PROGRAM} says: {rows}."
    elif opinion.estimate.mapped < len(opinion.estimate.operators):
        yield f"On the CPU: {on_cpu(opinion.estimate.placements)}."
    if opinion.log is None and opinion.fit.state != "fits":
        yield f"{opinion.fit.message}."
    yield from opinion.estimate.notes()


def _faster(first: Measurement, other: Measurement) -> Speedup | None:
    """The ratio of cycles, where both leave as much to the CPU and stream nothing more."""
    alike = first.ops_on_cpu == other.ops_on_cpu
    if not first.cycles or not other.cycles or not alike:
        return None
    ratio = first.cycles / other.cycles
    return Speedup(ratio, (ratio, ratio), of="cycles")


def _check_mapped(opinion: Opinion) -> Check:
    log, found = opinion.log, opinion.estimate
    mapped = log.mapped if log else found.mapped
    total = log.operators if log else len(found.operators)
    left = "; ".join(
        f"{row.op} x{row.count}: {row.status}"
        for row in (log.rows if log else ())
        if row.status != MAPPED
    )
    left = left or ("" if log else on_cpu(found.placements))
    message = f"on the CPU: {left}" if left else "every operator runs on the Edge TPU"
    if not mapped:
        message += ". Nothing runs on the Edge TPU: export the model in int8 for this device"
    if log:
        message += f" ({_prediction(opinion)})"
    return Check("operators on the Edge TPU", mapped > 0, mapped, total, message)


def _check_fit(opinion: Opinion, profile: DeviceProfile) -> Check:
    name, limit = "fits on chip", profile.limits.on_chip_bytes
    log = opinion.log
    if log is None:
        ok = opinion.fit.state != "streams"
        message = opinion.fit.message if ok else f"{opinion.fit.message} (limit: {limit.source})"
        return Check(name, ok, opinion.estimate.kept_bytes, limit.value, message)
    # Constants of elementwise operators are streamed also where there is room.
    ok = log.streamed_bytes <= log.remaining_bytes
    message = (
        f"{PROGRAM} caches {log.cached_bytes} bytes and streams {log.streamed_bytes}, with "
        f"{log.remaining_bytes} left ({_prediction(opinion)})"
    )
    if not ok:
        message += f"; streaming adds {streaming_time(log.streamed_bytes)}. Remove channels"
    total = log.cached_bytes + log.streamed_bytes
    return Check(name, ok, total, log.cached_bytes + log.remaining_bytes, message)


def _check_flatten(opinion: Opinion) -> Iterator[Check]:
    """Warns of the room that flattening takes; it fails nothing by itself."""
    traps = [o.stored for o in opinion.estimate.operators if o.placement.op == "RESHAPE"]
    notes = [stored.note for stored in traps if stored.kept]
    if notes:
        total = sum(stored.kept for stored in traps)
        yield Check("flatten", True, total, None, ". ".join(notes))
