"""Connections to boards: OpenSSH's own client at this end, `board.py` at the other.

The system's `ssh` is used rather than a library, since the user's configuration is written for it:
it alone honours every `Match`, `Include`, `ProxyJump`, agent, hardware key and certificate there.
Two things are not left to the configuration: an unknown host key is refused and never added, and
nothing is asked for on the terminal. One connection carries everything, so a board needs no sftp.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    require_success,
)
from edgeprune.targets.ssh.address import Address
from edgeprune.targets.ssh.board import REPLY_MARK
from edgeprune.targets.ssh.failure import explain_failure

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
MAX_LINE = 1 << 20
"""Bytes of a line that a board may write."""
MAX_SAID = 1 << 16
"""Bytes of what the client and the board's programs last wrote to standard error that are kept."""
PATIENCE_S = 60.0
"""How much later than it could be a board's answer may come."""
SLOWEST = 20_000
"""Bytes per second that a connection is given time for."""
_CHUNK = 1 << 16
_TICK_S = 0.2
_FAREWELL_S, _SHORT_FAREWELL_S = 10.0, 1.0
"""How long a board may take to end, and where something went wrong."""


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
        self._said = b""
        self._deadline = math.inf
        """When the connection is ended, by the clock of `time.monotonic`."""
        self._late: str | None = None
        """What did not come before the deadline."""
        self._awaited = ""
        self._lock = threading.Lock()
        self._over = threading.Event()
        """Set when the client says no more on its standard error."""
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Session:
        from edgeprune.targets.ssh import reply

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
        for work in (self._collect_errors, self._beat, self._watch):
            threading.Thread(target=work, daemon=True).start()
        try:
            with self._within(LOGIN_LIMIT_S, "no answer"):
                self._write(code)
                reply.read_line(self.address, self._read_line(), reply.Ready)
                self._put("worker.py", WORKER.read_bytes())
        except BaseException:
            self._end(_SHORT_FAREWELL_S)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(_FAREWELL_S if error is None else _SHORT_FAREWELL_S)

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
        from edgeprune.targets.ssh import reply

        with self._within(PATIENCE_S, "nothing taken"):
            self._send(job, inputs)
        arguments = ["worker.py", "job.json"]
        with self._within(time_limit_s + PATIENCE_S, "no reply"):
            self._write_line({"run": arguments, "limit": time_limit_s, "get": RESULTS})
            done = reply.read_line(self.address, self._read_line(), reply.Done)
        size = sum(size for _, size in done.files)
        with self._within(PATIENCE_S + size / SLOWEST, "no more results"):
            files: dict[str, bytes] = {name: self._read(size) for name, size in done.files}
        if done.code is None:
            raise WorkerError(f"did not end within its time limit of {time_limit_s:g} s")
        if "No module named 'numpy'" in done.errors:
            raise TargetError(self._needs("NumPy", "numpy"))
        require_success(done.code, done.errors)
        result, outputs = (files.get(name, b"") for name in RESULTS)
        return reply.read_files(self.address, job, result, outputs)

    def _send(self, job: dict[str, Any], inputs: list[list[Array]]) -> None:
        """Sends a job with its files; models only if they are not there yet."""
        models = []
        for index, arrays in enumerate(inputs):
            name = f"inputs{index}.npz"
            self._put(name, input_archive(arrays))
            model = job["models"][index]
            models.append({**model, "path": self._put_model(model["path"]), "inputs": name})
        complete = {**job, "models": models, "result": RESULTS[0], "outputs": RESULTS[1]}
        self._put("job.json", json.dumps(complete).encode())

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
        self._deadline += len(content) / SLOWEST
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

    def _read_line(self) -> str:
        """The next reply; what a login script writes before the first is no reply."""
        for _ in range(GREETING_LINES):
            line = _stream(self._process.stdout).readline(MAX_LINE).decode(errors="replace")
            if not line:
                break
            if line.startswith(REPLY_MARK):
                text = line[len(REPLY_MARK) :]
                if text.startswith('{"failed":'):
                    raise TargetError(f"{self.address}: cannot store files: {text[:MAX_MESSAGE]}")
                return text
        raise self._broken()

    def _broken(self) -> TargetError:
        """Why the connection is not there, in OpenSSH's words and with what to do."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._process.kill()
        self._process.wait()
        if self._late:
            return TargetError(
                f"{self.address}: {self._late}: the connection was ended. Look whether the board "
                "is busy, or its network slow."
            )
        self._over.wait(2)
        said = self._said.decode(errors="replace")
        return TargetError(
            explain_failure(self.address, self.python, self._process.returncode, said)
        )

    @contextmanager
    def _within(self, seconds: float, otherwise: str) -> Iterator[None]:
        """Ends the connection if a block takes longer, and then says what did not come.

        What is written within it adds the time that a slow connection takes.
        """
        self._awaited = f"{otherwise} within {seconds:.0f} s"
        self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = math.inf

    def _watch(self) -> None:
        """Ends the connection at the deadline: whoever reads or writes then finds it broken."""
        while not self._ended.wait(_TICK_S):
            if time.monotonic() > self._deadline:
                self._late = self._awaited
                self._process.kill()
                return

    def _collect_errors(self) -> None:
        stream: Any = _stream(self._process.stderr)
        while part := stream.read1(_CHUNK):
            self._said = (self._said + part)[-MAX_SAID:]
        self._over.set()

    def _beat(self) -> None:
        """Tells the board that this end is there, until it is not."""
        with suppress(TargetError):
            while not self._over.wait(BEAT_S):
                self._write_line({})

    def _end(self, patience_s: float) -> None:
        """Ends the connection; the board then removes its folder and ends too."""
        self._ended.set()
        with suppress(OSError, ValueError):
            _stream(self._process.stdin).close()
        try:
            self._process.wait(patience_s)
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
