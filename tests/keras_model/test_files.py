from __future__ import annotations

import re
import stat
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeprune.core.errors import ModelError, OutputError
from edgeprune.keras_model.files import as_model, load_model, save_model
from tests.support.architectures import build


def test_a_model_goes_to_disk_and_back(tmp_path: Path) -> None:
    model = build("nested")
    save_model(model, tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_saving_to_nowhere_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        save_model(build("mlp"), tmp_path / "no" / "m.keras")
    with pytest.raises(OutputError, match=r"ending in \.keras"):
        save_model(build("mlp"), tmp_path / "m.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_saved_by_the_rules_of_all_outputs(tmp_path: Path) -> None:
    model = build("mlp")
    (tmp_path / "there").mkdir()
    there = tmp_path / "there" / "m.keras"
    there.write_bytes(b"old")
    there.chmod(0o600)
    (tmp_path / "link.keras").symlink_to(there)
    save_model(model, tmp_path / "link.keras")
    assert (tmp_path / "link.keras").is_symlink()
    assert stat.S_IMODE(there.stat().st_mode) == 0o600
    assert load_model(there).count_params() == model.count_params()
    save_model(model, tmp_path / ("x" * 249 + ".keras"))


def repacked(path: Path, name: str, content: bytes) -> Path:
    """A model's archive with another content of one member, all of them compressed."""
    packed = path.with_name("packed.keras")
    with (
        zipfile.ZipFile(path) as before,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as after,
    ):
        for member in before.namelist():
            after.writestr(member, content if member == name else before.read(member))
    return packed


@pytest.mark.parametrize(
    ("member", "limit"),
    [
        ("config.json", "MAX_JSON_BYTES"),
        ("metadata.json", "MAX_JSON_BYTES"),
        ("model.weights.h5", ""),
    ],
)
def test_an_archive_is_not_unpacked_beyond_what_its_size_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str, limit: str
) -> None:
    model = build("mlp")
    save_model(model, tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        content = archive.read(member)
    assert load_model(repacked(tmp_path / "m.keras", member, content)).count_params()
    monkeypatch.setattr(f"edgeprune.keras_model.files.{limit or 'FREE_BYTES'}", 1000)
    bomb = repacked(tmp_path / "m.keras", member, content + b" " * (1 << 25))

    def open_anyway(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("edgeprune.keras_model.files.keras.models.load_model", open_anyway)
    with pytest.raises(ModelError, match=f"'{member}' to unpack to at most .*Received: 33"):
        load_model(bomb)


def test_a_description_nested_deeply_is_refused(tmp_path: Path) -> None:
    save_model(build("mlp"), tmp_path / "m.keras")
    deep = repacked(tmp_path / "m.keras", "config.json", b'{"a":' * 100_000)
    with pytest.raises(ModelError, match="cannot load this model"):
        load_model(deep)


def test_a_keras_that_runs_no_code_from_h5_files_is_required() -> None:
    """CVE-2025-9905: before 3.11.3, Keras ran the code of Lambda layers in an .h5."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'"keras>=(\d+)\.(\d+)\.(\d+)', text)
    assert found is not None
    assert tuple(map(int, found.groups())) >= (3, 11, 3)


def test_code_in_an_h5_file_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    layer = keras.layers.Lambda(lambda x, path=str(ran): [Path(path).write_bytes(b""), x][1])
    model = keras.Sequential([keras.Input((4,)), layer])
    ran.unlink()
    model.save(tmp_path / "m.h5")
    with pytest.raises(ModelError, match="Lambda layers are not loaded"):
        load_model(tmp_path / "m.h5")
    assert not ran.exists()


def test_a_file_whose_name_hides_what_it_is_is_told_by_its_content(tmp_path: Path) -> None:
    for name, content, words in (
        ("m.bin", b"\x1c\x00\x00\x00TFL3", "a TensorFlow Lite model: let its name end in .tflite"),
        ("saved_model.pb", b"\x08\x01", "part of a SavedModel: name its folder, .*"),
        ("m.onnx", b"\x08\x07\x12\x07pytorch", r"save a model with model\.save"),
        ("m.keras", b"\x89HDF\r\n\x1a\n", "an HDF5 file, as .h5 files are"),
        ("n.keras", b"", "an empty file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=words):
            load_model(tmp_path / name)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (None, "NoneType"),
        (keras.layers.Dense(1), "Dense"),
        ([keras.Model], "list"),
        (b"m", "bytes"),
    ],
)
def test_what_is_no_model_is_refused_by_its_kind(given: object, kind: str) -> None:
    with pytest.raises(ModelError, match=f"a model of Keras 3.*Received: .*{kind}\\."):
        as_model(given)
