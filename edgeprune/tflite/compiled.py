"""Files that a device's compiler made: its own code in place of operators and weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgeprune.core.errors import TfliteError
from edgeprune.tflite.format.graph import Graph

EDGE_TPU = "edgetpu-custom-op"
ETHOS_U = "ethos-u"
COMPILERS: Mapping[str, str] = MappingProxyType({EDGE_TPU: "edgetpu_compiler", ETHOS_U: "Vela"})
"""Custom operators that hold compiled code, and what compiled it."""


def made_by(graph: Graph) -> str | None:
    """The custom operator of a compiler in a file; None in a file that was not compiled."""
    found = {operator.op for operator in graph.operators if operator.custom}
    return next((op for op in COMPILERS if op in found), None)


def require_uncompiled(graph: Graph) -> None:
    """Checks that a file holds weights, and not the code of a compiler.

    Raises:
      TfliteError: it was compiled; names the compiler.
    """
    op = made_by(graph)
    if op is not None:
        raise TfliteError(
            f"{graph.path}: expected a file as it was before {COMPILERS[op]} compiled it. "
            f"Received: one with its code ({op}). Give the file that {COMPILERS[op]} was given."
        )
