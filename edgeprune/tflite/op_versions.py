"""What the runtimes' kernels accept, as far as a file shows it: operator versions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgeprune.core.runtime import Runtime
from edgeprune.tflite.format.file import Graph

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REFERENCE_RUNTIMES = (Runtime("tflite-runtime", "2.14.0"), Runtime("LiteRT", "2.3.0"))
"""What a file is held against when no device is named."""


@dataclass(frozen=True)
class VersionMiss:
    """An operator of a file that a runtime has no kernel for."""

    op: str
    version: int
    highest: int
    """The newest version that the runtime knows; 0 if it does not know the operator."""
    runtime: Runtime

    def __str__(self) -> str:
        known = f"up to version {self.highest}" if self.highest else "not at all"
        return f"{self.op} version {self.version} ({self.runtime} has it {known})"


@cache
def op_versions() -> Mapping[str, Mapping[str, int]]:
    """Highest version per operator, by runtime (`"tflite-runtime 2.14.0"`).

    Source: the runtimes themselves, by `scripts/probe_op_versions`.
    """
    path = Path(__file__).with_name("op_versions.toml")
    if not path.is_file():
        return {}
    return tomllib.loads(path.read_text(encoding="utf-8"))


def version_misses(graph: Graph, runtimes: Sequence[Runtime]) -> tuple[VersionMiss, ...]:
    """Operators of a file that one of the runtimes has no kernel for.

    Runtimes that were not probed are passed over, and so are custom operators.
    """
    used = {
        (operator.op, operator.version)
        for subgraph in graph.subgraphs
        for operator in subgraph.operators
        if not operator.custom
    }
    return tuple(
        VersionMiss(op, version, versions.get(op, 0), runtime)
        for runtime in runtimes
        if (versions := op_versions().get(str(runtime)))
        for op, version in sorted(used)
        if version > versions.get(op, 0)
    )
