"""Connections to boards: OpenSSH's own client at this end, `board.py` at the other.

The system's `ssh` is used rather than a library, since the user's configuration is written for it:
it alone honours every `Match`, `Include`, `ProxyJump`, agent, hardware key and certificate there.
Two things are not left to the configuration: an unknown host key is refused and never added, and
nothing is asked for on the terminal. One connection carries everything, so a board needs no sftp.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from edgeprune.core.arrays import Array
from edgeprune.core.errors import TargetError
from edgeprune.targets.child import (
    DEFAULT_TIME_LIMIT_S,
    MAX_MESSAGE,
    WORKER,
    Reply,
    WorkerError,
    input_archive,
    last_error,
    read_reply,
    require_success,
)
from edgeprune.targets.ssh.board import REPLY_MARK

BOARD = Path(__file__).with_name("board.py")
CLIENT_VARIABLE = "EDGEPRUNE_SSH"
"""The client's command if it is not `ssh`, with options in front, as in `ssh -F my_config`."""
OPTIONS = (
    "-T",
    *("-o", "BatchMode=yes"),
    *("-o", "StrictHostKeyChecking=yes"),
    *("-o", "UpdateHostKeys=no"),
    *("-o", "ConnectTimeout=15"),
    *("-o", "ServerAliveInterval=10"),
    *("-o", "ServerAliveCountMax=3"),
    *("-o", "ForwardX11=no"),
    *("-o", "ClearAllForwardings=yes"),
)
LOGIN_LIMIT_S = 60.0
BEAT_S = 10.0
"""The board takes a connection for broken after six of these."""
GREETING_LINES = 200
RESULTS = ("result.json", "outputs.npz")


@dataclass(frozen=True)
class Address:
    """Where a board is: `[user@]host[:port]`, the host as `ssh` and its configuration know it."""

    host: str
    """With the user in front, if one is named."""
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads an address; a numeric IPv6 host is put in brackets if a port follows.

        Raises:
          TargetError: it is not of this form.
        """
        found = re.fullmatch(r"((?:[^@\s:]+@)?)(?:\[([^\]\s@]+)\]|([^\s:\[\]@]+))(?::(\d+))?", text)
        port = int(found[4]) if found and found[4] else None
        if not found or text.startswith("-") or (port is not None and not 0 < port < 65536):
            raise TargetError(
                f"Target 'ssh': expected ssh:[USER@]HOST[:PORT]. Received: 'ssh:{text}'."
            )
        host = found[2] or found[3]
        if host.startswith("-"):
            raise TargetError(f"Target 'ssh': expected the name of a host. Received: '{host}'.")
        return cls(found[1] + host, port)

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def arguments(self) -> list[str]:
        """What names it to `ssh`."""
        return [*(["-p", str(self.port)] if self.port is not None else []), "--", self.host]


def client() -> list[str]:
    """The command of the SSH client, without the options that edgeprune adds."""
    return shlex.split(os.environ.get(CLIENT_VARIABLE, "")) or ["ssh"]


@functools.cache
def client_version(program: str) -> str | None:
    """What the client calls itself; None if there is none."""
    path = shutil.which(program)
    if path is None:
        return None
    done = subprocess.run([path, "-V"], capture_output=True, text=True, check=False, timeout=30)
    return (done.stderr or done.stdout).split(",")[0].strip()


class Session:
    """One connection to a board; use it as a context. Nothing stays on the board after it."""

    def __init__(self, address: Address, python: str) -> None:
        self.address = address
        self.python = python
        self._models: dict[str, str] = {}
        self._said: list[bytes] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Session:
        code = BOARD.read_bytes()
        program = f"import sys; exec(sys.stdin.buffer.read({len(code)}))"
        remote = f"{_shell_word(self.python)} -u -c {shlex.quote(program)}"
        command = [*client(), *OPTIONS, *self.address.arguments(), remote]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise TargetError(
                f"Target 'ssh' is not ready: {command[0]}: {error.strerror}. Install OpenSSH's "
                "client: apt-get install openssh-client"
            ) from error
        for work in (self._collect_errors, self._beat):
            threading.Thread(target=work, daemon=True).start()
        limit = threading.Timer(LOGIN_LIMIT_S, self._process.kill)
        limit.start()
        try:
            self._write(code)
            self._read_reply()
            self._put("worker.py", WORKER.read_bytes())
        except BaseException:
            self._end()
            raise
        finally:
            limit.cancel()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def run(
        self,
        job: dict[str, Any],
        inputs: list[list[Array]],
        *,
        time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    ) -> Reply:
        """Has the worker do a job on the board, as `run_worker` has it here.

        Raises:
          WorkerError: the runtime's error, the signal it died from, or the time limit.
          TargetError: the connection broke, or the board's Python lacks NumPy.
        """
        models = []
        for index, arrays in enumerate(inputs):
            name = f"inputs{index}.npz"
            self._put(name, input_archive(arrays))
            model = job["models"][index]
            models.append({**model, "path": self._put_model(model["path"]), "inputs": name})
        complete = {**job, "models": models, "result": RESULTS[0], "outputs": RESULTS[1]}
        self._put("job.json", json.dumps(complete).encode())
        arguments = ["worker.py", "job.json"]
        self._write_line({"run": arguments, "limit": time_limit_s, "get": RESULTS})
        reply = self._read_reply()
        files = {name: self._read(size) for name, size in reply["files"]}
        if reply["code"] is None:
            raise WorkerError(f"did not end within its time limit of {time_limit_s:g} s")
        if "No module named 'numpy'" in reply["errors"]:
            raise TargetError(self._needs("NumPy", "numpy"))
        require_success(reply["code"], reply["errors"])
        return read_reply(files[RESULTS[0]], files.get(RESULTS[1], b""))

    def _needs(self, what: str, package: str) -> str:
        return (
            f"{self.address}: {self.python} there has no {what}. Install it there: "
            f"{self.python} -m pip install {package}. Or name a Python that has it: --board-python "
            "PATH"
        )

    def require_runtime(self, installed: dict[str, str]) -> None:
        """Checks that the board has a runtime.

        Raises:
          TargetError: it has none; says what installs one.
        """
        if not installed:
            raise TargetError(self._needs("runtime", "ai-edge-litert"))

    def _put_model(self, path: str) -> str:
        """Sends a file once, whatever number of jobs name it; returns its name on the board."""
        if path not in self._models:
            name = f"model{len(self._models)}.tflite"
            self._put(name, Path(path).read_bytes())
            self._models[path] = name
        return self._models[path]

    def _put(self, name: str, content: bytes) -> None:
        self._write_line({"put": name, "size": len(content)}, content)

    def _write_line(self, request: dict[str, Any], content: bytes = b"") -> None:
        self._write(json.dumps(request).encode() + b"\n" + content)

    def _write(self, content: bytes) -> None:
        try:
            with self._lock:
                _stream(self._process.stdin).write(content)
                _stream(self._process.stdin).flush()
        except (OSError, ValueError) as error:
            raise self._broken() from error

    def _read(self, size: int) -> bytes:
        found = _stream(self._process.stdout).read(size)
        if len(found) < size:
            raise self._broken()
        return found

    def _read_reply(self) -> dict[str, Any]:
        """The next reply; what a login script writes before the first is no reply."""
        for _ in range(GREETING_LINES):
            line = _stream(self._process.stdout).readline().decode(errors="replace")
            if not line:
                break
            if line.startswith(REPLY_MARK):
                reply: dict[str, Any] = json.loads(line[len(REPLY_MARK) :])
                if "failed" in reply:
                    raise TargetError(f"{self.address}: cannot store files: {reply['failed']}.")
                return reply
        raise self._broken()

    def _broken(self) -> TargetError:
        """Why the connection is not there, in OpenSSH's words and with what to do."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._process.kill()
        self._process.wait()
        self._over.wait(2)
        said = b"".join(self._said).decode(errors="replace")
        return TargetError(
            explain_failure(self.address, self.python, self._process.returncode, said)
        )

    def _collect_errors(self) -> None:
        for line in _stream(self._process.stderr):
            self._said.append(line)
        self._over.set()

    def _beat(self) -> None:
        """Tells the board that this end is there, until it is not."""
        with suppress(TargetError):
            while not self._over.wait(BEAT_S):
                self._write_line({})

    def _end(self) -> None:
        """Ends the connection; the board then removes its folder and ends too."""
        with suppress(OSError, ValueError):
            _stream(self._process.stdin).close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _stream(self._process.stdout).close()
        if self._over.wait(2):  # else a client that stays as master for others holds it open
            _stream(self._process.stderr).close()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("a process without its streams")
    return stream


