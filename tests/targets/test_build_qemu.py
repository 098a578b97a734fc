"""Building QEMU: steps that are resumed, with stand-ins for what takes minutes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgeprune.core.errors import TargetError
from edgeprune.targets.arm64_emulated import build_qemu
from edgeprune.targets.arm64_emulated.build_qemu import (
    BUILD_REQUIREMENTS,
    SHOWN_CORE,
    cached_qemu,
    hide_core,
    missing_packages,
)
from edgeprune.targets.arm64_emulated.latest import ADDED_RUNTIMES
from edgeprune.targets.cache import Step, set_up_in_steps, unfinished_folder
from edgeprune.targets.commands import run_logged

assert sys.platform == "linux"

Steps = Callable[[Path, Path], Sequence[Step]]


def quiet(*_: object) -> None:
    """Is told what is being done."""


class Recipe:
    """Three steps that write down that they ran; one of them may fail."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.failing = ""

    def steps(self, new: Path, rest: Path) -> tuple[Step, ...]:
        def step(name: str) -> Step:
            def carry_out() -> None:
                self.ran.append(name)
                (rest / name).write_text("half")
                if name == self.failing:
                    raise KeyboardInterrupt
                (rest / name).write_text("whole")
                if name == "last":
                    shutil.copy(rest / "second", new / "made")

            return Step(name, f"doing {name}", carry_out)

        return tuple(map(step, ("first", "second", "last")))


def set_up(folder: Path, steps: Steps, tell: Callable[..., None] = quiet, room: int = 1) -> None:
    set_up_in_steps("thing", folder, (folder / "made").exists, steps, tell, room_bytes=room)


def test_finished_steps_are_not_done_again_after_an_interruption(tmp_path: Path) -> None:
    recipe, folder = Recipe(), tmp_path / "thing-1"
    recipe.failing = "second"
    with pytest.raises(KeyboardInterrupt):
        set_up(folder, recipe.steps)
    assert recipe.ran == ["first", "second"]
    assert not folder.exists()
    recipe.failing = ""
    told: list[tuple[object, ...]] = []
    set_up(folder, recipe.steps, lambda *said: told.append(said))
    assert recipe.ran == ["first", "second", "second", "last"]
    assert told == [("doing second", 1, 3), ("doing last", 2, 3)]
    assert (folder / "made").read_text() == "whole"
    assert {path.name for path in tmp_path.iterdir()} == {"thing-1", "thing.lock"}
    set_up(folder, recipe.steps)
    assert len(recipe.ran) == 4


def test_what_another_recipe_left_unfinished_is_removed(tmp_path: Path) -> None:
    recipe = Recipe()
    recipe.failing = "last"
    with pytest.raises(KeyboardInterrupt):
        set_up(tmp_path / "thing-1", recipe.steps)
    assert unfinished_folder(tmp_path / "thing-1").is_dir()
    recipe.failing = ""
    set_up(tmp_path / "thing-2", recipe.steps)
    assert {path.name for path in tmp_path.iterdir()} == {"thing-2", "thing.lock"}
    assert recipe.ran == ["first", "second", "last"] * 2


def test_too_little_room_is_said_before_the_first_step(tmp_path: Path) -> None:
    recipe = Recipe()
    with pytest.raises(TargetError, match=r"thing: expected .* MB free in .* Make room there"):
        set_up(tmp_path / "thing-1", recipe.steps, room=1 << 60)
    assert recipe.ran == []


def test_a_program_that_fails_names_its_log_and_the_last_line(tmp_path: Path) -> None:
    log, heard = tmp_path / "build.log", list[str]()
    run_logged(
        "x", ["sh", "-c", "echo one; echo two >&2"], log, "", folder=tmp_path, said=heard.append
    )
    assert heard == ["one", "two"]
    program = "echo cc: no such file; echo stopped.; exit 3"
    with pytest.raises(TargetError) as caught:
        run_logged("x", ["sh", "-c", program], log, "Try X.", folder=tmp_path)
    assert str(caught.value).endswith(
        f"Received: exit code 3, stopped. (the last line of {log}). Try X."
    )
    lines = log.read_text().splitlines()
    assert lines[1:3] == ["one", "two"]
    assert lines[-2:] == ["cc: no such file", "stopped."]
    with pytest.raises(TargetError, match=r"cannot be run .* Try X\."):
        run_logged("x", ["no-such-program"], log, "Try X.", folder=tmp_path)


@pytest.fixture
def without_ninja(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has all that the build needs but ninja, and an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build_qemu, "_has_package", lambda _: True)
    monkeypatch.setattr(
        shutil, "which", lambda name: None if name == "ninja" else f"/usr/bin/{name}"
    )


@pytest.mark.usefixtures("without_ninja")
def test_an_ordinary_user_is_told_what_root_has_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert missing_packages() == ("ninja-build",)
    with pytest.raises(TargetError, match=r"Run: sudo apt-get install ninja-build; then: .*latest"):
        build_qemu.build_qemu(quiet)
    assert not cached_qemu().folder.parent.exists()


@pytest.mark.usefixtures("without_ninja")
def test_root_installs_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    class InstalledError(Exception):
        pass

    def run(_: str, command: Sequence[str | Path], *__: object, **___: object) -> str:
        if "install" in command:
            raise InstalledError(command[-1])
        return ""

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(build_qemu, "run_command", run)
    with pytest.raises(InstalledError, match="ninja-build"):
        build_qemu.build_qemu(quiet)


def test_a_build_that_fails_keeps_its_log_and_what_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Source, tools and tree are stand-ins; `configure` is a script that fails."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build_qemu, "missing_packages", tuple)
    monkeypatch.setattr(build_qemu, "ROOM_BYTES", 1)
    fetched: list[str] = []
    monkeypatch.setattr(build_qemu, "download_source", lambda name, *_: fetched.append(name))
    monkeypatch.setattr(build_qemu._Build, "make_environment", lambda _: None)

    def unpack(build: build_qemu._Build) -> None:
        build.tree.mkdir()
        configure = build.tree / "configure"
        configure.write_text("#!/bin/sh\necho looking for glib\necho ERROR: no glib\nexit 1\n")
        configure.chmod(0o755)

    monkeypatch.setattr(build_qemu._Build, "unpack", unpack)
    qemu = cached_qemu()
    for _ in range(2):
        with pytest.raises(TargetError) as caught:
            build_qemu.build_qemu(quiet)
        assert f"exit code 1, ERROR: no glib (the last line of {qemu.log})" in str(caught.value)
        assert "targets install arm64-emulated --latest" in str(caught.value)
    assert fetched == ["qemu"]
    assert qemu.log.read_text().count("looking for glib") == 2
    assert not qemu.complete()


def test_the_line_that_shows_the_core_is_taken_out_once(tmp_path: Path) -> None:
    source = tmp_path / "syscall.c"
    source.write_text(f"before\n{SHOWN_CORE}behind\n")
    hide_core(source)
    assert source.read_text() == "before\nbehind\n"
    with pytest.raises(TargetError, match=r"expected the line .*cpuinfo.* Received: 0 times"):
        hide_core(source)


def test_everything_that_pip_fetches_has_a_checksum() -> None:
    lines = BUILD_REQUIREMENTS.read_text().splitlines()
    wheels = [line for line in lines if not line.startswith("#")]
    wheels += [wheel for added in ADDED_RUNTIMES for wheel in added.wheels]
    assert len(wheels) >= 9
    assert all("==" in wheel and "--hash=sha256:" in wheel for wheel in wheels)
