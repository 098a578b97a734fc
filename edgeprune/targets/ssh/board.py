"""The board's end of a connection: keeps files in a folder of its own and runs the worker on them.

Sent over the connection and run by the board's Python as it is, so it needs nothing but Python 3.7
and is stored in no file there. Its folder goes when the connection does, however that ends: a
thread reads, and when no more can come it stops the worker and tells the one that answers.

A request is one line of JSON on standard input, a reply one on standard output, behind MARK:
    {"put": NAME, "size": N}, then N bytes                  no reply
    {"run": [ARGUMENT, ...], "limit": SECONDS, "get": [NAME, ...]}
                                        {"code": INT | null, "errors": TEXT, "files": [[NAME, N],
                                         ...]}, then the bytes; null is the time limit
    {}                                  no reply: the other end is still there
The first reply, {"python": PATH}, says that the folder is there; {"failed": TEXT} ends it all.
"""

from __future__ import annotations

import json
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

REPLY_MARK = "edgeprune-board "
FOLDER_PREFIX = "edgeprune-board-"
SILENCE_S = 60.0
"""A connection over which nothing comes for so long is broken, whatever the system thinks."""
CHUNK = 1 << 16
MAX_ERRORS = 20000


class ConnectionEnd(Exception):  # noqa: N818 (no error: every session ends with it)
    """No more requests will come."""


class Incoming:
    """Bytes from a descriptor, with an end when they stay out too long."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.held = b""

    def more(self) -> None:
        """Waits for bytes."""
        ready, _, _ = select.select([self.descriptor], [], [], SILENCE_S)
        found = os.read(self.descriptor, CHUNK) if ready else b""
        if not found:
            raise ConnectionEnd
        self.held += found

    def line(self) -> bytes:
        """One line without its end."""
        while b"\n" not in self.held:
            self.more()
        found, self.held = self.held.split(b"\n", 1)
        return found

    def copy(self, size: int, file: Any) -> None:
        """Copies bytes into a file as they come."""
        while size:
            if not self.held:
                self.more()
            part, self.held = self.held[:size], self.held[size:]
            file.write(part)
            size -= len(part)


class WorkerProcess:
    """The worker while it runs; another thread may stop it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: Any = None
        self.lock = threading.Lock()
        self.stopped = False

    def run(self, arguments: list[str], limit: float) -> tuple[Any, str]:
        """Runs to the end; returns the exit code, None after the time limit, and what it said."""
        errors = self.folder / "errors.txt"
        late = threading.Event()
        with errors.open("wb") as file:
            self.start(arguments, file)
            timer = threading.Timer(limit, self.kill, [late])
            timer.daemon = True
            timer.start()
            code = self.process.wait()
            timer.cancel()
        said = errors.read_bytes()[-MAX_ERRORS:].decode("utf-8", "replace")
        return (None if late.is_set() else code), said

    def start(self, arguments: list[str], errors: Any) -> None:
        """Starts the worker as the head of a process group, unless it was stopped before."""
        with self.lock:
            if self.stopped:
                raise ConnectionEnd
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=str(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    def kill(self, late: Any = None) -> None:
        """Ends the worker and whatever it started; says so to who asks whether it was late."""
        if late is not None:
            late.set()
        if self.process is not None and self.process.returncode is None:
            with suppress(OSError):
                if sys.platform == "win32":
                    self.process.kill()
                else:
                    os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Ends the worker and lets no other one start."""
        with self.lock:
            self.stopped = True
            self.kill()


def read_requests(incoming: Incoming, folder: Path, child: WorkerProcess, waiting: Any) -> None:
    """Stores files and hands on what else is asked, until the connection ends."""
    try:
        while True:
            request = json.loads(incoming.line().decode("utf-8"))
            if "put" in request:
                with (folder / request["put"]).open("wb") as file:
                    incoming.copy(request["size"], file)
            elif request:
                waiting.put(request)
    except ConnectionEnd:
        child.stop()
        waiting.put(None)
    except OSError as error:
        waiting.put({"failed": f"{folder}: {error.strerror or error}"})


def reply(content: Any, parts: Any = ()) -> None:
    """Writes a line, and bytes behind it."""
    out = sys.stdout.buffer
    out.write((REPLY_MARK + json.dumps(content) + "\n").encode("utf-8"))
    for part in parts:
        out.write(part)
    out.flush()


def answer(request: dict[str, Any], folder: Path, child: WorkerProcess) -> None:
    """Runs the worker and sends what it wrote."""
    for name in request["get"]:
        with suppress(OSError):
            (folder / name).unlink()
    code, errors = child.run(request["run"], request["limit"])
    paths = [folder / name for name in request["get"] if (folder / name).exists()]
    files = [(path.name, path.read_bytes()) for path in paths]
    sizes = [[name, len(content)] for name, content in files]
    reply({"code": code, "errors": errors, "files": sizes}, [content for _, content in files])


def serve(folder: Path) -> None:
    """Answers until the connection ends."""
    child = WorkerProcess(folder)
    waiting: Any = queue.Queue()
    incoming = Incoming(sys.stdin.fileno())
    reader = threading.Thread(target=read_requests, args=(incoming, folder, child, waiting))
    reader.daemon = True
    reader.start()
    reply({"python": sys.executable})
    try:
        request = waiting.get()
        while request is not None and "failed" not in request:
            answer(request, folder, child)
            request = waiting.get()
        if request is not None:
            reply(request)
    finally:
        child.stop()


def remove_abandoned() -> None:
    """Removes folders of sessions that were killed or lost power; the name holds their process."""
    if not Path("/proc/self").exists():
        return
    for path in Path(tempfile.gettempdir()).glob(FOLDER_PREFIX + "*"):
        owner = path.name[len(FOLDER_PREFIX) :].split("-")[0]
        with suppress(OSError):
            ours = sys.platform != "win32" and path.lstat().st_uid == os.getuid()
            if ours and not Path("/proc", owner).exists():
                shutil.rmtree(str(path), ignore_errors=True)


ENDINGS = {signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)}
"""Signals by which the system asks a program to end; Windows has two of them."""


def end(number: int, frame: Any) -> None:  # noqa: ARG001
    """Ends the session in order when the system asks for it."""
    raise ConnectionEnd


def serve_connection() -> None:
    """Serves one connection."""
    remove_abandoned()
    for number in ENDINGS:
        signal.signal(number, end)
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))
    try:
        serve(folder)
    except (ConnectionEnd, BrokenPipeError):
        os.close(1)  # nobody reads what is still held back
    finally:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)
        shutil.rmtree(str(folder), ignore_errors=True)


if __name__ == "__main__":
    serve_connection()
