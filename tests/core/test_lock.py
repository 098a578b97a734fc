from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeprune.core.errors import OutputError
from edgeprune.core.lock import held

HOLDER = """
import sys
from pathlib import Path
from edgeprune.core.lock import held
with held(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_lock_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    holder = start_holder(tmp_path / "lock")
    assert holder.stdin is not None
    waited: list[bool] = []

    def waiting() -> None:
        waited.append(holder.poll() is None)
        assert holder.stdin is not None
        holder.stdin.close()

    with held(tmp_path / "lock", waiting):
        # It is ours no sooner than the other one has given it back.
        assert waited == [True]
        assert holder.wait(60) == 0
    assert holder.stdout is not None
    holder.stdout.close()


def test_a_lock_is_free_again_after_its_holder_was_killed(tmp_path: Path) -> None:
    with start_holder(tmp_path / "lock") as holder:
        holder.kill()
        holder.wait(60)
        told: list[str] = []
        with held(tmp_path / "lock", lambda: told.append("waiting")):
            pass
    assert told == []


def test_a_lock_that_cannot_be_opened_is_an_error_of_the_output(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(OutputError, match="another output folder"), held(tmp_path / "lock", print):
        pass


def test_a_lock_is_given_back_when_the_block_fails(tmp_path: Path) -> None:
    told: list[str] = []
    for _ in range(2):
        with pytest.raises(KeyError), held(tmp_path / "lock", lambda: told.append("waiting")):
            raise KeyError
    assert told == []
