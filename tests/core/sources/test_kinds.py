"""The same samples, whatever kind they come in."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.core.data import DEFAULT_SCALE, Data, InputSpec, Ports
from edgeprune.core.errors import DataError, QualityWarning
from edgeprune.core.npz import ArrayFile
from edgeprune.core.sources import Stream, Table, open_source, open_split
from edgeprune.core.sources.function import names_function

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.normal(size=(40, 4, 4, 3)).astype(np.float32)
EXTRA = RANDOM.normal(size=(40, 2)).astype(np.float32)
Y = np.arange(40) % 5
PORTS = Ports((InputSpec("image", (4, 4, 3)), InputSpec("my extra", (2,))), ("score",), 5)
ONE = Ports(PORTS.inputs[:1], ("score",), 5)


class ByIndex:
    """Batches by their number, as of a PyDataset; asks for each are counted."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        self.asked.append(index)
        part = slice(4 * index, 4 * index + 4)
        return {"my_extra": EXTRA[part], "image": IMAGE[part]}, Y[part]


def batches() -> Iterator[Any]:
    for start in range(0, 40, 8):
        yield (IMAGE[start : start + 8], EXTRA[start : start + 8]), Y[start : start + 8]


def npz(folder: Path) -> Any:
    np.savez(folder / "d.npz", **{"image": IMAGE, "my extra": EXTRA, "y": Y})
    return folder / "d.npz"


def npy(folder: Path) -> Any:
    for name, array in {"image": IMAGE, "my extra": EXTRA, "y_score": Y}.items():
        np.save(folder / f"{name}.npy", array)
    return str(folder)


def function(folder: Path) -> Any:
    np.savez(folder / "f.npz", image=IMAGE, extra=EXTRA, y=Y)
    code = (
        "import numpy as np, pathlib\nprint('this is no result')\n"
        "found = np.load(pathlib.Path(__file__).with_name('f.npz'))\n"
        "def samples():\n    return [found['image'], found['extra']], found['y']\n"
    )
    (folder / "loader.py").write_text(code)
    return f"{folder / 'loader.py'}:samples"


KINDS: dict[str, Callable[[Path], Any]] = {
    "npz": npz,
    "folder": npy,
    "function": function,
    "dict": lambda _: {"my extra": EXTRA, "image": IMAGE, "y": Y},
    "lists and labels": lambda _: ([IMAGE, EXTRA], Y),
    "names and labels": lambda _: ({"my_extra": EXTRA, "image": IMAGE}, {"score": Y}),
    "data": lambda _: Data((IMAGE, EXTRA), Y),
    "generator": lambda _: batches(),
    "batches in a list": lambda _: list(batches()),
    "by index": lambda _: ByIndex(),
    "single samples": lambda _: zip(zip(IMAGE, EXTRA, strict=True), Y, strict=True),
    "float64 and weights": lambda _: ([IMAGE.astype(float), EXTRA], Y, np.ones(40)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_gives_the_same_samples(tmp_path: Path, kind: str) -> None:
    data = open_source(KINDS[kind](tmp_path), PORTS).some(100)
    assert [array.dtype for array in data.x] == [np.float32, np.float32]
    np.testing.assert_array_equal(data.x[0], IMAGE)
    np.testing.assert_array_equal(data.x[1], EXTRA)
    np.testing.assert_array_equal(data.labels[0], Y)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_hold_all_samples_in_their_order(tmp_path: Path, kind: str) -> None:
    chunks = list(open_source(KINDS[kind](tmp_path), PORTS).chunks(7))
    assert [len(chunk) for chunk in chunks] == [7, 7, 7, 7, 7, 5]
    np.testing.assert_array_equal(np.concatenate([chunk.labels[0] for chunk in chunks]), Y)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("data", "generator")])
def test_a_test_set_is_every_fifth_sample_of_any_kind(tmp_path: Path, kind: str) -> None:
    given = KINDS[kind](tmp_path)
    if kind == "single samples":
        given = list(given)
    split = open_split(given, PORTS)
    train = np.concatenate([chunk.x[1] for chunk in split.train.chunks(9)])
    np.testing.assert_array_equal(split.test.some(100).x[1], EXTRA[::5])
    np.testing.assert_array_equal(train, np.delete(EXTRA, np.s_[::5], axis=0))


def test_other_samples_may_be_the_test_set(tmp_path: Path) -> None:
    split = open_split(npz(tmp_path), PORTS, validation=([IMAGE[:3], EXTRA[:3]], Y[:3]))
    assert isinstance(split.train, Table)
    assert (len(split.train), len(split.test.some(9))) == (40, 3)
    with pytest.raises(DataError, match="more than once.*Received: a generator"):
        open_split(batches(), PORTS)


