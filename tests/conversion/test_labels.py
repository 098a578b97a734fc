"""Class names in the file, read back without the code that wrote them."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from edgeprune import export, validate
from edgeprune.core.data import Data
from edgeprune.keras_model.applications import preprocessing_of
from edgeprune.tflite.format.draft import load, write
from tests.support.tflite_metadata import children, labels_of, string, table, vector

L = keras.layers
NAMES = ("ant", "bee", "zebra fish")


def net(outputs: int = 3, channels: int = 3) -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, channels), name="my image")
    x = L.GlobalAveragePooling2D()(L.Conv2D(8, 3, name="conv")(inputs))
    ending = "sigmoid" if outputs == 1 else "softmax"
    return keras.Model(inputs, L.Dense(outputs, activation=ending, name="score")(x))


def images(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    for index, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for shade in range(6):
            colour = (40 * shade, 30 * index, 99)
            Image.new("RGB", (9, 7), colour).save(folder / name / f"{shade}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("device", ["xnnpack-arm64", "arm-neon-int8"])
def test_an_image_folders_classes_are_read_back_by_an_independent_reader(
    tmp_path: Path, device: str
) -> None:
    path = tmp_path / "m.tflite"
    export(net(), device, path, x=images(tmp_path / "images"))
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().splitlines() == list(NAMES)
        (info,) = archive.infolist()
        assert info.compress_type == zipfile.ZIP_STORED
        # As minizip reads it: by the position that the directory names, from the file's beginning.
        assert content[info.header_offset :].startswith(b"PK\x03\x04")
    model = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
    names = [entry.name.decode() for entry in model.metadata]
    assert {"edgeprune", "TFLITE_METADATA", "min_runtime_version"} <= {*names}
    entry = model.metadata[names.index("TFLITE_METADATA")]
    metadata = bytes(model.buffers[entry.buffer].data)
    assert metadata[4:8] == b"M001"
    (subgraph,) = vector(metadata, table(metadata), 3)
    (image,) = vector(metadata, subgraph, 2)
    (score,) = vector(metadata, subgraph, 3)
    assert string(metadata, image, 0) == "my_image"
    assert string(metadata, score, 0) == "score"
    assert labels_of(metadata, score) == [("labels.txt", 2)]
    (unit,) = vector(metadata, image, 4)
    options = children(metadata, unit, 1)
    assert [
        struct.unpack_from("<f", metadata, vector(metadata, options, place, raw=True))[0]
        for place in (0, 1)
    ] == [127.5, 127.5]
    assert validate(path, device).ok


@pytest.mark.slow
def test_two_classes_of_one_score_are_a_description(tmp_path: Path) -> None:
    """Readers would refuse two labels for one score."""
    export(net(1), "xnnpack-arm64", tmp_path / "m.tflite", x=images(tmp_path / "i", NAMES[:2]))
    model = schema.ModelT.InitFromPackedBuf(bytearray((tmp_path / "m.tflite").read_bytes()), 0)
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    metadata = bytes(model.buffers[entry.buffer].data)
    (score,) = vector(metadata, vector(metadata, table(metadata), 3)[0], 3)
    assert labels_of(metadata, score) == [("labels.txt", 1)]


def test_the_scale_of_each_channel_is_in_the_metadata(tmp_path: Path) -> None:
    scale = preprocessing_of("keras.applications.densenet")
    export(net(), "xnnpack-arm64", tmp_path / "m.tflite", x=images(tmp_path / "i"), scale=scale)
    model = schema.ModelT.InitFromPackedBuf(bytearray((tmp_path / "m.tflite").read_bytes()), 0)
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    metadata = bytes(model.buffers[entry.buffer].data)
    (image,) = vector(metadata, vector(metadata, table(metadata), 3)[0], 2)
    options = children(metadata, vector(metadata, image, 4)[0], 1)
    place = vector(metadata, options, 0, raw=True)
    np.testing.assert_allclose(
        struct.unpack_from("<3f", metadata, place), (123.675, 116.28, 103.53), rtol=1e-6
    )


@pytest.mark.slow
def test_names_stay_through_encode_and_densify_and_none_are_made_up(tmp_path: Path) -> None:
    export(net(), "xnnpack-arm64", tmp_path / "m.tflite", x=images(tmp_path / "i"))
    write(load(tmp_path / "m.tflite"), tmp_path / "again.tflite")
    with zipfile.ZipFile(tmp_path / "again.tflite") as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(NAMES)
    x = np.zeros((4, 8, 8, 3), np.float32)
    export(net(), "xnnpack-arm64", tmp_path / "n.tflite", x=Data((x,), np.zeros(4)))
    assert not zipfile.is_zipfile(tmp_path / "n.tflite")
    assert b"TFLITE_METADATA" not in (tmp_path / "n.tflite").read_bytes()
