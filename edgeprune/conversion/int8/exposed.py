"""A float file whose activations are all outputs, for a worker that reads them.

XNNPACK keeps no values between its operators, unless they are outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.conversion.int8.ranges import activations
from edgeprune.conversion.same_padding import write_out_padding
from edgeprune.targets.child import worker_model
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.signature import input_ports


@dataclass(frozen=True)
class Exposed:
    """The file as a job of `targets.worker` names it, and what goes in and comes out."""

    model: dict[str, Any]
    inputs: tuple[str, ...]
    """Names in the signature, in the order in which the worker takes them."""
    names: tuple[str, ...]
    """The names of the activations, in the order in which the worker gives them."""


def expose(draft: Draft, path: Path) -> Exposed:
    """Writes a float file with every activation among its outputs, and no signature.

    Args:
      draft: the float file.
      path: the file to write.
    """
    wanted = activations(draft.graph)
    ports = [(port.name, port.tensor) for port in input_ports(draft.graph)]
    draft = write_out_padding(draft)
    main = draft.model.subgraphs[0]
    main.outputs = np.array([*main.outputs, *sorted({*wanted} - {*main.outputs})], np.int32)
    draft.model.signatureDefs = []
    tflite_draft.write(draft, path)
    graph = tflite_file.read(path)
    model = {
        **worker_model(graph),
        "input_tensors": [tensor for _, tensor in ports],
        "output_tensors": list(wanted),
    }
    names = tuple(graph.tensors[index].name for index in wanted)
    return Exposed(model, tuple(name for name, _ in ports), names)
