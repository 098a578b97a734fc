"""Operators that cannot be lifted are run in the interpreter, on whatever reaches them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.island import Island, IslandError, island_errors
from edgeprune.conversion.lift.lifted import Lifted, Unliftable
from edgeprune.conversion.lift.parts import judged_model, learning_outputs, parts_of
from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.walk import lift
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.files import load_model, save_model
from edgeprune.keras_model.layers import map_layers
from edgeprune.pruning.channels.trace import trace
from edgeprune.targets.host import HOST
from edgeprune.targets.serving import file_server
from tests.support import islands
from tests.support.detection import detector
from tests.support.lift_cases import Array, ints, values
from tests.support.tflite_builder import Net


@pytest.fixture(scope="module")
def two_parts(tmp_path_factory: pytest.TempPathFactory) -> Lifted:
    return lift(islands.two_parts(tmp_path_factory.mktemp("islands") / "two.tflite"))


def island_of(lifted: Lifted) -> Island:
    found: Island = lifted.model.get_layer(lifted.islands[0].layer)
    return found


def turned(x: Array) -> Array:
    """What the island of `two_parts` computes, by its definition."""
    found = x.copy()
    for row, length in enumerate(islands.LENGTHS):
        found[:, row, :length] = x[:, row, :length][:, ::-1]
    return found


def test_what_cannot_be_lifted_is_run_between_what_can(two_parts: Lifted) -> None:
    assert sorted(two_parts.weights) == ["first", "fourth", "second", "third"]
    (part,) = two_parts.islands
    assert part.operators == (2,)
    assert part.reason == "REVERSE_SEQUENCE: there is no counterpart for it"
    assert prove(two_parts).difference < 1e-5


def test_an_island_is_run_on_what_reaches_it(two_parts: Lifted) -> None:
    x = values(3, 4, 4, 16)
    np.testing.assert_allclose(island_of(two_parts)(x), turned(x), rtol=1e-5)
    in_a_graph = tf.function(island_of(two_parts))
    np.testing.assert_allclose(in_a_graph(x * 2), turned(x * 2), rtol=1e-5)


def test_gradients_end_at_an_island(two_parts: Lifted) -> None:
    variables = [two_parts.model.get_layer(name).kernel for name in ("second", "third")]
    for run in (two_parts.model, tf.function(two_parts.model)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(run(values(2, 4, 4, 3)))
        before, behind = tape.gradient(loss, [variable.value for variable in variables])
        assert before is None
        assert np.abs(behind).max() > 0


def test_a_model_with_an_island_can_be_saved_and_copied(two_parts: Lifted, tmp_path: Path) -> None:
    save_model(two_parts.model, tmp_path / "two.keras")
    x = values(2, 4, 4, 3)
    for other in (copy_model(two_parts.model), load_model(tmp_path / "two.keras")):
        np.testing.assert_array_equal(other(x), two_parts.model(x))


def test_channels_that_an_island_reads_or_writes_stay(two_parts: Lifted) -> None:
    traced = trace(map_layers(two_parts.model))
    staying = {
        name: all(label in traced.frozen for label in np.unique(labels).tolist())
        for name, labels in traced.made_by.items()
    }
    assert staying == {"first": False, "second": True, "third": False, "fourth": True}


def test_no_sample_sees_the_state_that_another_one_left(tmp_path: Path) -> None:
    lifted = lift(islands.remembering(tmp_path / "memory.tflite"))
    assert lifted.islands[0].operators == (1, 2)
    x = values(3, 2, 2, 4)
    alone = np.concatenate([lifted.model(x[row : row + 1]) for row in range(3)])
    np.testing.assert_allclose(lifted.model(x), alone, rtol=1e-5)
    state = keras.Model(lifted.model.input, lifted.model.get_layer(lifted.islands[0].layer).output)
    np.testing.assert_array_equal(state(x), np.full((3, 2, 2, 4), 0.5))
    assert prove(lifted).difference < 1e-5


def test_channels_that_are_stored_for_the_next_sample_stay(tmp_path: Path) -> None:
    traced = trace(map_layers(lift(islands.remembering(tmp_path / "memory.tflite")).model))
    staying = {
        name: all(label in traced.frozen for label in np.unique(labels).tolist())
        for name, labels in traced.made_by.items()
    }
    assert staying == {"first": True, "second": False, "third": True}


def test_branches_are_run_with_the_subgraphs_that_they_call(tmp_path: Path) -> None:
    lifted = lift(islands.branching(tmp_path / "branch.tflite"))
    assert sorted(lifted.weights) == ["first", "last"]
    assert [part.reason for part in lifted.islands] == [
        "MEAN: it has no axis for samples; "
        "IF: it calls other subgraphs, and only the main one is lifted and pruned"
    ]
    assert lifted.model.input_shape == (None, 2, 2, 4)
    x = values(4, 2, 2, 4) * np.array([1, -1, 2, -2], np.float32)[:, None, None, None]
    theirs = HOST.run(lifted.graph, [x], "LiteRT").outputs[0]
    np.testing.assert_allclose(lifted.model(x), theirs, rtol=1e-4, atol=1e-5)


def test_parts_are_counted_by_the_islands_before_them(two_parts: Lifted) -> None:
    parts = parts_of(two_parts.model)
    assert {name: parts[name] for name in two_parts.weights} == {
        "first": 0,
        "second": 0,
        "third": 1,
        "fourth": 1,
    }


def test_a_variable_begins_no_part(tmp_path: Path) -> None:
    parts = parts_of(lift(islands.remembering(tmp_path / "memory.tflite")).model)
    assert set(parts.values()) == {0}


def spectrum_of_rows(path: Path) -> Path:
    """A convolution, then the absolute values of a transformation over both axes."""
    net = Net()
    x = net.tensor("x", (1, 1, 4, 8))
    spectrum = net.tensor("spectrum", (1, 1, 4, 5), "complex64")
    made = net.tensor("made", (1, 1, 4, 5))
    given = [islands.pointwise(net, x, "first", 8), net.constant("lengths", ints(4, 8))]
    net.operator("RFFT2D", given, [spectrum], 1, schema.Rfft2dOptionsT())
    net.operator("COMPLEX_ABS", [spectrum], [made])
    return net.save(path, [x], [made])


def test_complex_numbers_stay_within_an_island(tmp_path: Path) -> None:
    lifted = lift(spectrum_of_rows(tmp_path / "rows.tflite"))
    (part,) = lifted.islands
    assert part.operators == (1, 2)
    assert part.reason == "RFFT2D: it transforms rows too: [4, 8] of [1, 1, 4, 8]"
    x = values(3, 1, 4, 8)
    maps = np.asarray(lifted.model.get_layer("first")(x))
    np.testing.assert_allclose(lifted.model(x), abs(np.fft.rfft2(maps)), rtol=1e-4)


def smoothed(path: Path, *, hybrid: bool = False) -> Path:
    """A dense layer of rank one over the last three samples, SVDF, and one behind it.

    Hybrid: the first one's weights are int8.
    """
    net = Net()
    x, memory = net.tensor("x", (1, 4)), net.tensor("memory", (1, 9))
    net.graph.tensors[memory].isVariable = True
    made, scores = net.tensor("made", (1, 3)), net.tensor("scores", (1, 2))
    features = net.constant("features", values(3, 4))
    if hybrid:
        whole = np.rint(values(3, 4) * 20).astype(np.int8)
        features = net.constant("features/int8", whole, scales=[0.05])
    parts = [features, net.constant("times", values(3, 3))]
    options = schema.SVDFOptionsT(rank=1)
    net.operator("SVDF", [x, *parts, net.constant("b", values(3)), memory], [made], 1, options)
    last = [made, net.constant("w", values(2, 3)), -1]
    net.operator("FULLY_CONNECTED", last, [scores], 1, schema.FullyConnectedOptionsT())
    return net.save(path, [x], [scores])


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_state_in_a_tensor_is_not_handed_on_either(hybrid: bool, tmp_path: Path) -> None:
    lifted = lift(smoothed(tmp_path / "smooth.tflite", hybrid=hybrid))
    x = values(3, 4)
    alone = np.concatenate([lifted.model(x[row : row + 1]) for row in (2, 1, 0)])
    np.testing.assert_allclose(lifted.model(x), alone[::-1], rtol=1e-5)
    assert prove(lifted).difference < 1e-5


def test_detections_are_an_island_behind_the_network(tmp_path: Path) -> None:
    lifted = lift(detector(tmp_path / "detector.tflite"))
    assert [part.operators for part in lifted.islands] == [(6,)]
    assert [tuple(each.shape) for each in lifted.model.outputs] == [
        *((None, 4, 4), (None, 4), (None, 4)),
        (None,),
    ]
    assert prove(lifted).difference < 1e-4
    assert learning_outputs(lifted.model) == (False,) * 4
    assert len(judged_model(lifted.model).outputs) == 2


def unstarted(path: Path) -> Path:
    """An operator that no runtime knows in front of a convolution."""
    net = Net()
    x, mystery = net.tensor("x", (1, 2, 2, 3)), net.tensor("mystery", (1, 2, 2, 4))
    net.operator("CUSTOM", [x], [mystery], custom_code=b"Mystery")
    return net.save(path, [x], [islands.pointwise(net, mystery, "second", 2)])


def weightless(path: Path) -> Path:
    """The same with an operator in front that has no weights."""
    net = Net()
    x, whole = net.tensor("x", (1, 2, 2, 4)), net.tensor("whole", (1, 2, 2, 4))
    mystery = net.tensor("mystery", (1, 2, 2, 4))
    net.operator("RELU", [x], [whole])
    net.operator("CUSTOM", [whole], [mystery], custom_code=b"Mystery")
    return net.save(path, [x], [islands.pointwise(net, mystery, "second", 2)])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (islands.all_outside, r"operator 0 \(REVERSE_SEQUENCE\): there is no counter"),
        (unstarted, r"operator 0 \(Mystery\): a custom operator, and LiteRT does not run it eith"),
        (weightless, r"operator 1 \(Mystery\): no runtime here has it; with what reads its resul"),
    ],
)
def test_a_file_that_gains_nothing_by_islands_is_refused(
    make: Callable[[Path], Path], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(Unliftable, match=rf"odd.tflite: .*{reason}"):
        lift(make(tmp_path / "odd.tflite"))


def test_an_output_whose_size_is_not_known_is_refused(tmp_path: Path) -> None:
    net = Net()
    x, found, where = net.tensor("x", (1, 4)), net.tensor("y", (4,)), net.tensor("i", (4,), "int32")
    net.graph.tensors[found].shapeSignature = np.array([1, -1], np.int32)
    net.operator("UNIQUE", [x], [found, where])
    path = net.save(tmp_path / "open.tflite", [x], [found])
    with pytest.raises(Unliftable, match=r"operator 0 \(UNIQUE\).*its sizes \[1, -1\] are set at"):
        lift(path)


def test_an_island_with_other_sizes_than_the_file_says_is_named(two_parts: Lifted) -> None:
    island = island_of(two_parts)
    shapes = island.input_shapes, [(1, 4, 4, 2)]
    wrong = Island(island.content, *shapes, ["float32"], source="odd.tflite, operator 2 (IF)")
    message = r"odd.*\(IF\): expected an output \[1, 4, 4, 2\].*Received: \[1, 4, 4, 16\]"
    for run in (wrong, tf.function(wrong)):
        with pytest.raises(IslandError, match=message), island_errors():
            run(values(1, 4, 4, 16))


def test_an_island_that_never_ends_is_named_and_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_server(), "_limit_s", 0.5)
    file_server().load(islands.two_parts(tmp_path / "two.tflite").read_bytes())
    child = file_server()._child
    assert child is not None
    lifted = lift(islands.looping(tmp_path / "endless.tflite", op="MINIMUM", below=1e30))
    message = r"^endless\.tflite, operator 1 \(WHILE\): .* did not end within its time limit"
    with pytest.raises(IslandError, match=message):
        lifted.model(values(1, 2, 2, 4))
    assert child.poll() is not None


def test_an_interpreter_that_dies_within_a_graph_ends_in_an_error_of_its_own(
    two_parts: Lifted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dying = tmp_path / "dying.py"
    dying.write_text("raise RuntimeError('out of luck')\n")
    in_a_graph = tf.function(island_of(two_parts))
    monkeypatch.setattr(file_server(), "_script", dying)
    monkeypatch.setattr(file_server(), "_child", None)
    message = (
        r"^two\.tflite, operator 2 \(REVERSE_SEQUENCE\): expected operators that .* "
        "RuntimeError: out of luck"
    )
    with pytest.raises(IslandError, match=message), island_errors():
        in_a_graph(values(1, 4, 4, 16))
