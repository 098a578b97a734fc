"""A child process that runs .tflite files again and again, started once and kept.

`child.run_worker` starts a process for every run. Where a file is run for every batch of a
training, this one stays, loads each file once, and ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from edgeprune.core.arrays import Array
from edgeprune.core.errors import EdgepruneError
from edgeprune.targets.child import (
    DEFAULT_TIME_LIMIT_S,
    MAX_MESSAGE,
    Launcher,
    WorkerError,
    input_archive,
    read_reply,
    require_success,
)

_WORKER = Path(__file__).with_name("serving_worker.py")


class FileServer:
    """Runs files, given as bytes, in a child process; a child that died is replaced.

    Args:
      time_limit_s: seconds after which the child is killed while it answers.
      script: what the child runs.
    """

    def __init__(
        self, *, time_limit_s: float = DEFAULT_TIME_LIMIT_S, script: Path = _WORKER
    ) -> None:
        self._limit_s = time_limit_s
        self._script = script
        self._lock = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix="edgeprune-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._child: subprocess.Popen[bytes] | None = None
        self.failure: EdgepruneError | None = None
        """What the last request failed by, perhaps in the words of who asked; None if it was
        answered."""

    def load(self, content: bytes) -> None:
        """Loads a file.

        Raises:
          WorkerError: as `run`.
        """
        self._ask(content, [], samples=0, fresh=False)

    def run(
        self, content: bytes, inputs: Sequence[Array], samples: int, *, fresh: bool = False
    ) -> tuple[Array, ...]:
        """Runs a file on samples, one by one.

        Args:
          content: the file.
          inputs: one array `[samples, ...]` of real values per input, each row of the input's own
            shape.
          samples: how many.
          fresh: whether the file keeps a state, which every sample then finds as it is at first.

        Returns:
          One array `[samples, ...]` of real values per output.

        Raises:
          WorkerError: the runtime's error, the signal that the child died from, or the time limit.
        """
        return self._ask(content, inputs, samples=samples, fresh=fresh)

    def _ask(
        self, content: bytes, inputs: Sequence[Array], *, samples: int, fresh: bool
    ) -> tuple[Array, ...]:
        try:
            made = self._answered(content, list(inputs), samples=samples, fresh=fresh)
        except WorkerError as error:
            self.failure = error
            raise
        self.failure = None
        return made

    def _answered(
        self, content: bytes, inputs: list[Array], *, samples: int, fresh: bool
    ) -> tuple[Array, ...]:
        arrays = input_archive(inputs)
        with self._lock:
            head = {
                "path": str(self._stored(content)),
                "samples": samples,
                "fresh": fresh,
                "size": len(arrays),
            }
            found, made = self._answer(json.dumps(head).encode() + b"\n" + arrays)
        if "error" in found:
            raise WorkerError(str(found["error"])[:MAX_MESSAGE])
        return read_reply(b"{}", made).outputs

    def _stored(self, content: bytes) -> Path:
        path = Path(self._folder, f"{hashlib.sha256(content).hexdigest()}.tflite")
        if not path.exists():
            path.write_bytes(content)
        return path

    def _answer(self, request: bytes) -> tuple[dict[str, Any], bytes]:
        """Sends a request to the child, which is started if it is not there."""
        child = self._child = self._child or self._start()
        requests, answers = _pipes_of(child)
        late = threading.Event()
        timer = threading.Timer(self._limit_s, _kill, (child, late))
        timer.start()
        try:
            requests.write(request)
            requests.flush()
            head = json.loads(answers.readline() or b"{}")
            made = answers.read(head.get("size", 0))
        except OSError:
            head, made = {}, b""
        finally:
            timer.cancel()
        if late.is_set() or "size" not in head or len(made) < head["size"]:
            self._bury(child, timed_out=late.is_set())
        return head, made

    def _start(self) -> subprocess.Popen[bytes]:
        with Path(self._folder, "errors").open("wb") as errors:
            launcher = _launcher()
            child = subprocess.Popen(
                [*launcher.command, str(self._script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=launcher.variables(),
            )
        weakref.finalize(self, _end, child)
        return child

    def _bury(self, child: subprocess.Popen[bytes], *, timed_out: bool) -> None:
        """Says what a child died from.

        Raises:
          WorkerError: always.
        """
        self._child = None
        _end(child)
        if timed_out:
            raise WorkerError(f"did not end within its time limit of {self._limit_s:g} s")
        errors = Path(self._folder, "errors").read_text(encoding="utf-8", errors="replace")
        require_success(child.returncode, errors)
        raise WorkerError("it ended without an answer")


def _launcher() -> Launcher:
    """This Python, with the folder that holds the package among those it imports from."""
    paths = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", ""))
    return Launcher(environment={"PYTHONPATH": os.pathsep.join(filter(None, paths))})


def _pipes_of(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """Where a child takes requests, and where it answers."""
    if child.stdin is None or child.stdout is None:
        raise WorkerError("it was started without pipes")
    return child.stdin, child.stdout


def _kill(child: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    child.kill()


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends a child, and lets go of what belongs to it."""
    child.kill()
    child.wait()
    for pipe in _pipes_of(child):
        # What a dead child was not sent any more cannot be flushed.
        with contextlib.suppress(OSError):
            pipe.close()


@functools.cache
def file_server() -> FileServer:
    """The one server of this process, which all that runs files again and again share."""
    return FileServer()
