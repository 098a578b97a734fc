"""What a file decides by: the values in front of its last ARG_MAX or softmax.

Kernels that differ by rounding alone may choose another class where two are equally likely, and a
sharp softmax makes one step of its input a tenth of its output. Whether kernels compute the same
shows in front of such operators.

    before   x --> CONV_2D --> y --> ARG_MAX --> output
    after    x --> CONV_2D --> y (output)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeprune.core.errors import TfliteError
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.format.file import Graph, Subgraph, read

_DECIDE = ("ARG_MAX", "ARG_MIN", "LOG_SOFTMAX", "LOGISTIC", "SOFTMAX", "TOPK_V2")
_PASS_ON = ("CAST", "DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE")


def without_decisions(graph: Graph, output: Path) -> Graph | None:
    """Writes a file that ends in front of the decisions that another one ends in.

    Args:
      graph: the file.
      output: where to.

    Returns:
      What was written; None where no output is a decision, or where the file cannot be edited.
    """
    ends = tuple(dict.fromkeys(_before_decisions(graph.subgraphs[0], i) for i in graph.outputs))
    if ends == graph.outputs:
        return None
    try:
        draft = load(graph.path)
    except TfliteError:
        return None
    draft.model.subgraphs[0].outputs = np.array(ends, np.int32)
    draft.model.signatureDefs = []
    write(draft, output)
    return read(output)


def _before_decisions(main: Subgraph, index: int) -> int:
    """The tensor in front of the first of the decisions that an output is made by, or the output.

    Only what all of an output's information comes through is followed.
    """
    found = index
    while (maker := main.makers.get(index)) is not None and maker.op in (*_DECIDE, *_PASS_ON):
        index = maker.inputs[0]
        found = index if maker.op in _DECIDE else found
    return found
