"""What counts as a change, and what does not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core import digest
from edgeprune.core.data import Data
from edgeprune.core.errors import DataError
from edgeprune.core.sources.function import load_code
from edgeprune.keras_model.files import load_model, save_model
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.training.schedule import ConstantSparsity
from edgeprune.pruning.training.settings import Training
from edgeprune.searching import fingerprint
from edgeprune.targets.measurement import Settings
from tests.support.profiles import profile

X = np.arange(24, dtype=np.float32).reshape(4, 6)
DATA = Data((X,), np.arange(4))


def network(rate: float = 1e-3, loss: str = "mse") -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,), name="x"), keras.layers.Dense(3, name="dense")])
    model.compile(keras.optimizers.Adam(rate), loss)
    return model


def test_a_function_is_known_by_the_file_that_it_is_in(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def score(y, outputs):\n    return 1.0\n")
    before = fingerprint.of_function(load_code(str(path), DataError).score)
    assert before == digest.of_file(path)
    path.write_text("def score(y, outputs):\n    return 2.0\n")
    assert fingerprint.of_function(load_code(str(path), DataError).score) != before


def test_a_called_object_has_no_code_that_can_be_read() -> None:
    assert fingerprint.of_function(functools.partial(max, 1)) is None


def test_a_model_that_is_saved_again_elsewhere_is_the_same(tmp_path: Path) -> None:
    model = network()
    paths = [tmp_path / "a.keras", tmp_path / "b.keras"]
    for path in paths:
        save_model(model, path)
    first, second = (fingerprint.of_model(load_model(path)) for path in paths)
    assert first == second


def test_weights_layers_and_what_a_model_is_compiled_with_count() -> None:
    heavier = network()
    heavier.layers[0].kernel.assign(heavier.layers[0].kernel + 1e-3)
    other = keras.Sequential(
        [keras.Input((6,), name="x"), keras.layers.Dense(3, "relu", name="dense")]
    )
    models = [network(), network(rate=1e-2), network(loss="mae"), heavier, other]
    assert len({fingerprint.of_model(model) for model in models}) == 5


def test_every_sample_and_label_counts() -> None:
    changed = X.copy()
    changed[3, 5] = 7
    others = [Data((changed,), DATA.y), Data((X,), np.arange(4)[::-1]), Data((X,)), Data((X[:3],))]
    assert len({fingerprint.of_samples(data) for data in (DATA, *others)}) == 5
    assert fingerprint.of_samples(Data((X.copy(),), np.arange(4))) == fingerprint.of_samples(DATA)


def test_a_profile_is_known_by_its_content_and_that_of_its_cost_table(tmp_path: Path) -> None:
    from edgeprune.profiles.folder import profile_folder

    phone = load_profile("xnnpack-arm64")
    copy = tmp_path / "copy.toml"
    copy.write_text((profile_folder() / "xnnpack-arm64.toml").read_text())
    assert fingerprint.of_profile(load_profile(copy)) == fingerprint.of_profile(phone)
    renamed = phone.model_copy(update={"summary": "another"})
    assert fingerprint.of_profile(renamed) != fingerprint.of_profile(phone)
    costs = tmp_path / "costs.toml"
    text = (profile_folder() / "costs" / "cortex-a76.toml").read_text()
    costs.write_text(text)
    own = phone.model_copy(update={"costs": str(costs)})
    before = fingerprint.of_profile(own)
    costs.write_text(text.replace('date = "', 'date = "about '))
    assert fingerprint.of_profile(own) != before


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 3},
        {"learning_rate": 1e-3},
        {"validation": 0.1},
        {"validation": DATA},
        {"schedule": ConstantSparsity(0.5, 0)},
        {"seed": 1},
        {"quantize_aware": False},
        {"augment": "flip-shift"},
    ],
)
def test_how_a_model_is_trained_counts(change: dict[str, Any]) -> None:
    changed = fingerprint.of_training(replace(Training(epochs=2), **change))
    assert changed != fingerprint.of_training(Training(epochs=2))
    assert changed == fingerprint.of_training(replace(Training(epochs=2), **change))
    assert fingerprint.of_training(None) is None


def test_where_training_keeps_its_state_does_not_count() -> None:
    plain = Training(epochs=2)
    kept = replace(plain, checkpoint=Path("c"), resume=True, tensorboard=Path("t"))
    assert fingerprint.of_training(kept) == fingerprint.of_training(plain)


def test_training_with_code_of_the_users_own_is_never_the_same() -> None:
    own = replace(Training(epochs=2), callbacks=[keras.callbacks.TerminateOnNaN()])
    assert fingerprint.of_training(own) != fingerprint.of_training(own)


@pytest.mark.parametrize("package", ["ai-edge-litert", "tensorflow", "edgeprune"])
def test_versions_of_what_makes_and_runs_files_count(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint.of_versions()
    assert fingerprint.of_versions() == before
    from edgeprune.conversion.manifest import installed_versions

    other = {**installed_versions(), package: "99"}
    monkeypatch.setattr(fingerprint, "installed_versions", lambda: other)
    assert fingerprint.of_versions() != before
    monkeypatch.setattr(
        fingerprint, "installed_versions", lambda: {**installed_versions(), "python": "9"}
    )
    assert fingerprint.of_versions() == before


def test_edgeprunes_own_code_counts_as_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint.of_versions()
    monkeypatch.setattr(fingerprint, "_own_code", lambda: "other")
    assert fingerprint.of_versions() != before


def on_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "machine", lambda: {"cpu": "another"})


@pytest.mark.parametrize(
    ("used", "same"),
    [
        (("host",), False),
        (("edgetpu-model",), True),
        (("edgetpu-model", "host"), False),
        ((), True),
    ],
)
def test_times_are_of_one_machine_and_counts_of_all(
    used: tuple[str, ...], same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint.of_settings(Settings(), used)
    assert fingerprint.of_settings(Settings(artifacts=Path("x")), used) == before
    assert fingerprint.of_settings(Settings(threads=2), used) != before
    assert fingerprint.of_settings(Settings(runtime_version="2.3.0"), used) != before
    on_another_machine(monkeypatch)
    assert (fingerprint.of_settings(Settings(), used) == before) is same


def change_nothing(_: pytest.MonkeyPatch) -> None:
    """As it was."""


def use_another_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.targets.edgetpu_model.target.find_compiler", lambda: "/other")


@pytest.mark.parametrize(
    ("change", "same"), [(change_nothing, True), (use_another_compiler, False)]
)
def test_an_instrument_counts_at_its_version(
    change: Callable[[pytest.MonkeyPatch], None], same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = profile(targets=("edgetpu-model",))
    before = fingerprint.of_instruments(device, ["edgetpu-model"])
    change(monkeypatch)
    assert (fingerprint.of_instruments(device, ["edgetpu-model"]) == before) is same
