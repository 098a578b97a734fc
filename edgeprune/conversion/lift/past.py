"""Windows over earlier samples in Keras, where samples that follow each other are a batch.

    file     READ_VARIABLE and x --> CONCATENATION --> y, whose last places --> ASSIGN_VARIABLE
    Keras    x --> Past --> y

Other uses of variables have no counterpart.
"""

from __future__ import annotations

from typing import Any

from edgeprune.conversion.lift.layers import Past
from edgeprune.conversion.lift.site import BlockedError, KerasTensor, Site, restored
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.streams import Window


def with_past(site: Site, graph: Graph, window: Window) -> KerasTensor:
    """A CONCATENATION of a window and what is new, in Keras.

    Args:
      site: the operator.
      graph: the file.
      window: of the operator.

    Raises:
      BlockedError: samples are no batch, its second input is no value of theirs, or what is in the
        window at first cannot be read.
    """
    if site.whole or not site.is_live(1):
        raise BlockedError("it keeps values of earlier samples, which are no batch here")
    values = restored(graph.subgraphs[window.subgraph], window.first)
    if values is None:
        raise BlockedError("what it keeps at first cannot be read")
    layer = Past(values.shape[1:], name=site.name)
    made: Any = site.apply(layer, site.tensor(1))
    site.building.values.append((layer, [values[0]]))
    return made
