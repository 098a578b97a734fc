"""Functions of a user's own that give samples: `module:function` or `path/to/file.py:function`."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeprune.core.errors import DataError, EdgepruneError
from edgeprune.core.sources.explain import explaining
from edgeprune.core.spelling import suggestion

_FORM = re.compile(r"(?P<code>.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")
_DRIVE = re.compile(r"[A-Za-z]:\w+")
"""A file on another drive of Windows, such as `D:data`."""


def names_function(text: str) -> bool:
    """Whether a text has the form of a function; a path with a drive letter has not."""
    return _FORM.fullmatch(text) is not None and _DRIVE.fullmatch(text) is None


def call_function(text: str) -> Any:
    """Runs a function's file or module, calls it without arguments and returns what it gives.

    Args:
      text: as `names_function` accepts it.

    Raises:
      DataError: there is no such file, module or function, or its code raised something.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise DataError(f"{text}: expected module:function or path/to/file.py:function.")
    module = load_code(form["code"], DataError)
    found = getattr(module, form["name"], None)
    if not callable(found):
        functions = [name for name, part in vars(module).items() if callable(part)]
        raise DataError(
            f"{text}: expected a function '{form['name']}' in {form['code']}. Received: "
            f"{'nothing of that name' if found is None else type(found).__name__}."
            f"{suggestion(form['name'], functions)}"
        )
    with explaining(text):
        given = found()
    if given is None:
        raise DataError(
            f"{text}: expected a tf.data.Dataset, a PyDataset, arrays, (x, y) or a dict of arrays. "
            "Received: None. Return one of these."
        )
    return given


def load_code(code: str, kind: type[EdgepruneError]) -> ModuleType:
    """Runs a `.py` file, or imports a module, with its folder on the path.

    Args:
      code: the path of a file, or a module's dotted name; of the latter the current folder is
        looked through first.
      kind: the error that is raised.

    Raises:
      kind: there is no such file or module, or its code raised something.
    """
    if not code.endswith(".py"):
        _put_on_path(Path.cwd())
        with explaining(code, kind):
            return importlib.import_module(code)
    path = Path(code)
    if not path.is_file():
        raise kind(f"{code}: expected a file with Python code. Received: no such file.")
    file = str(path.resolve())
    loaded = [part for part in [*sys.modules.values()] if getattr(part, "__file__", None) == file]
    if loaded:
        return loaded[0]
    name = f"edgeprune_code_{len(sys.modules)}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise kind(f"{code}: expected a file with Python code. Received: one that is not.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _put_on_path(path.resolve().parent)
    with explaining(code, kind):
        spec.loader.exec_module(module)
    return module


def _put_on_path(folder: Path) -> None:
    """Puts a folder in front of those that modules are imported from.

    It stays there, since the code may import more when it is called.
    """
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
