"""A file as runtimes read it that lack some of its custom operators."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprune.tflite.format.decode_operator import holds_packed
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.remainder import without_remainder
from edgeprune.tflite.store_densely import densify_file


@contextmanager
def plain_form(graph: Graph) -> Iterator[Graph]:
    """Gives a file whose packed weights are unpacked while a block runs; itself if it has none.

    What is in a coding that is not read here stays packed.
    """
    if not holds_packed(graph):
        yield graph
        return
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        path = Path(folder, graph.path.name)
        densify_file(graph.path, path)
        yield read(path)


@contextmanager
def runnable_form(graph: Graph) -> Iterator[Graph]:
    """Gives what runtimes on this computer run of a file: no remainder, and no packed weights."""
    with without_remainder(graph) as runnable, plain_form(runnable) as plain:
        yield plain
