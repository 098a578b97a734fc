"""Runs command lines in a Python that lacks what Windows lacks, as far as Linux lets it.

    python -m tests.support.without_posix '["inspect", "m.tflite"]' '["validate", ...]' ...

Libraries keep what they imported before; edgeprune's own modules come after. `imports` in place of
a command line imports every module of the package that is there for Windows.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import sys
from importlib.abc import MetaPathFinder
from typing import Any

MODULES = ("curses", "fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty")
OF_OS = (
    *("chown", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid", "getgid"),
    *("getloadavg", "getpgid", "getpgrp", "getpriority", "getuid", "killpg", "lchown", "mkfifo"),
    *("mknod", "nice", "openpty", "posix_fadvise", "posix_fallocate", "pread", "pwrite"),
    *("sched_getaffinity", "sched_setaffinity", "setpgid", "setpgrp", "setsid", "statvfs"),
    *("sync", "sysconf", "ttyname", "uname", "wait4"),
)
OF_SIGNAL = ("SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGXFSZ", "pthread_sigmask", "setitimer")
ONLY_POSIX = ("edgeprune.cli.guard",)
"""Modules that are not imported on Windows."""


class _Blocked(MetaPathFinder):
    def find_spec(self, name: str, *_: Any) -> None:
        """Refuses modules that Windows does not have."""
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named '{name}', as on Windows", name=name)


def take_away() -> None:
    """Removes what only POSIX has."""
    sys.meta_path.insert(0, _Blocked())
    for name in MODULES:
        sys.modules.pop(name, None)
    for module, names in ((os, OF_OS), (signal, OF_SIGNAL)):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)


def import_all() -> None:
    """Imports every module of the package."""
    import edgeprune

    for found in pkgutil.walk_packages(edgeprune.__path__, "edgeprune."):
        if found.name not in (*ONLY_POSIX, "edgeprune.__main__"):
            importlib.import_module(found.name)


def main() -> None:
    """Runs command lines one after the other; each has to end with 0."""
    import ai_edge_litert.interpreter
    import click.testing
    import jinja2
    import keras
    import matplotlib.pyplot
    import rich.console
    import scipy.optimize
    import sklearn.datasets
    import tensorflow

    assert all((ai_edge_litert, jinja2, keras, matplotlib, rich, scipy, sklearn, tensorflow))
    take_away()
    if sys.argv[1:] == ["imports"]:
        import_all()
        return
    from edgeprune.cli import cli

    for line in sys.argv[1:]:
        arguments = json.loads(line)
        done = click.testing.CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert done.exit_code == 0, (arguments, done.exit_code, done.output)


if __name__ == "__main__":
    main()
