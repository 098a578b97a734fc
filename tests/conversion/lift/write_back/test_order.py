"""Kernels in the order of a file and in that of Keras."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.conversion.lift.write_back.order import KernelOrder

CASES = [
    ("CONV_2D", "Conv2D", False, (3, 2, 4, 5), (5, 3, 2, 4)),
    ("DEPTHWISE_CONV_2D", "DepthwiseConv2D", False, (3, 2, 4, 2), (1, 3, 2, 8)),
    ("DEPTHWISE_CONV_2D", "Conv2D", False, (3, 2, 1, 8), (1, 3, 2, 8)),
    ("TRANSPOSE_CONV", "Conv2DTranspose", False, (3, 2, 5, 4), (5, 3, 2, 4)),
    ("CONV_3D", "Conv3D", False, (2, 3, 2, 4, 5), (2, 3, 2, 4, 5)),
    ("FULLY_CONNECTED", "Dense", False, (4, 5), (5, 4)),
    ("BATCH_MATMUL", "Dense", True, (4, 5), (1, 4, 5)),
    ("BATCH_MATMUL", "Dense", False, (4, 5), (1, 5, 4)),
]


@pytest.mark.parametrize(("op", "kind", "transposed", "keras", "stored"), CASES)
def test_a_kernel_comes_back_from_the_file_as_it_went_in(
    op: str, kind: str, transposed: bool, keras: tuple[int, ...], stored: tuple[int, ...]
) -> None:
    order = KernelOrder(op, kind, transposed)
    kernel = np.arange(np.prod(keras), dtype=np.float32).reshape(keras)
    written = order.to_file(kernel, stored)
    assert written.shape == stored
    assert np.array_equal(order.to_keras(written, keras), kernel)


def test_a_convolution_is_stored_with_its_outputs_in_front() -> None:
    kernel = np.random.default_rng(0).random((3, 2, 4, 5)).astype(np.float32)
    written = KernelOrder("CONV_2D", "Conv2D", False).to_file(kernel, (5, 3, 2, 4))
    assert np.array_equal(written, kernel.transpose(3, 0, 1, 2))


def test_a_depthwise_convolution_is_stored_with_its_multiplier_fastest() -> None:
    kernel = np.random.default_rng(0).random((3, 2, 4, 2)).astype(np.float32)
    order = KernelOrder("DEPTHWISE_CONV_2D", "DepthwiseConv2D", False)
    assert np.array_equal(order.to_file(kernel, (1, 3, 2, 8)), kernel.reshape(1, 3, 2, 8))


def test_fewer_channels_give_a_smaller_weight_of_the_same_window() -> None:
    kernel = np.ones((3, 2, 3, 2), np.float32)
    assert KernelOrder("CONV_2D", "Conv2D", False).to_file(kernel, (5, 3, 2, 4)).shape == (
        2,
        3,
        2,
        3,
    )
