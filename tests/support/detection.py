"""A detector straight from the schema: convolutions, then TFLite_Detection_PostProcess."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from tests.support.islands import pointwise
from tests.support.lift_cases import ints
from tests.support.tflite_builder import Net

BOXES, CLASSES = 16, 2


def detector(path: Path) -> Path:
    """Four detections of two classes on a map of 4x4, one box per pixel."""
    net = Net()
    x = net.tensor("x", (1, 4, 4, 3))
    features = pointwise(net, x, "features", 24, activation=1)
    boxes = _flat(net, pointwise(net, features, "boxes", 4), 4)
    scores = _flat(net, pointwise(net, features, "classes", CLASSES + 1), CLASSES + 1)
    likely = net.tensor("likely", (1, BOXES, CLASSES + 1))
    net.operator("LOGISTIC", [scores], [likely])
    shapes = {"places": (1, 4, 4), "kinds": (1, 4), "sureness": (1, 4), "number": (1,)}
    made = [net.tensor(name, shape) for name, shape in shapes.items()]
    net.operator(
        "CUSTOM",
        [boxes, likely, net.constant("anchors", _anchors())],
        made,
        custom_code=b"TFLite_Detection_PostProcess",
    )
    options = np.frombuffer(flexbuffers.Dumps(_OPTIONS), np.uint8)
    net.graph.operators[-1].customOptions = options
    return net.save(path, [x], made)


_OPTIONS = {
    "max_detections": 4,
    "max_classes_per_detection": 1,
    "nms_score_threshold": 0.1,
    "nms_iou_threshold": 0.6,
    "num_classes": CLASSES,
    "y_scale": 10.0,
    "x_scale": 10.0,
    "h_scale": 5.0,
    "w_scale": 5.0,
}


def _flat(net: Net, x: int, channels: int) -> int:
    """A map as rows of its pixels."""
    made = net.tensor(f"flat/{channels}", (1, BOXES, channels))
    shape = net.constant(f"shape/{channels}", ints(1, BOXES, channels))
    net.operator("RESHAPE", [x, shape], [made], 1, schema.ReshapeOptionsT())
    return made


def _anchors() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    places = (np.arange(4, dtype=np.float32) + 0.5) / 4
    rows, columns = np.meshgrid(places, places, indexing="ij")
    sizes = np.full(BOXES, 0.3, np.float32)
    return np.stack([rows.ravel(), columns.ravel(), sizes, sizes], axis=1)
