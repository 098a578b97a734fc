"""`edgeprune compare` as a command line: what it hands on."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.core.errors import DataError
from edgeprune.report import compare

TYPED = ["--devices", "edge-tpu", "--data", "my data.npz", "--sparsity", "0.5", "-o", "out"]


def test_the_report_is_told_the_command_as_it_was_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def refuse(*_: Any, **given: Any) -> None:
        asked.update(given)
        raise DataError("no samples")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "compare", refuse)
    done = CliRunner().invoke(cli, ["compare", "net.keras", *TYPED])
    assert done.exit_code == 2
    assert shlex.split(asked["command"]) == ["edgeprune", "compare", "net.keras", *TYPED]
