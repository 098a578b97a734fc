"""What `--preprocess` does is what the module's own function does."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgeprune.core.errors import InputError
from edgeprune.core.scaling import (
    RAW,
    ChannelScale,
    in_words,
    scale_from_json,
    scale_to_json,
    scaled,
)
from edgeprune.keras_model.applications import preprocessing_of

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)
MODULES = ("resnet50", "vgg16", "densenet", "mobilenet_v2", "mobilenet_v3", "efficientnet")


@pytest.mark.parametrize("name", MODULES)
def test_images_become_what_the_modules_own_function_makes_of_them(name: str) -> None:
    module = getattr(keras.applications, name)
    wanted = np.asarray(module.preprocess_input(IMAGES.astype(np.float32)))
    np.testing.assert_allclose(scaled(IMAGES, preprocessing_of(name)), wanted, atol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_a_manifest_gives_the_same_scale_back(name: str) -> None:
    kept = scale_from_json(scale_to_json(preprocessing_of(name)))
    assert kept is not None
    np.testing.assert_array_equal(scaled(IMAGES, kept), scaled(IMAGES, preprocessing_of(name)))


def test_a_module_is_found_by_its_path_its_name_and_its_networks() -> None:
    names = ("keras.applications.vgg16", "vgg16", "VGG16", "keras.applications.VGG16")
    assert {preprocessing_of(name).name for name in names} == {"keras.applications.vgg16"}


@pytest.mark.parametrize("name", ["", "vgg61", "imagenet_utils", "keras.layers"])
def test_a_module_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="one of convnext, densenet.*Received: "):
        preprocessing_of(name)


def test_a_scale_is_told_in_words() -> None:
    assert in_words(RAW) == "stay as they are"
    assert in_words((127.5, 127.5)) == "become (x - 127.5) / 127.5"
    told = in_words(ChannelScale((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), bgr=True))
    assert told == "become (x - [1, 2, 3]) / [4, 5, 6] in the order BGR"


@pytest.mark.parametrize(
    "damaged",
    [
        *(None, [1], ["a", 1], [0, 0], [0, float("nan")], [[1, 2, 3], [1, 1, 1]]),
        *([[1, 2], [1, 1], "rgb"], [[1, 2, 3], [1, 0, 1], "bgr"], [[1, 2, 3], [1, 1, 1], "grb"]),
        {"mean": 1},
    ],
)
def test_a_damaged_scale_is_none(damaged: object) -> None:
    assert scale_from_json(damaged) is None
