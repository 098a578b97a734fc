"""A program that stands in for `ssh` and for a board that says what it likes.

It takes what it is sent as a board does, and answers every job well until the one that the variable
HOSTILE_AT names ("login", "describe", "run" or "time"). There it does what HOSTILE says: "silent",
"deaf", "endless errors", a name of `ENDLESS`, or the path of a file with the bytes to write; then
it ends, as when a cable is pulled.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

MARK = b"edgeprune-board "
MACHINE = {
    "board": "Stand-in 4",
    "cpu": "Cortex-A72",
    "cores": 4,
    "governor": None,
    "system": "Linux",
    "python": "3.11.0",
}
WORK = {
    "runtime": "LiteRT 2.1.0",
    "machine": MACHINE,
    "affinity": [0, 1],
    "temperature_c": [40.0, None],
}
FACTS: dict[str, dict[str, Any]] = {
    "describe": {**MACHINE, "runtimes": {"LiteRT": "2.1.0"}, "temperature_c": 40.0},
    "run": {**WORK, "output_scales": [0.0]},
    "time": {**WORK, "samples_ms": [[1.0, 1.1]], "invokes_per_sample": [1]},
}


def outputs(array: Any, *, compressed: bool = False) -> bytes:
    """An archive of one output."""
    import numpy as np

    content = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(content, out0=array)
    return content.getvalue()


def zeros() -> bytes:
    """An archive of one output, `[1, 64]` zeros, made without NumPy, which takes long to load."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 64), }".ljust(117) + b"\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(256)
        archive.writestr("out0.npy", array)
    return content.getvalue()


def answer(kind: str, result: bytes = b"", archive: bytes | None = None) -> bytes:
    """A whole reply: the line and its files."""
    result = result or json.dumps(FACTS[kind]).encode()
    files = {"result.json": result}
    if archive is not None or kind == "run":
        files["outputs.npz"] = zeros() if archive is None else archive
    sizes = [[name, len(content)] for name, content in files.items()]
    line = json.dumps({"code": 0, "errors": "", "files": sizes}).encode()
    return MARK + line + b"\n" + b"".join(files.values())


def changed(kind: str, **facts: Any) -> bytes:
    """A reply whose result differs in some keys."""
    return answer(kind, json.dumps({**FACTS[kind], **facts}).encode())


def without(kind: str, key: str) -> bytes:
    """A reply whose result lacks a key."""
    facts = {name: value for name, value in FACTS[kind].items() if name != key}
    return answer(kind, json.dumps(facts).encode())


def promised(**header: Any) -> bytes:
    """The line of a reply with other values in it, and nothing behind it."""
    content = {"code": 0, "errors": "", "files": [["result.json", 2]], **header}
    return MARK + json.dumps(content).encode() + b"\n{}"


def misbehave(deed: str) -> None:
    """Does what HOSTILE says."""
    if deed == "silent":
        time.sleep(600)
    elif deed == "endless errors":
        while True:
            os.write(2, b"x" * 65536)
    elif deed in ENDLESS:
        begin, part = ENDLESS[deed]
        sys.stdout.buffer.write(begin)
        while True:
            sys.stdout.buffer.write(part)
    else:
        sys.stdout.buffer.write(Path(deed).read_bytes())
        sys.stdout.buffer.flush()


ENDLESS = {
    "endless line": (b"", b"x" * 65536),
    "endless reply": (MARK + b'{"code": "', b"x" * 65536),
    "endless greeting": (b"", b"hello\n" * 10000),
    "endless file": (
        MARK + b'{"code": 0, "errors": "", "files": [["result.json", 4000000]]}\n',
        b"x" * 65536,
    ),
}


def read_requests() -> Any:
    """Yields the jobs as they come."""
    incoming = sys.stdin.buffer
    job: Any = None
    while line := incoming.readline():
        request = json.loads(line)
        if "put" in request:
            content = incoming.read(request["size"])
            if request["put"] == "job.json":
                job = json.loads(content)
        elif "run" in request:
            yield job


def main() -> None:
    """Serves one connection."""
    at, deed = os.environ["HOSTILE_AT"], os.environ["HOSTILE"]
    size = int(sys.argv[-1].split("read(")[1].split(")")[0])
    sys.stdin.buffer.read(size)
    if at == "login":
        misbehave(deed)
        return
    sys.stdout.buffer.write(MARK + b'{"python": "/usr/bin/python3"}\n')
    sys.stdout.buffer.flush()
    if deed == "deaf":
        time.sleep(600)
    for job in read_requests():
        if job["kind"] == at:
            misbehave(deed)
            return
        sys.stdout.buffer.write(answer(job["kind"]))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
