"""Folders of images: classes in order, sizes, colours, and files that are broken."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeprune.core.data import RAW, InputSpec, Ports
from edgeprune.core.errors import DataError, QualityWarning
from edgeprune.core.sources import Table, open_source, open_split
from edgeprune.core.sources import images as images_module
from edgeprune.core.sources.images import decode

COLOURS = {"cat": (250, 10, 20), "ant": (0, 130, 255), "bee": (77, 77, 77)}
ENDINGS = ("png", "jpg", "bmp", "webp")


def ports(shape: tuple[int | None, ...] = (6, 8, 3), scores: int | None = 3) -> Ports:
    return Ports((InputSpec("image", shape, scale=RAW),), ("score",), scores)


def folder_of(folder: Path, count: int = 4, size: tuple[int, int] = (16, 12)) -> Path:
    """So many plain images of each class, of every kind in turn."""
    for name, colour in COLOURS.items():
        (folder / name / "inner").mkdir(parents=True)
        for index in range(count):
            place = folder / name / ("inner" if index % 2 else "")
            Image.new("RGB", size, colour).save(place / f"{index}.{ENDINGS[index % 4]}")
    return folder


def test_classes_are_numbered_in_alphabetical_order_and_images_are_resized(tmp_path: Path) -> None:
    data = open_source(folder_of(tmp_path), ports()).some(100)
    assert data.classes == ("ant", "bee", "cat")
    assert data.x[0].shape == (12, 6, 8, 3)
    assert data.labels[0].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for row, name in ((0, "ant"), (4, "bee"), (8, "cat")):
        np.testing.assert_allclose(data.x[0][row].mean((0, 1)), COLOURS[name], atol=3)


def test_a_model_of_one_channel_gets_grey_images(tmp_path: Path) -> None:
    data = open_source(folder_of(tmp_path), ports((5, 5, 1))).some(100)
    assert data.x[0].shape == (12, 5, 5, 1)
    np.testing.assert_allclose(data.x[0][4], 77, atol=2)


def test_pictures_of_sixteen_bits_palettes_and_transparency_are_read(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGBA", (4, 4), (9, 200, 30, 128)).save(tmp_path / "clear.png")
    Image.new("RGB", (4, 4), (9, 200, 30)).convert("P").save(tmp_path / "few.png")
    assert decode(tmp_path / "deep.png", (4, 4, 1)).mean() == 40000 >> 8
    np.testing.assert_array_equal(decode(tmp_path / "clear.png", (4, 4, 3))[0, 0], (9, 200, 30))
    assert decode(tmp_path / "few.png", (2, 2, 3)).shape == (2, 2, 3)


def test_an_orientation_in_exif_is_not_applied(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=turned)
    with Image.open(tmp_path / "a.jpg") as file:
        assert file.size == (8, 4)
    left = np.zeros((4, 8, 3), np.uint8)
    left[:, :4] = 255
    Image.fromarray(left).save(tmp_path / "b.png", exif=turned)
    np.testing.assert_array_equal(decode(tmp_path / "b.png", (4, 8, 3)), left)


def broken(folder: Path, count: int, of: int) -> Path:
    folder_of(folder, of // 3)
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    for index, path in enumerate(sorted((folder / "bee").glob("*.png"))[:count]):
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: (600, 0, 7)[index]])
    return folder


def test_a_broken_image_is_named_once_and_left_out_with_its_label(tmp_path: Path) -> None:
    source = open_source(broken(tmp_path, 1, 120), ports())
    with pytest.warns(QualityWarning, match=r"left out 1 of 120 images.*bee/0\.png"):
        data = source.some(1000)
    assert [len(array) for array in (*data.x, *data.labels)] == [119, 119]
    assert np.bincount(data.labels[0]).tolist() == [40, 39, 40]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(source.some(1000)) == 119
    assert isinstance(source, Table)
    assert len(source.readable()) == 119


def test_more_than_one_in_a_hundred_broken_images_are_an_error(tmp_path: Path) -> None:
    source = open_source(broken(tmp_path, 2, 120), ports())
    with pytest.raises(DataError, match=r"at most 1% of 120 images.*Received: 2.*bee/0\.png"):
        source.some(1000)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ports(scores=4), "which has 4 outputs. Received: 3 (ant, bee, cat)"),
        (ports(scores=1), "which has 1 output, which tells 2 classes apart. Received: 3"),
        (ports((None, 8, 3)), "[height, width, 1 or 3] of a fixed size"),
        (ports((6, 8, 4)), "Received: a model that takes [6, 8, 4]"),
        (ports((10,)), "Received: a model that takes [10]"),
    ],
)
def test_what_does_not_fit_the_model_is_said(tmp_path: Path, given: Ports, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        open_source(folder_of(tmp_path), given)


def test_two_folders_are_the_classes_of_a_single_output(tmp_path: Path) -> None:
    folder_of(tmp_path)
    for path in (tmp_path / "cat").rglob("*.*"):
        path.unlink()
    (tmp_path / "cat" / "inner").rmdir()
    (tmp_path / "cat").rmdir()
    (tmp_path / ".hidden").mkdir()
    data = open_source(tmp_path, ports(scores=1)).some(100)
    assert data.classes == ("ant", "bee")
    assert set(data.labels[0].tolist()) == {0, 1}


def test_files_of_other_kinds_are_left_out_and_named(tmp_path: Path) -> None:
    folder_of(tmp_path)
    (tmp_path / "ant" / "notes.txt").write_text("")
    (tmp_path / "ant" / ".DS_Store").write_text("")
    with pytest.warns(QualityWarning, match=r"ant: 1 files that are not JPEG.*notes\.txt"):
        assert len(open_source(tmp_path, ports()).some(100)) == 12


def test_a_class_without_images_keeps_its_number_and_none_at_all_is_an_error(
    tmp_path: Path,
) -> None:
    folder_of(tmp_path)
    (tmp_path / "aaa").mkdir()
    assert open_source(tmp_path, ports(scores=4)).some(100).labels[0].min() == 1
    for path in tmp_path.rglob("*.*"):
        path.unlink()
    with pytest.raises(DataError, match="Received: none in aaa, ant, bee, cat"):
        open_source(tmp_path, ports(scores=4))


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []
    true = images_module.decode

    def counted(path: Path, size: Any) -> Any:
        seen.append(path)
        return true(path, size)

    monkeypatch.setattr(images_module, "decode", counted)
    return seen


def test_images_that_are_used_are_decoded_once_and_others_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = count_decoded(monkeypatch)
    split = open_split(folder_of(tmp_path, 20), ports())
    assert seen == []
    split.train.some(10)
    assert len(seen) == 10
    split.train.some(10)
    list(split.test.chunks(5))
    assert len(seen) == len({*seen}) == 22


def test_images_that_do_not_fit_into_memory_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images_module, "KEPT_BYTES", 0)
    seen = count_decoded(monkeypatch)
    source = open_source(folder_of(tmp_path), ports())
    source.some(5)
    source.some(5)
    assert len(seen) == 10


def test_the_same_images_are_known_again_and_others_are_not(tmp_path: Path) -> None:
    folder_of(tmp_path)

    def identity() -> list[bytes]:
        source = open_source(tmp_path, ports())
        assert isinstance(source, Table)
        return [bytes(part) for part in source.identity()]

    first = identity()
    assert identity() == first
    Image.new("RGB", (30, 30)).save(tmp_path / "ant" / "0.png")
    assert identity() != first
