"""What tests of the command line share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeprune.cli import cli


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in an empty folder in this process, which imports TensorFlow once for all."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = list(map(str, arguments))
        done = CliRunner().invoke(cli, words)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)

    return invoke