def test_batches_with_numbers_are_looked_at_from_all_over() -> None:
    given = ByIndex()
    assert len(open_source(given, PORTS).some(8)) == 8
    assert given.asked == [0, 0, 5]


def test_of_a_stream_no_more_is_read_than_is_used() -> None:
    given = batches()
    assert len(open_source(given, PORTS).some(10)) == 10
    assert len(list(given)) == 3


def test_values_given_in_python_are_not_scaled_and_those_of_files_are(tmp_path: Path) -> None:
    x = np.full((3, 4, 4, 3), 255, np.uint8)
    np.savez(tmp_path / "d.npz", x=x)
    assert open_source(x, ONE).some(1).x[0].max() == 255.0
    assert open_source(tmp_path / "d.npz", ONE).some(1).x[0].max() == 1.0
    (tmp_path / "scaled_loader.py").write_text(
        "import numpy as np\nX = np.full((3, 4, 4, 3), 255, np.uint8)\n"
        "def arrays(): return X\ndef generator():\n    for x in X: yield x, 1\n"
    )
    for name in ("arrays", "generator"):
        found = open_source(f"{tmp_path / 'scaled_loader.py'}:{name}", ONE)
        assert found.some(1).x[0].max() == 1.0
        assert "become (x - 127.5) / 127.5" in found.scaling


def test_a_generator_function_is_called_again_each_time(tmp_path: Path) -> None:
    (tmp_path / "yields.py").write_text(
        "import numpy as np\ndef f():\n    for n in range(10): yield np.full((4, 4, 3), n), n % 5\n"
    )
    source = open_source(f"{tmp_path / 'yields.py'}:f", ONE)
    assert isinstance(source, Stream)
    assert source.again
    for _ in range(2):
        assert [len(chunk) for chunk in source.chunks(4)] == [4, 4, 2]


def test_a_function_whose_images_were_never_scaled_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "unscaled.py").write_text(
        "import numpy as np\n"
        "def f():\n    yield np.arange(96.0).reshape(2, 4, 4, 3) * 2, np.zeros(2)\n"
    )
    ports = Ports((InputSpec("image", (4, 4, 3), scale=DEFAULT_SCALE),))
    with pytest.warns(QualityWarning, match="float64 from 0 to 190"):
        open_source(f"{tmp_path / 'unscaled.py'}:f", ports).some(2)


def test_a_stream_that_is_sorted_by_class_is_warned_about() -> None:
    def by_class() -> Iterator[Any]:
        for number in range(5):
            yield np.zeros((100, 4, 4, 3)), np.full(100, number)

    with pytest.warns(QualityWarning, match="first 80 samples are all of one class. Shuffle"):
        open_source(by_class(), ONE).some(80)


def test_one_input_is_found_by_its_own_name_too() -> None:
    assert len(open_source({"image": IMAGE, "y": Y}, ONE).some(50)) == 40
    assert len(open_source({"x": IMAGE, "image": IMAGE[:3]}, ONE).some(50)) == 40


def test_a_large_member_stays_in_the_file_and_equals_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.core.npz.MAPPED_BYTES", 0)
    arrays = {"x": IMAGE, "f": np.asfortranarray(EXTRA), "n": np.asarray(2.0), "y": Y}
    np.savez(tmp_path / "d.npz", **arrays)
    found = ArrayFile(tmp_path / "d.npz")
    for name, array in arrays.items():
        assert isinstance(found[name], np.memmap)
        np.testing.assert_array_equal(found[name], array)
    np.savez_compressed(tmp_path / "c.npz", **arrays)
    packed = ArrayFile(tmp_path / "c.npz")["x"]
    assert not isinstance(packed, np.memmap)
    np.testing.assert_array_equal(packed, IMAGE)


def test_a_mapped_array_that_ends_outside_its_member_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.core.npz.MAPPED_BYTES", 0)
    np.savez(tmp_path / "d.npz", x=EXTRA, y=Y)
    with zipfile.ZipFile(tmp_path / "d.npz") as archive:
        content = archive.read("x.npy").replace(b"(40, 2)", b"(49, 2)")
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("x.npy", content)
        archive.writestr("y.npy", content)
    with pytest.raises(DataError, match=r"d\.npz: expected an \.npz of plain arrays"):
        ArrayFile(tmp_path / "d.npz")["x"]


def test_a_folder_of_arrays_is_mapped_and_damage_names_the_file(tmp_path: Path) -> None:
    npy(tmp_path)
    source = open_source(tmp_path, PORTS)
    assert isinstance(source, Table)
    assert isinstance(source.stored_labels[0], np.memmap)
    (tmp_path / "image.npy").write_bytes(b"\x93NUMPY and no more")
    with pytest.raises(DataError, match=r"image\.npy: expected an array of plain values"):
        open_source(tmp_path, PORTS)


