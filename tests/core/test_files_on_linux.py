"""Outputs where there are FIFOs, owners and modes, and /proc to look through."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeprune.core.errors import OutputError, TfliteError
from edgeprune.core.files import (
    make_output_folder,
    require_file,
    require_folder,
    require_output_folder,
    write_file,
)

assert sys.platform == "linux"


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


def test_a_fifo_in_an_output_folder_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "report.json")
    require_output_folder(tmp_path, "report.html")
    with pytest.raises(OutputError, match="report.json: .*Received: a FIFO"):
        require_output_folder(tmp_path, "report.html", "report.json")


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


@pytest.mark.parametrize("make", [make_fifo, make_null_device])
def test_a_model_in_a_pipe_is_refused_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "m.tflite")
    with pytest.raises(TfliteError, match="device|FIFO.*Write what it holds into a file"):
        require_file(tmp_path / "m.tflite")
