"""Checks of a file before it gets its name, on files that TensorFlow's converter would write."""

from __future__ import annotations

import pytest

from edgeprune.conversion.check_written import layer_of

PATHS = ("conv", "conv_1", "encoder/conv", "head")


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("net_1/conv_1/convolution", "conv"),
        ("net_1/conv_1_1/convolution;net_1/conv_1_1/bias", "conv_1"),
        ("net_1/encoder_1/conv_1/convolution", "encoder/conv"),
        ("net/head/MatMul", "head"),
        ("StatefulPartitionedCall:0", "StatefulPartitionedCall:0"),
    ],
)
def test_a_tensors_name_leads_to_the_layer_that_made_it(tensor: str, layer: str) -> None:
    assert layer_of(tensor, PATHS) == layer
