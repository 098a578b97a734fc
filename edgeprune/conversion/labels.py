"""Class names that go from the calibration data into the file."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.core.data import Ports, Scale, signature_name
from edgeprune.tflite.class_names import Port, with_class_names
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.signature import input_ports, output_ports


def with_labels(draft: Draft, classes: Sequence[str], ports: Ports, scale: Scale) -> Draft:
    """A file with the names of its classes; as it is where the model does not tell these apart.

    Args:
      draft: the file; its model is changed in place.
      classes: names by number; may be empty.
      ports: of the Keras model.
      scale: what uint8 is scaled by, so that readers of the file can do it too.
    """
    if not classes or ports.scores not in ((1, 2) if len(classes) == 2 else (len(classes),)):
        return draft
    specs = {signature_name(spec.name): spec for spec in ports.inputs}
    names = {port.tensor: port.name for port in input_ports(draft.graph)}
    known = [(names[tensor], specs.get(names[tensor])) for tensor in draft.graph.inputs]
    inputs = [
        Port(name, spec.shape[-1] if spec.takes_images else None, spec.scale_by(scale))
        if spec is not None and spec.dtype.startswith("float")
        else Port(name)
        for name, spec in known
    ]
    outputs = [Port(port.name) for port in output_ports(draft.graph)]
    return with_class_names(draft, classes, inputs, outputs)
