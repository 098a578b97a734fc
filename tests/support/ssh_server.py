"""A real OpenSSH server on this computer, with keys, users' files and configuration of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

SERVER = shutil.which("sshd") or "/usr/sbin/sshd"
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
INSTALL = "tests of boards need an SSH server: apt-get install openssh-server"


@dataclass(frozen=True)
class Server:
    """A running server and the client's side of it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def temporary(self) -> Path:
        """Where programs on the board keep temporary files."""
        return self.folder / "board-tmp"

    def configuration(self, name: str, *lines: str) -> str:
        """Writes a client's configuration; returns the command that uses it and nothing else."""
        path = self.folder / name
        options = (
            "Host board other-board",
            "HostName 127.0.0.1",
            f"Port {self.port}",
            f"User {getuser()}",
            "IdentitiesOnly yes",
            "GlobalKnownHostsFile /dev/null",
            *lines,
        )
        path.write_text("\n".join(options) + "\n")
        return f"ssh -F {path}"

    def client(self) -> str:
        """The command of a client that knows the server and has the right key."""
        return self.configuration(
            "config",
            f"IdentityFile {self.folder / 'user_key'}",
            f"UserKnownHostsFile {self.folder / 'known_hosts'}",
        )

    def left_behind(self, wait_s: float = 60.0) -> list[str]:
        """What is in the board's temporary folder, after giving a session time to end."""
        deadline = time.monotonic() + wait_s
        while list(self.temporary.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return sorted(path.name for path in self.temporary.iterdir())

    def cut_connections(self) -> int:
        """Kills every session of the server, as when a cable is pulled; returns how many."""
        found = _children(self.process.pid)
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, _KILL)
        return len(found)


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[Server]:
    """Starts a server on a free port of the loopback interface; it ends with the context."""
    assert Path(SERVER).exists(), INSTALL
    for name in ("host_key", "user_key", "wrong_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, timeout=60)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    (folder / "board-tmp").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    host_key = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    (folder / "sshd_config").write_text(
        "\n".join(
            (
                "ListenAddress 127.0.0.1",
                f"Port {port}",
                f"HostKey {folder / 'host_key'}",
                f"AuthorizedKeysFile {folder / 'authorized_keys'}",
                f"PidFile {folder / 'sshd.pid'}",
                "StrictModes no",
                "UsePAM no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "PermitRootLogin prohibit-password",
                f"SetEnv TMPDIR={folder / 'board-tmp'}",
            )
        )
        + "\n"
    )
    if sys.platform != "win32" and os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = folder / "sshd.log"
    arguments = ["-D", "-e", "-f", str(folder / "sshd_config")]
    with log.open("wb") as file:
        process = subprocess.Popen([SERVER, *arguments], stderr=file)
    try:
        _wait_for(port, process, log)
        yield Server(folder, port, process)
    finally:
        server = Server(folder, port, process)
        server.cut_connections()
        process.terminate()
        process.wait(60)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1200):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def _children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == parent:
                found.append(int(status.parent.name))
    return found