def _shell_word(path: str) -> str:
    """A path as any shell reads it; `~` stays what it means there."""
    return path if re.fullmatch(r"[\w./~+-]+", path) else shlex.quote(path)


def explain_failure(address: Address, python: str, code: int | None, said: str) -> str:
    """Why a connection failed, and what to do about it.

    Args:
      address: of the board.
      python: the command of the board's Python.
      code: the client's exit code: 255 if it failed by itself, else the remote command's.
      said: what the client and the remote command wrote to standard error.
    """
    host = shlex.join(["ssh", *address.arguments()]).replace(" -- ", " ")
    lines = [line.strip() for line in said.splitlines() if line.strip(" @")]
    reason = last_error(said) if code != 255 else (lines[-1] if lines else "no message")
    for pattern, advice in _ADVICE:
        if re.search(pattern, said):
            found = next((line for line in lines if re.search(pattern, line)), reason)
            return f"{address}: {advice.format(host=host, python=python)} ({found[:MAX_MESSAGE]})"
    if code == 127 or "not found" in said or "No such file" in said:
        return (
            f"{address}: expected Python 3.7 or later there, as '{python}'. Received: "
            f"{reason or 'no such command'}. Name another one: --board-python PATH"
        )
    return (
        f"{address}: the connection broke ({reason or 'no message'}); the board removes by itself "
        f"what was sent. Try: {host} true"
    )


_ADVICE = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host's key is not the one that is known. If you know why it changed, remove the old "
        "one with ssh-keygen -R, then connect once and compare the fingerprint: {host}",
    ),
    (
        r"Host key verification failed",
        "the host's key is not known, and edgeprune adds none by itself. Connect once and compare "
        "the fingerprint: {host}",
    ),
    (
        r"Permission denied",
        "the board accepts none of your keys. Load yours into the agent (ssh-add), or copy it "
        "there: ssh-copy-id; {host} must work without a password",
    ),
    (
        r"Could not resolve hostname|Connection refused|No route to host|timed out|"
        r"Network is unreachable",
        "the board cannot be reached. Try: {host}",
    ),
    (
        r"SyntaxError|future feature annotations",
        "expected Python 3.7 or later there, as '{python}'. Name another one: --board-python PATH",
    ),
)
"""What OpenSSH's client says, and what to do. Source: its messages as of version 9.2."""
