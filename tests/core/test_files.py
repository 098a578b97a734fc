from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeprune.core.errors import OutputError, TfliteError
from edgeprune.core.files import (
    describe_file,
    make_output_folder,
    require_folder,
    require_output_folder,
    write_file,
)


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

    monkeypatch.setattr("edgeprune.core.files.os.fsync", full)
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


def test_a_symbolic_link_stays_and_the_file_it_leads_to_is_written(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for name, before in (("old", b"old"), ("new", None)):
        link = tmp_path / f"link-{name}"
        link.symlink_to(f"there/{name}")
        if before:
            (there / name).write_bytes(before)
        write_file(link, b"content")
        assert link.is_symlink()
        assert (there / name).read_bytes() == b"content"
    assert sorted(entry.name for entry in there.iterdir()) == ["new", "old"]


def test_links_that_lead_nowhere_or_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "nowhere").symlink_to(tmp_path / "no" / "file")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(OutputError, match="nowhere: the output folder '.*no' does not exist"):
        write_file(tmp_path / "nowhere", b"x")
    with pytest.raises(OutputError, match="circle: cannot be written"):
        write_file(tmp_path / "circle", b"x")


def test_a_name_as_long_as_the_system_allows_works_and_a_longer_one_is_refused(
    tmp_path: Path,
) -> None:
    longest = tmp_path / ("é" * 124 + ".tflite")
    assert len(os.fsencode(longest.name)) == 255
    write_file(longest, b"content")
    assert longest.read_bytes() == b"content"
    too_long = tmp_path / ("x" * 256)
    for attempt in (require_folder, require_output_folder, make_output_folder):
        with pytest.raises(OutputError, match="cannot be written .*too long"):
            attempt(too_long)


def test_processes_that_write_one_file_at_once_end_with_one_of_their_files(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    code = (
        "import sys, pathlib\n"
        "from edgeprune.core.files import write_file\n"
        "for _ in range(100):\n"
        "    write_file(pathlib.Path(sys.argv[1]), sys.argv[2].encode() * 100_000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), mark]) for mark in "abc"]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    assert path.read_bytes() in [mark * 100_000 for mark in (b"a", b"b", b"c")]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_folder_for_outputs_is_made_or_taken_and_anything_else_is_refused(
    tmp_path: Path,
) -> None:
    make_output_folder(tmp_path / "new")
    make_output_folder(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OutputError, match="file: expected a folder. Received: a file"):
        require_output_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="does not exist"):
        make_output_folder(tmp_path / "no" / "folder")
