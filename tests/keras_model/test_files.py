from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.core.errors import OutputError
from edgeprune.keras_model.files import load_model, save_model
from tests.support.architectures import build


def test_a_model_goes_to_disk_and_back(tmp_path: Path) -> None:
    model = build("nested")
    save_model(model, tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_saving_to_nowhere_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        save_model(build("mlp"), tmp_path / "no" / "m.keras")
    with pytest.raises(OutputError, match=r"ending in \.keras"):
        save_model(build("mlp"), tmp_path / "m.h5")
    assert list(tmp_path.iterdir()) == []
