"""A real PostgreSQL server on this computer, as an unprivileged user, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

INSTALL = "tests of shared storages need PostgreSQL: apt-get install postgresql-15"
USER, PASSWORD, DATABASE = "ann", "pass/w@rd s3cret", "search"
_QUOTED = "pass%2Fw%40rd%20s3cret"


def _other_user() -> str | None:
    """Who runs it where the tests run as root, for whom PostgreSQL does not start."""
    user = getattr(os, "geteuid", os.getpid)()
    return "nobody" if user == 0 else None


def _programs() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2])
    )
    return versions[-1] if versions else None


@contextlib.contextmanager
def postgresql_server() -> Iterator[str]:
    """Starts a server on a free port of the loopback interface; yields the URL of a database.

    It ends with the context. Its password has every character that addresses have to quote.
    """
    programs = _programs()
    assert programs is not None, INSTALL
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user := _other_user():
            shutil.chown(folder, user)
        _run(
            folder,
            programs / "initdb",
            "--pgdata=data",
            "--no-sync",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            f"--username={USER}",
        )
        port = _free_port()
        options = f"-p {port} -k {folder} -h 127.0.0.1 -c fsync=off"
        _run(
            folder,
            programs / "pg_ctl",
            "--pgdata=data",
            "--log=log",
            "-w",
            f"-o {options}",
            "start",
        )
        try:
            with psycopg.connect(
                host=name, port=port, user=USER, dbname="postgres", autocommit=True
            ) as connection:
                connection.execute(f"ALTER USER {USER} PASSWORD '{PASSWORD}'")
                connection.execute(f"CREATE DATABASE {DATABASE}")
            yield f"postgresql://{USER}:{_QUOTED}@127.0.0.1:{port}/{DATABASE}"
        finally:
            _run(folder, programs / "pg_ctl", "--pgdata=data", "-m", "immediate", "stop")


def _run(folder: Path, *command: str | Path) -> None:
    """Runs a program of the server's; what a daemon keeps open is not waited for."""
    words = [str(word) for word in command]
    with (folder / f"{Path(words[0]).name}.out").open("wb") as output:
        done = subprocess.run(
            words,
            cwd=folder,
            user=_other_user(),
            stdout=output,
            stderr=output,
            env={"LC_ALL": "C"},
            check=False,
        )
    said = (folder / f"{Path(words[0]).name}.out").read_text()
    assert done.returncode == 0, said


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
