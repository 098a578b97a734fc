"""What instruments say of a file for `inspect`, without measuring it.

Each is imported only for a device that it measures: a look into a file is to be quick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from edgeprune.core.finding import Finding
from edgeprune.tflite.format.file import Graph


def _edgetpu_model(graph: Graph) -> Iterator[Finding]:
    from edgeprune.targets.edgetpu_model.findings import edge_tpu_findings

    return edge_tpu_findings(graph)


FINDERS: Mapping[str, Callable[[Graph], Iterator[Finding]]] = MappingProxyType(
    {"edgetpu-model": _edgetpu_model}
)
"""What finds something in a graph, by the name of the instrument; most have none."""


def target_findings(graph: Graph, targets: Iterable[str]) -> tuple[Finding, ...]:
    """What the instruments of those names find in a file, in their order."""
    finders = (FINDERS[name] for name in targets if name in FINDERS)
    return tuple(finding for find in finders for finding in find(graph))
