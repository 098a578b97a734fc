"""The environment of this room's child processes: the package must be importable in them."""

from __future__ import annotations

import os
from pathlib import Path

from edgeprune.targets.child import Launcher


def launcher() -> Launcher:
    """This Python, with the folder that holds the package among those it imports from."""
    paths = (str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", ""))
    return Launcher(environment={"PYTHONPATH": os.pathsep.join(filter(None, paths))})
