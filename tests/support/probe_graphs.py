"""Small networks as the graphs that a reader makes of them, without a file."""

from __future__ import annotations

from pathlib import Path

from edgeprune.targets.arm64_emulated.probe_network import ProbeNetwork
from edgeprune.tflite.format.file import check_bytes, graph_of
from edgeprune.tflite.format.graph import Graph


def graph_of_network(net: ProbeNetwork) -> Graph:
    """What is read from the bytes of a network."""
    content, path = net.packed(), Path("probe.tflite")
    reader, record = check_bytes(bytearray(content) + bytes(8), len(content), path)
    return graph_of(path, reader, record)
