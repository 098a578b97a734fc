"""The scripts that find a Python to work with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

assert sys.platform == "linux"

SCRIPTS = Path(__file__).parents[1] / "scripts"


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def find_python(*arguments: str, path: str, pyenv: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["/bin/bash", SCRIPTS / "find_python", *arguments],
        env={"PATH": f"{path}:/usr/bin:/bin", "PYENV_ROOT": str(pyenv), "HOME": str(pyenv)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.strip()


VERSION = "{}.{}".format(*sys.version_info)


@pytest.mark.parametrize("on_path", [True, False])
def test_a_shim_that_starts_nothing_is_no_python(tmp_path: Path, on_path: bool) -> None:
    options = ["--on-path"] if on_path else []
    name = f"python{VERSION}"
    program(tmp_path / "shims" / name, f'echo "pyenv: {name}: command not found" >&2; exit 127')
    shims, pyenv = str(tmp_path / "shims"), tmp_path / "pyenv"
    other = "3.99"
    program(tmp_path / "shims" / f"python{other}", "exit 127")
    assert find_python(*options, other, path=shims, pyenv=pyenv) == (1, "")
    right = program(tmp_path / "right" / name, f'exec {sys.executable} "$@"')
    path = f"{shims}:{right.parent}"
    assert find_python(*options, VERSION, path=path, pyenv=pyenv) == (0, str(right))


def test_a_python_of_another_version_than_its_name_is_not_taken(tmp_path: Path) -> None:
    program(tmp_path / "python3.99", f'exec {sys.executable} "$@"')
    assert find_python("3.99", path=str(tmp_path), pyenv=tmp_path) == (1, "")


def test_pyenvs_versions_count_unless_only_the_path_does(tmp_path: Path) -> None:
    for patch in (2, 10):
        folder = tmp_path / f"versions/3.99.{patch}/bin"
        program(folder / "python3.99", "exit 0")
    newest = str(tmp_path / "versions/3.99.10/bin/python3.99")
    assert find_python("3.99", path="", pyenv=tmp_path) == (0, newest)
    assert find_python("--on-path", "3.99", path="", pyenv=tmp_path) == (1, "")
