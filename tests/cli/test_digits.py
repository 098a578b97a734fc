"""The demo's own model: trained once, and again where it is not as it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.cli import digits
from edgeprune.searching import fingerprint


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Leaves out the training, and notes every time that there would have been one."""
    found: list[str] = []

    def build(*_: Any, **__: Any) -> Any:
        found.append("trained")
        return digits.build()

    monkeypatch.setattr(digits, "train_digits", build)
    return found


def test_the_digits_are_trained_once(tmp_path: Path, trained: list[str]) -> None:
    first = digits.prepare(tmp_path)
    assert (first.history, trained) == ("", ["trained"])
    with np.load(first.data) as arrays:
        assert set(arrays) == {"x", "y", "x_test", "y_test"}
    again = digits.prepare(tmp_path)
    assert (again.model, again.data) == (first.model, first.data)
    assert trained == ["trained"]
    assert again.history.startswith(f"{first.model}, trained 20")
    assert again.history.endswith("UTC, is reused.")


@pytest.mark.parametrize("name", ["digits.keras", "digits.npz"])
def test_a_damaged_file_is_made_again(tmp_path: Path, trained: list[str], name: str) -> None:
    digits.prepare(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:1000])
    again = digits.prepare(tmp_path)
    assert again.history == f"{again.model} was trained again, since {name} was changed or removed."
    assert trained == ["trained"] * 2
    assert len((tmp_path / name).read_bytes()) == len(whole)


def test_force_and_another_version_train_again(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digits.prepare(tmp_path)
    assert digits.prepare(tmp_path, force=True).history == ""
    monkeypatch.setattr(fingerprint, "installed_versions", lambda: {"keras": "99"})
    assert digits.prepare(tmp_path).history.endswith("since the versions changed.")
    assert trained == ["trained"] * 3
