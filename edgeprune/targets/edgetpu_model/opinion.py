"""What is known of one file: the model's estimate, and what the compiler says if it is here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeprune.targets.edgetpu_model.compiler import find_compiler, run_compiler
from edgeprune.targets.edgetpu_model.compiler_log import MAPPED, CompilerLog
from edgeprune.targets.edgetpu_model.estimate import Estimate, estimate
from edgeprune.targets.edgetpu_model.fit import ChipFit, chip_fit
from edgeprune.targets.edgetpu_model.mapping import on_cpu
from edgeprune.tflite.format.file import Graph

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile

MODEL_TITLE = "edgeprune's model of edgetpu_compiler"


@dataclass(frozen=True)
class Opinion:
    """An estimate of a file and its fit, and the compiler's log; None where it is not installed."""

    graph: Graph
    estimate: Estimate
    fit: ChipFit
    log: CompilerLog | None

    @property
    def mapped(self) -> int:
        """Operators on the Edge TPU."""
        return self.log.mapped if self.log else self.estimate.mapped

    @property
    def operators(self) -> int:
        """All operators of the file."""
        return self.log.operators if self.log else len(self.estimate.operators)

    @property
    def on_cpu(self) -> str:
        """The operators left on the CPU with the reason, in words; empty if there are none."""
        if self.log is None:
            return on_cpu(self.estimate.placements)
        left = (row for row in self.log.rows if row.status != MAPPED)
        return "; ".join(f"{row.op} x{row.count}: {row.status}" for row in left)

    @property
    def prediction(self) -> str:
        """The model's numbers, to stand beside those of the compiler."""
        return (
            f"{MODEL_TITLE} predicts {self.fit.cached_bytes} bytes cached, "
            f"{self.fit.streamed_bytes} streamed, {self.estimate.mapped} operators mapped"
        )


def opinion(graph: Graph, profile: DeviceProfile) -> Opinion:
    """Estimates a file, and compiles it if the compiler is on the PATH.

    Raises:
      CompilerError: the compiler refuses the file, crashes on it or does not end.
    """
    program = find_compiler()
    log = run_compiler(program, graph.path) if program else None
    found = estimate(graph)
    return Opinion(graph, found, chip_fit(found, profile.limits.on_chip_bytes.value), log)
