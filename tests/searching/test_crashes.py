"""What a search leaves for the process that goes on where native code crashed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.core.work_note import CRASH, UNDER_WAY
from edgeprune.searching.candidate import Candidate, Stage, Task
from edgeprune.searching.crashes import Crashes

TASK = Task(1, Candidate("phone", "int8"), Stage.ONE_SHOT)


def test_a_task_is_under_way_while_it_is_evaluated_also_if_it_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with Crashes(tmp_path).evaluating(TASK):
            assert (tmp_path / UNDER_WAY).read_text() == TASK.key
            raise ValueError("fails")

    with pytest.raises(ValueError, match="fails"):
        fail()
    assert not (tmp_path / UNDER_WAY).exists()


def test_a_crash_is_told_once_and_the_time_goes_on_from_the_first_process(tmp_path: Path) -> None:
    began = Crashes(tmp_path).began()
    (tmp_path / f"{CRASH}{TASK.key}").write_text("SIGSEGV")
    (tmp_path / f"{CRASH}0").write_text("of a device that was compared")
    again = Crashes(tmp_path)
    assert again.goes_on
    assert again.taken() == {TASK.key: "SIGSEGV"}
    assert again.taken() == {}
    assert again.began() == began
    assert (tmp_path / f"{CRASH}0").exists()
