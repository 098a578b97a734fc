"""Weights of a pruned model, written back into the file that it was lifted from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.walk import lift
from edgeprune.conversion.lift.write_back.write import write_back
from edgeprune.core.errors import EdgepruneError, TfliteError
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.interface import predict
from edgeprune.keras_model.layers import map_layers
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.channels.plan_removal import remove_planned
from edgeprune.targets.child import WorkerError
from edgeprune.targets.host import HOST
from edgeprune.tflite.format.file import Graph, read
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_sparsely import encode_file
from tests.support.lift_networks import Kind, LiftNet, residual
from tests.support.runtimes import RUNTIMES
from tests.support.tflite_builder import dense_net, prune

X = np.random.default_rng(1).uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)


def with_weights(lifted: Lifted, **scaled: float) -> Any:
    """A copy of a lifted model in which all weights of some layers are multiplied."""
    model = copy_model(lifted.model)
    for name, factor in scaled.items():
        layer = model.get_layer(name)
        layer.set_weights([factor * value for value in layer.get_weights()])
    return model


def constants(graph: Graph) -> dict[str, bytes]:
    return {tensor.name: tensor.data.tobytes() for tensor in graph.tensors if tensor.constant}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float32", "float16", "dynamic-range"])
def test_a_file_with_new_weights_computes_what_the_pruned_model_does(
    kind: Kind, tmp_path: Path
) -> None:
    lifted = lift(residual(tmp_path / "m.tflite", kind))
    pruned = with_weights(lifted, stem=0.5, deep=2, wide=-1, narrow=0.3, scores=1.5)
    written = write_back(lifted, pruned, tmp_path / "out.tflite").path
    wanted = predict(pruned, [X])[0]
    tolerance = {"float32": 1e-4, "float16": 2e-3, "dynamic-range": 5e-2}[kind]
    for runtime in RUNTIMES:
        found = HOST.run(read(written), [X], runtime).outputs[0].reshape(wanted.shape)
        assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def test_what_no_weight_touches_stays_as_it_was(tmp_path: Path) -> None:
    lifted = lift(residual(tmp_path / "m.tflite"))
    written = read(write_back(lifted, with_weights(lifted, wide=2), tmp_path / "out.tflite").path)
    before, after = constants(lifted.graph), constants(written)
    assert {name for name in before if before[name] != after[name]} == {"wide/w", "wide/b"}
    assert written.metadata == lifted.graph.metadata
    assert written.signatures == lifted.graph.signatures
    assert written.description == lifted.graph.description
    assert [o.op for o in written.operators] == [o.op for o in lifted.graph.operators]


def test_a_model_as_it_was_gives_the_same_bytes(tmp_path: Path) -> None:
    path = residual(tmp_path / "m.tflite")
    lifted = lift(path)
    written = write_back(lifted, copy_model(lifted.model), tmp_path / "out.tflite")
    assert written.path.read_bytes() == path.read_bytes()


def test_layers_that_share_a_constant_go_on_sharing_it_where_their_values_are_equal(
    tmp_path: Path,
) -> None:
    lifted = lift(residual(tmp_path / "m.tflite"))
    pruned = with_weights(lifted, stem=0.5, fc1=0.5)
    written = read(write_back(lifted, pruned, tmp_path / "out.tflite").path)
    assert len(written.tensors) == len(lifted.graph.tensors)


def test_layers_that_share_a_constant_get_one_each_where_their_values_differ(
    tmp_path: Path,
) -> None:
    lifted = lift(residual(tmp_path / "m.tflite"))
    pruned = with_weights(lifted, stem=0.5)
    written = read(write_back(lifted, pruned, tmp_path / "out.tflite").path)
    shared = constants(lifted.graph)["shared_bias"]
    assert constants(written)["shared_bias"] == shared
    assert constants(written)["shared_bias/stem"] != shared


@pytest.mark.parametrize("kind", ["float32", "float16", "dynamic-range"])
def test_old_values_do_not_stay_behind_where_no_layer_has_them_any_more(
    kind: Kind, tmp_path: Path
) -> None:
    lifted = lift(residual(tmp_path / "m.tflite", kind))
    pruned = with_weights(lifted, stem=0.5, fc1=2)
    written = read(write_back(lifted, pruned, tmp_path / "out.tflite").path)
    old = np.frombuffer(constants(lifted.graph)["shared_bias"], np.float32)
    assert constants(written)["shared_bias"] == (old / 2).tobytes()
    assert constants(written)["shared_bias/fc1"] == (old * 2).tobytes()
    main = written.subgraphs[0]
    assert all(main.readers.get(each.index) for each in written.tensors if each.constant)


def tied(path: Path) -> Path:
    """Two matrices with one kernel and biases of their own: `[1, 8]` to `[1, 8]`."""
    net = LiftNet("float32")
    x, kernel = net.tensor("x", (1, 8)), net.weight("kernel", 8, 8)
    y = x
    for name in ("first", "second"):
        options = schema.FullyConnectedOptionsT()
        given = [y, kernel, net.bias(f"{name}/b", 8)]
        y = net.made("FULLY_CONNECTED", given, name, 1, 8, options=options)
    return net.save(path, [x], [y])


def test_a_kernel_that_layers_shared_is_counted_where_it_is_stored_once_more(
    tmp_path: Path,
) -> None:
    lifted = lift(tied(tmp_path / "m.tflite"))
    for factors, untied in (({"first": 2.0}, 1), ({"first": 2.0, "second": 2.0}, 0)):
        made = write_back(lifted, with_weights(lifted, **factors), tmp_path / "out.tflite")
        # Biases are multiplied too, and each has its own.
        kernels = [t for t in read(made.path).tensors if t.constant and len(t.shape) == 2]
        assert (made.untied, len(kernels)) == (untied, 1 + untied)


def test_dynamic_range_weights_get_scales_of_the_new_values(tmp_path: Path) -> None:
    lifted = lift(residual(tmp_path / "m.tflite", "dynamic-range"))
    written = read(write_back(lifted, with_weights(lifted, wide=3), tmp_path / "out.tflite").path)
    before, after = (
        {tensor.name: tensor for tensor in graph.tensors}["wide/w"].scales
        for graph in (lifted.graph, written)
    )
    assert after == pytest.approx(3 * before, rel=1e-5)


def test_removed_channels_make_tensors_and_lengths_smaller(tmp_path: Path) -> None:
    lifted = lift(residual(tmp_path / "m.tflite"))
    mapped = map_layers(lifted.model)
    made = plan(lifted.model, "xnnpack-x86", sparsity=0.5, only="narrow|fc1", look_around=False)
    pruned = remove_planned(mapped, made).model
    written = read(write_back(lifted, pruned, tmp_path / "out.tflite").path)
    shapes = {tensor.name: tensor.shape for tensor in written.tensors}
    assert shapes["narrow"] == (1, 8, 8, 8)
    assert shapes["flat"] == (1, 512)
    assert shapes["fc1/w"] == (8, 512)
    assert shapes["scores"] == (1, 5)
    lengths = written.tensors[written.operators[7].inputs[1]].values()
    assert lengths is not None
    assert lengths.tolist() == [-1, 512]


def test_a_tensor_that_no_output_depends_on_keeps_its_shape(tmp_path: Path) -> None:
    net = LiftNet("float32")
    options = schema.Conv2DOptionsT(strideW=1, strideH=1, padding=0)
    x = net.tensor("x", (1, 8, 8, 3))
    layers = [x]
    for name, outputs, inputs in (("first", 16, 3), ("second", 4, 16)):
        weights = [net.weight(f"{name}/w", outputs, 1, 1, inputs), net.bias(f"{name}/b", outputs)]
        shape = (1, 8, 8, outputs)
        read_by = [layers[-1], *weights]
        layers.append(net.made("CONV_2D", read_by, name, *shape, options=options))
    net.made("RELU", [x], "unread", 1, 8, 8, 3)
    lifted = lift(net.save(tmp_path / "m.tflite", [x], [layers[-1]]))
    made = plan(lifted.model, "xnnpack-x86", sparsity=0.5, only="first", look_around=False)
    pruned = remove_planned(map_layers(lifted.model), made).model
    written = read(write_back(lifted, pruned, tmp_path / "out.tflite").path)
    shapes = {tensor.name: tensor.shape for tensor in written.tensors}
    assert (shapes["first"], shapes["unread"]) == ((1, 8, 8, 8), (1, 8, 8, 3))


@pytest.mark.tflite_runtime
def test_a_runtime_that_is_too_old_for_the_given_file_does_not_keep_it_from_being_pruned(
    tmp_path: Path,
) -> None:
    net = LiftNet("dynamic-range")
    x, y = net.tensor("x", (1, 16)), net.tensor("y", (1, 8))
    options = schema.FullyConnectedOptionsT()
    net.operator("FULLY_CONNECTED", [x, net.weight("w", 8, 16), net.bias("b", 8)], [y], 12, options)
    lifted = lift(net.save(tmp_path / "m.tflite", [x], [y]))
    with pytest.raises(WorkerError, match="FULLY_CONNECTED"):
        HOST.run(lifted.graph, [X.reshape(-1)[:16].reshape(1, 16)], "tflite-runtime")
    written = write_back(lifted, with_weights(lifted, y=3), tmp_path / "out.tflite")
    assert written.path.exists()


def test_channels_go_where_rows_are_samples_and_lengths_are_set_at_run_time(
    tmp_path: Path,
) -> None:
    net = LiftNet("float32")
    options = schema.FullyConnectedOptionsT()

    def rows(name: str, given: int, length: int, *shape: int) -> int:
        wanted = net.constant(f"{name}/shape", np.array([-1, length], np.int32))
        return net.made("RESHAPE", [given, wanted], name, *shape)

    x = net.tensor("x", (1, 4, 8))
    first = [rows("in", x, 8, 4, 8), net.weight("first/w", 16, 8), net.bias("first/b", 16)]
    made = net.made("FULLY_CONNECTED", first, "first", 4, 16, options=options)
    whole = net.constant("whole/shape", np.array([-1, 4, 16], np.int32))
    whole = net.made("RESHAPE", [made, whole], "whole", 1, 4, 16)
    opened = rows("opened", whole, 16, 1, 1)
    net.graph.tensors[opened].shapeSignature = np.array([-1, -1], np.int32)
    second = [opened, net.weight("last/w", 4, 16), net.bias("last/b", 4)]
    last = net.made("FULLY_CONNECTED", second, "last", 4, 4, options=options)
    shape = net.constant("y/shape", np.array([-1, 4, 4], np.int32))
    y = net.made("RESHAPE", [last, shape], "y", 1, 4, 4)
    lifted = lift(net.save(tmp_path / "m.tflite", [x], [y]))
    plan_made = plan(lifted.model, "xnnpack-x86", sparsity=0.5, only="first", look_around=False)
    pruned = remove_planned(map_layers(lifted.model), plan_made).model
    written = read(write_back(lifted, pruned, tmp_path / "out.tflite").path)
    shapes = {tensor.name: tensor.shape for tensor in written.tensors}
    assert (shapes["first"], shapes["whole"], shapes["last/w"]) == ((4, 8), (1, 4, 8), (4, 8))


def slices(path: Path) -> Path:
    """32 channels, of which four slices from the middle are joined and read; 4 by 4 pixels.

    Zeros are added on both sides of one of them.
    """
    net = LiftNet("float32")
    conv = schema.Conv2DOptionsT(strideW=1, strideH=1, padding=0)
    whole = (1, 4, 4)

    def ints(name: str, *values: Any) -> int:
        return net.constant(name, np.array(values, np.int32))

    x = net.tensor("x", (*whole, 3))
    given = [x, net.weight("first/w", 32, 1, 1, 3), net.bias("first/b", 32)]
    first = net.made("CONV_2D", given, "first", *whole, 32, options=conv)
    size = ints("size", *whole, 8)
    plain = net.made("SLICE", [first, ints("begin", 0, 0, 0, 5), size], "plain", *whole, 8)
    ends = [ints("from", 0, 11), ints("to", 0, 21), ints("by", 1, 1)]
    masks = schema.StridedSliceOptionsT(ellipsisMask=1)
    strided = net.made("STRIDED_SLICE", [first, *ends], "strided", *whole, 10, options=masks)
    ends = [ints("at", 0, 0, 0, 30), ints("behind", 1, 4, 4, 31), ints("ones", 1, 1, 1, 1)]
    masks = schema.StridedSliceOptionsT(shrinkAxisMask=8)
    single = net.made("STRIDED_SLICE", [first, *ends], "single", *whole, options=masks)
    one = net.made("RESHAPE", [single, ints("shape", *whole, 1)], "one", *whole, 1)
    pads = net.made(
        "PAD", [plain, ints("pads", [0, 0], [0, 0], [0, 0], [2, 3])], "pads", *whole, 13
    )
    joined = net.made(
        "CONCATENATION",
        [pads, strided, one],
        "joined",
        *(*whole, 24),
        options=schema.ConcatenationOptionsT(axis=3),
    )
    given = [joined, net.weight("last/w", 4, 1, 1, 24), net.bias("last/b", 4)]
    return net.save(path, [x], [net.made("CONV_2D", given, "last", *whole, 4, options=conv)])


def test_slices_from_the_middle_take_the_channels_that_are_left_of_them(tmp_path: Path) -> None:
    lifted = lift(slices(tmp_path / "m.tflite"))
    made = plan(lifted.model, "xnnpack-x86", sparsity=0.5, only="first", look_around=False)
    pruned = remove_planned(map_layers(lifted.model), made).model
    written = read(write_back(lifted, pruned, tmp_path / "out.tflite").path)
    x = X[:, :4, :4]
    wanted = predict(pruned, [x])[0]
    for runtime in RUNTIMES:
        found = HOST.run(written, [x], runtime).outputs[0].reshape(wanted.shape)
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    shapes = {tensor.name: tensor.shape for tensor in written.tensors}
    assert shapes["first"][3] <= 16
    assert 3 <= shapes["joined"][3] < 24


def test_sparse_weights_come_out_dense(tmp_path: Path) -> None:
    weights = prune(np.random.default_rng(0).normal(size=(16, 32)).astype(np.float32), 0.8, (1, 4))
    dense = dense_net(tmp_path / "dense.tflite", weights)
    path = tmp_path / "sparse.tflite"
    encode_file(dense, EncodingRules(direct_float32_from=0.1), path)
    lifted = lift(path)
    assert any(tensor.sparse for tensor in lifted.graph.tensors)
    written = read(write_back(lifted, with_weights(lifted, y=2), tmp_path / "out.tflite").path)
    assert not any(tensor.sparse for tensor in written.tensors)
    assert written.operators[0].version == 1


def test_a_file_that_computes_something_else_is_not_written(tmp_path: Path) -> None:
    lifted = lift(residual(tmp_path / "m.tflite"))
    weights = {name: part for name, part in lifted.weights.items() if name != "wide"}
    forgetful = replace(lifted, weights=weights)
    output = tmp_path / "out.tflite"
    with pytest.raises(TfliteError, match="outputs of .* that differ by"):
        write_back(forgetful, with_weights(lifted, wide=2), output)
    assert not output.exists()


def test_a_file_that_was_replaced_meanwhile_is_refused(tmp_path: Path) -> None:
    lifted = lift(residual(tmp_path / "m.tflite"))
    dense_net(tmp_path / "m.tflite", np.ones((4, 4), np.float32))
    with pytest.raises(TfliteError, match="expected the file that was read before"):
        write_back(lifted, lifted.model, tmp_path / "out.tflite")


def test_a_model_without_a_layer_of_the_file_is_refused_by_its_name(tmp_path: Path) -> None:
    lifted = lift(residual(tmp_path / "m.tflite"))
    other = copy_model(lifted.model)
    other.get_layer("wide").name = "else"
    with pytest.raises(EdgepruneError, match="without 'wide'"):
        write_back(lifted, other, tmp_path / "out.tflite")


@pytest.mark.tflite_runtime
def test_a_runtime_that_refuses_the_given_file_does_not_stop_new_weights(tmp_path: Path) -> None:
    """tflite-runtime 2.14.0 has no FULLY_CONNECTED 12, which TensorFlow writes since 2.18."""
    weights = prune(np.ones((8, 4), np.float32) * 100, 0.3, (1, 1))
    path = dense_net(tmp_path / "m.tflite", weights, "dynamic-range", per_channel=True)
    lifted = lift(path)
    with pytest.raises(WorkerError, match="version '12'"):
        HOST.run(lifted.graph, [X[:, 0, :4, 0]], "tflite-runtime")
    name = next(iter(lifted.weights))
    written = read(write_back(lifted, with_weights(lifted, **{name: 0.5}), tmp_path / "o").path)
    np.testing.assert_allclose(written.tensors[1].scales, 0.5 * 100 * 0.01 / 127, rtol=1e-6)
