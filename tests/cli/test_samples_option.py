"""`--samples N`: how many of the samples given plans and one shot look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import edgeprune
from edgeprune.cli import cli
from edgeprune.core.errors import InputError
from edgeprune.planning import allocation
from edgeprune.pruning import carry_out
from edgeprune.report import making
from tests.support.architectures import build

DEVICE = "ethos-u85"


class Seen:
    """The first feature of the samples that planning and pruning were given."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.planned: list[Any] = []
        self.pruned: list[Any] = []
        patch.setattr(allocation, "loss_curves", self._plan)
        patch.setattr(carry_out, "one_shot", self._prune)

    def _plan(self, *arguments: Any) -> Any:
        self.planned.append(arguments[3][0][:, 0])
        return allocation.Losses({}, {})

    def _prune(self, mapped: Any, _: Any, data: Any, **__: Any) -> Any:
        self.pruned.append(data.x[0][:, 0])
        return mapped.model


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(monkeypatch)


def numbered(count: int, width: int) -> Any:
    """Samples whose first feature is their number."""
    x = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    x[:, 0] = np.arange(count)
    return x


@pytest.mark.parametrize(("asked", "step"), [(None, 2), (512, 4), (2048, 1), (5000, 1)])
def test_so_many_samples_are_taken_evenly_spread_and_1024_by_default(
    asked: int | None, step: int, seen: Seen
) -> None:
    model = build("mlp")
    x = numbered(2048, model.input_shape[1])
    made = edgeprune.plan(model, DEVICE, x=x, samples=asked)
    edgeprune.prune(model, made, x, samples=asked)
    for taken in (*seen.planned, *seen.pruned):
        np.testing.assert_array_equal(taken, np.arange(0, 2048, step))
    assert len(seen.planned) == len(seen.pruned) == 1


def test_the_commands_hand_the_number_on(seen: Seen, tmp_path: Path) -> None:
    model = build("mlp")
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "d.npz", x=numbered(2000, model.input_shape[1]))
    given = [str(tmp_path / "m.keras"), "--device", DEVICE, "--data", str(tmp_path / "d.npz")]
    for command in (["plan"], ["prune", "-o", str(tmp_path / "o.keras")]):
        asked = [*command, *given, "--samples", "1500"]
        assert CliRunner().invoke(cli, asked, catch_exceptions=False).exit_code == 0
    assert [len(taken) for taken in (*seen.planned, *seen.pruned)] == [1500, 1500, 1500]


def test_compare_takes_the_number_for_every_step(
    seen: Seen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = build("mlp")
    exported = []

    def export(*_: Any, x: Any, **__: Any) -> Any:
        exported.append(len(x))
        raise InputError("far enough")

    monkeypatch.setattr(making, "export", export)
    x = numbered(2000, model.input_shape[1])
    edgeprune.compare(model, [DEVICE], x, tmp_path, samples=1200, validation_data=x[:8])
    lengths = {len(taken) for taken in (*seen.planned, *seen.pruned)}
    assert lengths == {1200} == set(exported)


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "many"])
def test_a_number_of_samples_that_is_none_is_refused(wrong: Any) -> None:
    model = build("mlp")
    x = numbered(40, model.input_shape[1])
    made = edgeprune.plan(model, DEVICE)
    with pytest.raises(InputError, match=r"whole number from 1 on\. Received: "):
        edgeprune.plan(model, DEVICE, x=x, samples=wrong)
    with pytest.raises(InputError, match=r"whole number from 1 on\. Received: "):
        edgeprune.prune(model, made, x, samples=wrong)


@pytest.mark.parametrize("command", ["plan", "prune"])
def test_a_number_of_samples_wants_data(command: str, tmp_path: Path) -> None:
    asked = [command, str(tmp_path / "m.keras"), "--device", DEVICE, "--samples", "64"]
    asked += ["-o", str(tmp_path / "o.keras")]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 2
    assert "--data" in done.output
    assert not list(tmp_path.iterdir())
