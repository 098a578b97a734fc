from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from edgeprune.core.errors import OutputError, TfliteError
from edgeprune.core.files import describe_file, require_folder, write_file


def test_sizes_and_hash_are_those_of_the_bytes(tmp_path: Path) -> None:
    content = bytes(5000) + b"weights"
    path = tmp_path / "m.tflite"
    write_file(path, content)
    found = describe_file(path)
    assert found.size_bytes == len(content)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.gzip_bytes == len(gzip.compress(content, 6, mtime=0)) < 200


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.tflite"
    write_file(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgeprune.core.files.os.fdopen", full)
    with pytest.raises(OutputError, match="No space left"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.tflite"]


def test_what_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        require_folder(tmp_path / "no" / "m.tflite")
    with pytest.raises(OutputError, match="Received: a folder"):
        require_folder(tmp_path)
    with pytest.raises(TfliteError, match="gone"):
        describe_file(tmp_path / "gone.tflite")
