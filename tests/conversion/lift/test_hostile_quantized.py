"""Damaged files with quantized values are refused by name, or lifted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.lifted import Unliftable
from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.walk import lift
from edgeprune.core.errors import EdgepruneError
from edgeprune.tflite.format.draft import load, write
from tests.support.lift_cases import RELU, ints, values
from tests.support.quantized_cases import STEPS, ZEROS
from tests.support.tflite_builder import Net
from tests.support.tflite_edits import edit
from tests.support.tflite_fuzz import damage


def small(path: Path) -> Path:
    """uint8: a padded map, a convolution, a mean and a matrix, in other steps each time."""
    net = Net()
    shapes = [(1, 4, 4, 2), (1, 6, 6, 2), (1, 4, 4, 3), (1, 3), (1, 5)]
    x, wide, mixed, mean, y = (
        net.tensor(
            f"t{at}", shape, "uint8", scales=[STEPS["uint8"] + at / 99], zero_point=ZEROS["uint8"]
        )
        for at, shape in enumerate(shapes)
    )
    pads = net.constant("pads", ints([0, 0], [1, 1], [1, 1], [0, 0]))
    kernel = np.rint(values(3, 3, 3, 2) * 40 + 128).astype(np.uint8)
    matrix = np.rint(values(5, 3) * 40 + 128).astype(np.uint8)
    weights = [
        net.constant(name, array, scales=[0.02], zero_point=128)
        for name, array in (("k", kernel), ("m", matrix))
    ]
    bias = net.constant("b", ints(10, 20, 30), scales=[STEPS["uint8"] * 0.02])
    options = schema.Conv2DOptionsT(padding=1, strideH=1, strideW=1, fusedActivationFunction=RELU)
    options.dilationHFactor = options.dilationWFactor = 1
    net.operator("PAD", [x, pads], [wide], 1, schema.PadOptionsT())
    net.operator("CONV_2D", [wide, weights[0], bias], [mixed], 1, options)
    net.operator("MEAN", [mixed, net.constant("axes", ints(1, 2))], [mean], 1)
    net.operator("FULLY_CONNECTED", [mean, weights[1], -1], [y], 1, schema.FullyConnectedOptionsT())
    return net.save(path, [x], [y])


def refusal(path: Path) -> str:
    """The message with which a file is not lifted; empty where it is."""
    try:
        lift(path)
    except EdgepruneError as error:
        return str(error)
    return ""


def test_a_damaged_file_is_lifted_or_refused_by_its_name(tmp_path: Path) -> None:
    content = small(tmp_path / "small.tflite").read_bytes()
    path, messages = tmp_path / "damaged.tflite", []
    for seed in range(40):
        path.write_bytes((edit if seed % 2 else damage)(content, seed))
        messages.append(refusal(path))
    refused = [message for message in messages if message]
    assert 5 < len(refused) < 35
    assert all(str(path) in message for message in refused)


def test_weights_whose_steps_are_no_numbers_are_refused(tmp_path: Path) -> None:
    draft = load(small(tmp_path / "small.tflite"))
    (kernel,) = [each for each in draft.model.subgraphs[0].tensors if each.name == b"k"]
    kernel.quantization.scale = np.full(1, np.inf, np.float32)
    write(draft, tmp_path / "endless.tflite")
    message = refusal(tmp_path / "endless.tflite")
    assert "operator 1 (CONV_2D): tensor 'k' has scales that are not finite" in message


def test_a_function_that_keras_has_for_real_numbers_alone_is_refused(tmp_path: Path) -> None:
    net = Net()
    x, y = (net.tensor(name, (1, 4), "int8") for name in "xy")
    net.operator("SOFTMAX", [x], [y], 1, schema.SoftmaxOptionsT(beta=1))
    lifted = lift(net.save(tmp_path / "whole.tflite", [x], [y]))
    with pytest.raises(Unliftable, match=r"whole.tflite: .*the model: Keras does not run it"):
        prove(lifted)
