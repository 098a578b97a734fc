"""What a file is by its first bytes, for messages on one that is something else than expected."""

from __future__ import annotations

from pathlib import Path

ENOUGH = 8
"""How many bytes tell."""
TFLITE_MARK = b"TFL3"
"""Bytes 4 to 8 of every TensorFlow Lite model."""
TFLITE_MODEL = "a TensorFlow Lite model"
"""What such a file is described as."""

_BEGINNINGS = (
    (b"PK\x03\x04", "a zip archive, as .keras and .npz files are"),
    (b"\x89HDF", "an HDF5 file, as .h5 files are"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x1f\x8b", "a file packed with gzip (gunzip unpacks it)"),
    (b"version ", "a Git LFS pointer in place of the file (git lfs pull fetches it)"),
    (b"<!DOCTYP", "a web page, perhaps that of a download that failed"),
    (b"<!doctyp", "a web page, perhaps that of a download that failed"),
    (b"<html", "a web page, perhaps that of a download that failed"),
)


def described(first: bytes) -> str:
    """What a file with these first bytes is; of an unknown kind, the bytes themselves.

    Args:
      first: up to `ENOUGH` bytes, fewer of a shorter file.
    """
    if not first:
        return "an empty file"
    if first[4:8] == TFLITE_MARK:
        return TFLITE_MODEL
    known = (words for beginning, words in _BEGINNINGS if first.startswith(beginning))
    return next(known, f"a file that begins with {first!r}")


def describe_beginning(path: Path) -> str:
    """What the file at a path is, see `described`.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return described(file.read(ENOUGH))
