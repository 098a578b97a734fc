"""Programs that a set-up starts: what they said is the error if they fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgeprune.core.errors import TargetError

_MAX_MESSAGE = 600
_TIME_LIMIT_S = 1800.0


def run_command(
    name: str,
    command: Sequence[str | Path],
    remedy: str,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Runs a program to its end and returns what it printed.

    Args:
      name: of what is set up; begins the error.
      command: the program and its arguments.
      remedy: what to do if it fails, a sentence.
      folder: to run it in.
      environment: variables that are added to the present ones.

    Raises:
      TargetError: it is not installed, fails or does not end within half an hour.
    """
    subject = _subject(name, command)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_TIME_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TargetError(f"{subject} cannot be run ({error}). {remedy}") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-_MAX_MESSAGE:]
        raise TargetError(
            f"{subject} should have ended with 0. Received: exit code {done.returncode}, {said} "
            f"{remedy}"
        )
    return done.stdout


def run_logged(
    name: str,
    command: Sequence[str | Path],
    log: Path,
    remedy: str,
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> None:
    """Runs a program that takes long to its end, and keeps all that it prints.

    Args:
      name: of what is set up; begins the error.
      command: the program and its arguments.
      log: gets what it prints, behind what is there.
      remedy: what to do if it fails, a sentence.
      folder: to run it in.
      environment: variables that are added to the present ones.
      said: told every line as it is printed.

    Raises:
      TargetError: it is not installed or fails; names the log and its last line.
    """
    subject, last = _subject(name, command), "nothing"
    with log.open("a", encoding="utf-8") as kept:
        kept.write(f"$ {' '.join(map(str, command))}\n")
        kept.flush()
        try:
            running = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise TargetError(f"{subject} cannot be run ({error}). {remedy}") from error
        with running:
            try:
                for line in running.stdout or ():
                    kept.write(line)
                    last = line.strip() or last
                    said(line.strip())
            except BaseException:
                running.terminate()
                raise
    if running.returncode:
        raise TargetError(
            f"{subject} should have ended with 0. Received: exit code {running.returncode}, "
            f"{last[-_MAX_MESSAGE:]} (the last line of {log}). {remedy}"
        )


def _subject(name: str, command: Sequence[str | Path]) -> str:
    return f"{name}: '{Path(command[0]).name} {' '.join(map(str, command[1:3]))} ...'"