@pytest.mark.parametrize(
    ("text", "is_function"),
    [
        ("package.module:function", True),
        ("loader:train", True),
        ("data/loader.py:train", True),
        (r"C:\work\loader.py:train", True),
        (r"C:\work\data.npz", False),
        ("C:data", False),
        ("C:/work/data", False),
        ("data.npz", False),
        ("folder/with:colon", False),
    ],
)
def test_a_path_with_a_drive_letter_is_no_function(text: str, is_function: bool) -> None:
    assert names_function(text) == is_function


def test_a_path_that_exists_is_no_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("here.npz", x=IMAGE)
    Path("here.npz").rename("here:data")
    assert len(open_source("here:data", ONE).some(50)) == 40


def test_a_module_is_found_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("my_samples_module.py").write_text(
        "import numpy\ndef f():\n    return numpy.ones((3, 2))\n"
    )
    assert len(open_source("my_samples_module:f", Ports((InputSpec("x", (2,)),))).some(9)) == 3


@pytest.mark.parametrize(
    ("code", "name", "said"),
    [
        ("def f():\n    return 1 / 0", "f", "ZeroDivisionError ({path}, line 2): division by zero"),
        ("def f():\n    import no_such_module", "f", "ModuleNotFoundError ({path}, line 2)"),
        ("def f(:", "f", "SyntaxError ({path}, line 1)"),
        ("raise SystemExit(3)", "f", "SystemExit ({path}, line 1)"),
        ("def f(n): return n", "f", "TypeError"),
        ("def train(): pass", "trian", "Received: nothing of that name. Did you mean 'train'?"),
        ("f = 3", "f", "expected a function 'f'"),
        ("def f(): pass", "f", "Received: None. Return one of these"),
        ("def f(): return 7", "f", "Received: an int"),
        ("def f():\n    yield 1\n    raise KeyError('gone')", "f", "input"),
    ],
)
def test_what_is_wrong_with_a_function_names_file_and_line(
    tmp_path: Path, code: str, name: str, said: str
) -> None:
    path = tmp_path / "loader.py"
    path.write_text(code)
    with pytest.raises(DataError) as caught:
        open_source(f"{path}:{name}", ONE).some(8)
    assert said.format(path=path) in str(caught.value)
    assert "loader.py" in str(caught.value)


def test_an_error_while_samples_are_read_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "late.py"
    path.write_text(
        "import numpy as np\ndef f():\n    yield np.ones((2, 4, 4, 3)), np.ones(2)\n    1 / 0\n"
    )
    source = open_source(f"{path}:f", ONE)
    with pytest.raises(DataError, match=re.escape(f"ZeroDivisionError ({path}, line 4)")):
        source.some(8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image": IMAGE}, "array 'my extra' is missing. Received: image"),
        ([IMAGE], "array 'my extra' is missing. Received: image"),
        ([IMAGE] * 3, "one array for each of the model's inputs (image, my extra). Received: 3"),
        ([EXTRA, IMAGE], "'image': the model takes [n, 4, 4, 3]. Received: shape [40, 2]"),
        (([IMAGE, EXTRA], Y[:9]), "image has 40, my extra has 40, y has 9"),
        ([({"image": IMAGE}, Y)], "expected a dict with the names image, my extra"),
        ([(IMAGE, Y)], "expected elements with 2 inputs (image, my extra). Received: 1"),
        ([((IMAGE, EXTRA), Y[:3])], "as many labels as samples"),
        ([((IMAGE[..., :1], EXTRA), Y)], "'image': the model takes [n, 4, 4, 3]"),
        ([((np.full_like(IMAGE, np.nan), EXTRA), Y)], "'image': expected finite numbers"),
        ([((IMAGE.astype(str), EXTRA), Y)], "expected numbers"),
        ([], "expected samples. Received: none"),
        (7, "Received: an int"),
        ("no/such/folder", "no/such/folder: expected a data file"),
    ],
)
def test_what_does_not_fit_the_model_is_said(given: Any, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        open_source(given, PORTS).some(4)


def test_a_folder_that_is_of_no_kind_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"an \.npz file.*Received: a folder.*notes\.txt"):
        open_source(tmp_path, ONE)


def test_what_was_opened_is_opened_again_as_it_is() -> None:
    for given in (Data((IMAGE,)), open_source(IMAGE, ONE), open_source(iter([]), ONE)):
        assert open_source(given, ONE) is given
    assert isinstance(open_source(iter([]), ONE), Stream)
