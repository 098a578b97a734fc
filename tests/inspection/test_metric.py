"""A user's own metric judges outputs, and its faults are told with its name and file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.conversion.convert import export
from edgeprune.core.data import Data
from edgeprune.core.errors import DataError
from edgeprune.inspection.metric import Metric, metric_of_file, metric_of_model, open_metric
from edgeprune.keras_model.interface import output_names
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.child import Reply
from edgeprune.targets.host import HOST
from tests.support.tiny_tflite import fully_connected

CODE = """
import numpy as np

def error(y_true, y_pred):
    return np.mean((y_true - y_pred) ** 2)

def broken(y_true, y_pred):
    raise KeyError("no such thing")

def nothing(y_true, y_pred):
    return None

def infinite(y_true, y_pred):
    return float("nan")

def several(y_true, y_pred):
    return y_pred
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "judges.py"
    path.write_text(CODE)
    return path


def test_a_function_of_a_file_judges_labels_and_outputs(code: Path) -> None:
    metric = open_metric(f"{code}:error", minimize=True)
    assert metric.minimize
    assert metric.of(np.array([[1.0], [2.0]]), [np.array([[1.0], [4.0]])], "m") == 2.0


def test_a_function_takes_tuples_of_several_labels_and_outputs() -> None:
    def both(y_true: Any, y_pred: Any) -> float:
        return float(sum(np.sum(a * b) for a, b in zip(y_true, y_pred, strict=True)))

    pair = (np.ones(2), np.ones(3))
    assert Metric("both", both).of(pair, list(pair), "m") == 5.0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("broken", "KeyError"),
        ("nothing", "None"),
        ("infinite", "nan"),
        ("several", "array"),
    ],
)
def test_what_a_function_does_wrong_is_told_with_its_name_file_and_subject(
    code: Path, name: str, told: str
) -> None:
    metric = open_metric(f"{code}:{name}")
    with pytest.raises(DataError) as error:
        metric.of(np.zeros(2), [np.zeros(2)], "phone-int8.tflite")
    for word in ("judges.py", name, "phone-int8.tflite", told):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("eror", "error"),
        ("np", "Received: module"),
    ],
)
def test_a_function_that_is_not_there_is_refused(code: Path, name: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        open_metric(f"{code}:{name}")


@pytest.mark.parametrize("given", ["accuracy", "judges.py", ":f", "a.py:", "D:f"])
def test_a_name_of_another_form_is_refused(given: str) -> None:
    with pytest.raises(DataError, match="module:function"):
        open_metric(given)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_metric(f"{tmp_path / 'none.py'}:f")


@pytest.fixture
def doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files answer their inputs times two, then their inputs."""

    def run(_: Any, __: Any, inputs: list[Any], ___: str) -> Reply:
        return Reply({"runtime": "a runtime"}, (2 * inputs[0],))

    monkeypatch.setattr(type(HOST), "run", run)


@pytest.mark.usefixtures("doubled")
def test_a_metric_sees_every_sample_of_a_file_in_order(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "m.tflite", np.eye(4, dtype=np.float32))
    x = np.arange(40, dtype=np.float32).reshape(10, 4)
    data = Data((x,), 2 * x + 1)
    metric = Metric("off by", lambda y, out: np.max(y - out))
    found = metric_of_file(metric, path, load_profile("android-phone"), data)
    assert (found.value, found.samples, found.runtime) == (1.0, 10, "a runtime")


@pytest.mark.usefixtures("doubled")
def test_a_metric_without_labels_is_refused(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "m.tflite", np.eye(4, dtype=np.float32))
    data = Data((np.zeros((3, 4), np.float32),))
    with pytest.raises(DataError, match="labels"):
        metric_of_file(Metric("m", lambda *_: 0.0), path, load_profile("android-phone"), data)


@pytest.mark.slow
def test_a_metric_takes_several_outputs_in_the_order_of_the_model(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), name="x")
    heads = [keras.layers.Dense(size, name=name)(inputs) for name, size in (("z", 2), ("a", 3))]
    model = keras.Model(inputs, heads)
    export(model, "xnnpack-x86", tmp_path / "m.tflite")
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    data = Data((x,), (np.zeros((50, 2)), np.ones((50, 3))))

    def distance(y_true: Any, y_pred: Any) -> float:
        return float(
            sum(w * np.mean((a - b) ** 2) for w, a, b in zip((1, 10), y_true, y_pred, strict=True))
        )

    metric = Metric("distance", distance, minimize=True)
    names = output_names(model)
    assert names == ("z", "a")
    profile = load_profile("xnnpack-x86")
    found = metric_of_file(metric, tmp_path / "m.tflite", profile, data, names=names)
    assert found.samples == 50
    assert found.value == pytest.approx(metric_of_model(metric, model, data).value, rel=1e-4)
