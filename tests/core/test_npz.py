"""Arrays from files that nobody vouches for."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeprune.core.arrays import Array
from edgeprune.core.data import InputSpec
from edgeprune.core.errors import DataError
from edgeprune.core.npz import MAX_RATIO, ArrayFile
from edgeprune.core.sources import read_data, read_split

X = np.arange(80, dtype=np.float32).reshape(10, 8)
INPUT = (InputSpec("x", (8,)),)


def npy(array: object) -> bytes:
    content = io.BytesIO()
    np.save(content, np.asarray(array))
    return content.getvalue()


def written(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_arrays_are_found_by_name_and_equal_what_was_saved(tmp_path: Path) -> None:
    arrays = (X, np.arange(10), np.asfortranarray(X), np.asarray(2.0))
    saved: dict[str, Array] = dict(zip("xyfs", arrays, strict=True))
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "d.npz", **saved)
        found = ArrayFile(tmp_path / "d.npz")
        assert list(found) == list(saved)
        for name, array in saved.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    with pytest.raises(KeyError):
        found["z"]


def test_what_nobody_asks_for_is_not_unpacked(tmp_path: Path) -> None:
    junk = npy(np.zeros(1 << 23, np.float32))
    path = written(tmp_path / "d.npz", x=npy(X), junk=junk, y_test_like=b"no array", y=npy(X[:, 0]))
    tracemalloc.start()
    data = read_data(path, INPUT)
    split = read_split(path, INPUT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(data.x[0], X)
    assert len(split.train) == 8
    assert peak < len(junk) / 8


def test_an_array_far_larger_than_its_file_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = np.zeros((1 << 17, 8), np.float32)
    packed = written(tmp_path / "packed.npz", x=npy(zeros))
    np.testing.assert_array_equal(read_data(packed, INPUT).x[0], zeros)
    monkeypatch.setattr("edgeprune.core.npz.FREE_BYTES", 0)
    limit = MAX_RATIO * packed.stat().st_size
    said = f"packed.npz: array 'x': expected at most {limit} bytes.*Received: {zeros.nbytes + 128}"
    with pytest.raises(DataError, match=said + r".*numpy\.savez"):
        read_data(packed, INPUT)
    np.savez(tmp_path / "plain.npz", x=zeros)
    np.testing.assert_array_equal(read_data(tmp_path / "plain.npz", INPUT).x[0], zeros)


def test_a_size_that_is_a_lie_is_found_out(tmp_path: Path) -> None:
    """A header that claims more than the member holds, beyond what memory can hold."""
    for shape in ("(1000, 8)", "(1000000000000, 8)", "(10000000000000000000000, 8)", "(-1, 8)"):
        header = npy(X).replace(b"(10, 8)", shape.encode())
        header = header.replace(b" " * (len(header) - len(npy(X))), b"", 1)
        path = written(tmp_path / "d.npz", x=header)
        with pytest.raises(DataError, match=r"d\.npz: expected an \.npz of plain arrays"):
            read_data(path, INPUT)


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"no array",
        b"PK\x05\x06" + bytes(18),
        npy(X)[:50],
        npy(X)[:200],
        b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 118,
        b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 65535,
        b"\x93NUMPY\x09\x00" + bytes(200),
    ],
)
def test_a_member_that_is_no_array_is_refused(tmp_path: Path, member: bytes) -> None:
    path = written(tmp_path / "d.npz", x=member)
    with pytest.raises(DataError, match=r"d\.npz: expected an \.npz of plain arrays"):
        read_data(path, INPUT)


def test_damage_anywhere_in_the_file_is_an_error_of_the_data(tmp_path: Path) -> None:
    """Or is in bytes that do not matter."""
    path = tmp_path / "d.npz"
    generator = np.random.default_rng(0)
    for save in (np.savez, np.savez_compressed):
        save(path, x=X, y=np.arange(10))
        whole = path.read_bytes()
        for place in generator.integers(0, len(whole), 150):
            mutated = bytearray(whole)
            mutated[place] ^= int(generator.integers(1, 256))
            path.write_bytes(mutated)
            with contextlib.suppress(DataError):
                assert read_data(path, INPUT).x[0].shape == X.shape
