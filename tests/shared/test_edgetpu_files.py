"""Trained .tflite files made by other people: uint8 and int8, custom operators, old versions."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.walk import lift
from edgeprune.inspection.inspect_file import inspect
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.format.file import read
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_densely import densify_file
from edgeprune.tflite.store_sparsely import encode_file

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "edgetpu"
FILES = sorted(FOLDER.glob("*.tflite"))


def test_there_are_files() -> None:
    assert len(FILES) > 3


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_report_covers_every_operator(path: Path) -> None:
    report = inspect(path)
    assert len(report.ops) == len(read(path).operators)
    assert 0 <= report.sparsity < 0.2
    assert report.gzip_bytes < report.size_bytes
    assert report.sparse_inference == "not-applicable"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_packed_again_says_the_same(path: Path, tmp_path: Path) -> None:
    write(load(path), tmp_path / "again.tflite")
    before, after = read(path), read(tmp_path / "again.tflite")
    assert [(t.name, t.shape, t.dtype) for t in after.tensors] == [
        (t.name, t.shape, t.dtype) for t in before.tensors
    ]
    assert [t.data.tobytes() for t in after.tensors] == [t.data.tobytes() for t in before.tensors]
    assert [(o.op, o.version, o.inputs, o.outputs) for o in after.operators] == [
        (o.op, o.version, o.inputs, o.outputs) for o in before.operators
    ]
    assert after.metadata == before.metadata
    assert zipfile.is_zipfile(path) == zipfile.is_zipfile(tmp_path / "again.tflite")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_there_is_nothing_to_encode_or_to_densify(path: Path, tmp_path: Path) -> None:
    encode_file(path, EncodingRules(), tmp_path / "encoded.tflite")
    densify_file(path, tmp_path / "dense.tflite")
    for output in ("encoded.tflite", "dense.tflite"):
        assert (tmp_path / output).read_bytes() == path.read_bytes()


def test_a_network_for_poses_is_lifted_up_to_its_decoder() -> None:
    (path,) = (path for path in FILES if "bodypix" in path.name)
    lifted = lift(path)
    assert lifted.remainder is not None
    assert lifted.remainder.names == "PosenetDecoderOp"
    assert len(lifted.weights) == 34
    found = prove(lifted)
    assert found.steps is not None
    assert found.steps < 8
