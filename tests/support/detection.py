"""A detector straight from the schema: convolutions, then TFLite_Detection_PostProcess."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from tests.support.islands import pointwise
from tests.support.lift_cases import ints
from tests.support.quantized_networks import QuantizedNet
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
    return net.save(path, [x], _processed(net, boxes, likely))


def quantized_detector(path: Path) -> Path:
    """The same detections of uint8 features; what comes out is real."""
    net = QuantizedNet("uint8")
    x = net.activation("x", 1, 4, 4, 3, low=-1, high=1)
    features = _convolved(net, x, "features", 24, activation=1)
    boxes = _flat(net, _convolved(net, features, "boxes", 4), 4)
    scores = _flat(net, _convolved(net, features, "classes", CLASSES + 1), CLASSES + 1)
    likely = net.tensor("likely", (1, BOXES, CLASSES + 1), "uint8", scales=[1 / 256])
    net.operator("LOGISTIC", [scores], [likely])
    return net.save(path, [x], _processed(net, boxes, likely))


def _convolved(net: QuantizedNet, x: int, name: str, outputs: int, *, activation: int = 0) -> int:
    options = schema.Conv2DOptionsT(
        padding=1, strideH=1, strideW=1, fusedActivationFunction=activation
    )
    options.dilationHFactor = options.dilationWFactor = 1
    made = net.activation(name, 1, 4, 4, outputs, low=-4, high=4)
    inputs = int(net.graph.tensors[x].shape[-1])
    return net.layer("CONV_2D", x, net.weight(f"{name}/w", outputs, 1, 1, inputs), made, options)


def _processed(net: Net, boxes: int, likely: int) -> list[int]:
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
    return made


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
    """A map as rows of its pixels, in the steps of the map."""
    made = net.tensor(f"flat/{channels}", (1, BOXES, channels))
    source, flat = (net.graph.tensors[index] for index in (x, made))
    flat.type, flat.quantization = source.type, source.quantization
    shape = net.constant(f"shape/{channels}", ints(1, BOXES, channels))
    net.operator("RESHAPE", [x, shape], [made], 1, schema.ReshapeOptionsT())
    return made


def _anchors() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    places = (np.arange(4, dtype=np.float32) + 0.5) / 4
    rows, columns = np.meshgrid(places, places, indexing="ij")
    sizes = np.full(BOXES, 0.3, np.float32)
    return np.stack([rows.ravel(), columns.ravel(), sizes, sizes], axis=1)
