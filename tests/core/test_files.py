from __future__ import annotations

import gzip
import hashlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
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


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    """Bound below a short name of its folder, since the address of a socket is short."""
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


def make_null_device(path: Path) -> None:
    """A node of its own with the numbers of the null device; a FIFO for who may not make one."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (make_fifo, "a FIFO"),
        (make_socket, "a socket"),
        (make_null_device, "a character device|a FIFO"),
    ],
)
def test_a_device_fifo_or_socket_is_refused_and_stays_what_it_is(
    tmp_path: Path, make: Callable[[Path], None], received: str
) -> None:
    place, link = tmp_path / "place", tmp_path / "link"
    make(place)
    link.symlink_to(place)
    before = place.stat()
    for path in (place, link):
        for attempt in (require_folder, make_output_folder, lambda p: write_file(p, b"x")):
            with pytest.raises(OutputError, match=f"{path.name}: .*Received: ({received})"):
                attempt(path)
    assert (place.stat().st_mode, place.stat().st_rdev) == (before.st_mode, before.st_rdev)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "place"]


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


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_a_new_file_follows_the_umask_and_a_replaced_one_keeps_its_mode(
    tmp_path: Path, umask: int
) -> None:
    path = tmp_path / "m.tflite"
    write_file(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    for mode in (0o600, 0o664, 0o755):
        path.chmod(mode)
        write_file(path, b"newer")
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_replaced_file_keeps_its_owner_and_group(tmp_path: Path) -> None:
    """Only root may give a file to others; anybody may give it to another group of their own."""
    owner = (1234, 4321) if os.getuid() == 0 else (os.getuid(), [os.getgid(), *os.getgroups()][-1])
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    os.chown(path, *owner)
    write_file(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == owner


def test_a_file_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    seen = []

    def fsync(descriptor: int) -> None:
        found = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append((found.name, path.read_bytes()))

    monkeypatch.setattr("edgeprune.core.files.os.fsync", fsync)
    write_file(path, b"new")
    assert seen == [("new.tflite", b"old"), (tmp_path.name, b"new")]


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
    os.mkfifo(tmp_path / "new" / "report.json")
    require_output_folder(tmp_path / "new", "report.html")
    with pytest.raises(OutputError, match="report.json: .*Received: a FIFO"):
        require_output_folder(tmp_path / "new", "report.html", "report.json")
