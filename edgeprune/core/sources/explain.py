"""Errors of a user's own code, with the file and the line that they come from."""

from __future__ import annotations

import contextlib
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from edgeprune.core.errors import DataError, EdgepruneError

_LINE = re.compile(r'File "([^"]+)", line (\d+)')
_OF_LIBRARIES = (
    *("site-packages", "dist-packages", "importlib", "<frozen"),
    str(Path(__file__).parents[2]),
)
_LONGEST = 400


@contextlib.contextmanager
def explaining(subject: str, kind: type[EdgepruneError] = DataError) -> Iterator[None]:
    """Runs a user's own code: what it raises becomes an error that names file and line.

    What it prints goes to standard error, since standard output is for results.

    Args:
      subject: what the code is, such as `loader.py:training`.
      kind: the error that is raised.

    Raises:
      kind: the code raised something, or wanted to end the program.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except EdgepruneError:
        raise
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())[:_LONGEST]
        raise kind(
            f"{subject}: its code raised {type(error).__name__}{_place(error)}: {said}. Mend it "
            "there."
        ) from error


def _place(error: BaseException) -> str:
    """Where an error comes from, as far as possible in code that is not a library's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [
        (frame.filename, str(frame.lineno)) for frame in traceback.extract_tb(error.__traceback__)
    ]
    # TensorFlow puts the traceback of a generator into the text of its own error.
    frames += _LINE.findall(str(error))
    own = [frame for frame in frames if not any(part in frame[0] for part in _OF_LIBRARIES)]
    return f" ({own[-1][0]}, line {own[-1][1]})" if own else ""
