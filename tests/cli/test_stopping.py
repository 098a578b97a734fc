"""What is said where work is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.cli.stopping import Stopped, resumable
from edgeprune.pruning.training.settings import Training


@pytest.mark.parametrize("done", [True, False])
def test_a_training_that_is_stopped_says_how_it_goes_on_once_an_epoch_is_done(
    done: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "m.checkpoint"
    folder.mkdir()
    if done:
        (folder / "checkpoint.npz").write_bytes(b"")
    with pytest.raises(Stopped), resumable(Training(epochs=3, checkpoint=folder)):
        raise Stopped(130)
    said = capsys.readouterr().err
    assert ("--resume goes on" in said) is done
    assert (str(folder) in " ".join(said.split())) is done


def test_what_keeps_nothing_is_stopped_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    for training in (None, Training(epochs=3)):
        with pytest.raises(Stopped), resumable(training):
            raise Stopped(143)
    assert capsys.readouterr().err == ""
