"""What `edgeprune doctor` and `--version` say of the computer, and what they do not."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.core.runtime import installed_version
from edgeprune.targets import host
from edgeprune.targets.find import TARGETS
from edgeprune.targets.host import installed_runtimes
from edgeprune.targets.surroundings import (
    PACKAGES,
    found_runtimes,
    impersonal,
    memory,
    surroundings,
)
from edgeprune.tflite.gate.rules import known_rules


def document() -> dict[str, object]:
    done = CliRunner().invoke(cli, ["doctor", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    content: dict[str, object] = json.loads(done.stdout)
    return content


def test_the_document_names_versions_instruments_and_the_computer() -> None:
    content = document()
    assert content["edgeprune"] == version("edgeprune")
    assert content["python"] == f"CPython {platform.python_version()}"
    assert content["machine"] == platform.machine()
    assert content["packages"] == {name: installed_version(name) for name in PACKAGES}
    targets = content["targets"]
    assert isinstance(targets, list)
    assert [target["target"] for target in targets] == list(TARGETS)
    assert list(content) == [
        *("edgeprune", "python", "system", "machine", "cores", "memory_bytes"),
        *("free_memory_bytes", "packages", "runtimes", "targets", "cache"),
    ]


def test_every_runtime_has_the_rules_that_the_gate_judges_by() -> None:
    found = found_runtimes()
    here = [(each.name, each.version) for each in found if each.where == "beside edgeprune"]
    assert here == list(installed_runtimes().items())
    known = {str(rules.runtime) for rules in known_rules()}
    assert {each.xnnpack for each in found} <= known
    assert document()["runtimes"] == [vars(each) for each in found]


def test_a_newer_runtime_is_judged_by_the_newest_rules_that_are_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(host, "PACKAGES", {"LiteRT": "ai-edge-litert", "Other": "other"})
    monkeypatch.setattr(host, "installed_version", lambda _: "2.99.0")
    litert, other = found_runtimes()
    assert str(litert) == "LiteRT 2.99.0 (beside edgeprune, XNNPACK by the rules of LiteRT 2.3.0)"
    assert str(other) == "Other 2.99.0 (beside edgeprune)"


def test_the_version_is_followed_by_the_runtimes() -> None:
    done = CliRunner().invoke(cli, ["--version"], catch_exceptions=False)
    assert done.exit_code == 0
    first, *others = done.stdout.splitlines()
    assert first == f"edgeprune, version {version('edgeprune')}"
    assert others == [str(each) for each in found_runtimes()]


@pytest.mark.linux
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/ada/.cache/edgeprune/x", "~/.cache/edgeprune/x"),
        ("found /srv/ada; no board", "found ~; no board"),
        ("/srv/adam/bin/adb", "/srv/adam/bin/adb"),
        ("/data/ada-cache/edgeprune", "$XDG_CACHE_HOME/edgeprune"),
        ("/home/grace/sdk/adb and /usr/bin/adb", "/home/USER/sdk/adb and /usr/bin/adb"),
        (r"C:\Users\grace\adb.exe", r"C:\Users\USER\adb.exe"),
    ],
)
def test_no_text_names_a_users_folder(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/srv/ada"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/data/ada-cache")
    assert impersonal(text) == shown


@pytest.mark.linux
def test_a_home_folder_that_is_the_root_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert impersonal("/usr/bin/adb") == "/usr/bin/adb"


def test_what_is_printed_names_neither_home_nor_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "adas-laptop")
    printed = str(surroundings()) + json.dumps(surroundings().to_json())
    assert "adas-laptop" not in printed
    assert str(Path.home()) not in printed or len(Path.home().parts) == 1
    assert "Instruments" in printed


def test_memory_is_read_where_linux_says_it_and_else_not_known(tmp_path: Path) -> None:
    assert memory(tmp_path) == (None, None)
    (tmp_path / "proc").mkdir()
    text = (
        "MemTotal:        2048 kB\nMemFree:  1 kB\nMemAvailable:    1024 kB\nHugePages_Total: 0\n"
    )
    (tmp_path / "proc" / "meminfo").write_text(text)
    assert memory(tmp_path) == (2048 * 1024, 1024 * 1024)
