"""Every kind of error has a heading in the page that the last line on the terminal points to."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from click.testing import CliRunner

import edgeprune
from edgeprune.cli import cli, terminal
from edgeprune.core import errors
from edgeprune.core.errors import CheckError, DataError, EdgepruneError, kind_of
from edgeprune.targets.checks import CheckKind
from edgeprune.targets.child import WorkerError
from tests.support.tiny_tflite import fully_connected

PAGE = Path(__file__).parents[2] / terminal.HELP_PAGE


def headings() -> set[str]:
    return set(re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def test_every_error_and_warning_has_a_heading() -> None:
    kinds = {
        name
        for name, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, (EdgepruneError, errors.QualityWarning))
    }
    assert len(kinds) > 10
    assert kinds | {"Crash", "UsageError"} <= headings()


def test_every_message_that_is_quoted_is_one_of_the_packages() -> None:
    quoted = re.findall(r'^\| "(.+?)" \|', PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    sources = Path(edgeprune.__file__).parent.rglob("*.py")
    written = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    known = re.sub(r'"\s*\n\s*f?"', "", written)  # a text goes on in the next line
    assert len(quoted) > 50
    assert [each for each in quoted if each not in known] == []


def test_every_kind_of_check_has_its_remedy() -> None:
    rows = re.findall(r"^\| (`.+?`) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(get_args(CheckKind)) <= {
        kind for row in rows for kind in re.findall(r"`(.+?)`", row)
    }


def test_a_check_that_failed_points_to_the_heading_too(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "m.tflite", np.eye(8, dtype=np.float32))
    done = CliRunner().invoke(cli, ["validate", str(path), "--device", "edge-tpu", "--json"])
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "See docs/troubleshooting.md#checkerror"
    assert not json.loads(done.stdout)["ok"]


def test_a_command_that_succeeds_points_nowhere() -> None:
    done = CliRunner().invoke(cli, ["devices", "edge-tpu"])
    assert done.exit_code == 0
    assert "troubleshooting" not in done.output


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DataError("x"), "DataError"),
        (CheckError("x"), "CheckError"),
        (WorkerError("x"), "CheckError"),
        (EdgepruneError("x"), "EdgepruneError"),
    ],
)
def test_the_kind_of_an_error_is_its_class_in_the_tree(error: EdgepruneError, kind: str) -> None:
    assert kind_of(error) == kind


def test_the_last_line_of_a_failed_command_points_to_the_heading(tmp_path: Path) -> None:
    path = tmp_path / "no.tflite"
    done = CliRunner().invoke(cli, ["inspect", str(path)])
    *message, last = done.stderr.splitlines()
    assert done.exit_code == 2
    assert last == "See docs/troubleshooting.md#tfliteerror"
    assert "no.tflite" in "".join(message)


def test_a_document_holds_the_message_without_the_pointer(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["inspect", str(tmp_path / "no.tflite"), "--json"])
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "TfliteError"
    assert "troubleshooting" not in error["message"]
