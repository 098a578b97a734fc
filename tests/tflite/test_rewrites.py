"""Rewrites: networks that run sparsely only when rewritten, and compute the same."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.core.runtime import Runtime
from edgeprune.targets.arm64_emulated import ARM64_EMULATED
from edgeprune.targets.inputs import generated_inputs
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.gate import judge
from edgeprune.tflite.rewrites import rewrite
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_sparsely import encode_file
from edgeprune.tflite.text.graph_text import graph_text
from tests.support import runtime_judge
from tests.support.gate_networks import (
    FAMILY,
    LINEAR,
    SAME,
    Network,
    Trunk,
    add_constant,
    hard_sigmoid,
)
from tests.support.runtimes import MODULES
from tests.tflite.test_gate import BY_NAME, LITERT, RUNTIMES

REWRITTEN = {
    "stem_1ch": {"widened-stem"},
    "stem_same": {"mirrored-image", "mirrored-by-rows", "symmetric-padding"},
    "stem_keraspad": {"mirrored-image", "mirrored-by-rows", "symmetric-padding"},
    "all_same": {"mirrored-image", "mirrored-by-rows", "symmetric-padding"},
    "half_all_same": {"mirrored-image", "mirrored-by-rows", "symmetric-padding"},
    "half_dws2_same": {"symmetric-padding"},
    "dws2_same": {"symmetric-padding"},
    "dws2_keraspad": {"symmetric-padding"},
    "dws2_same_pool_end": {"plain-means", "symmetric-padding"},
    "se_hard_scalar": {"constants-first"},
    "scale_scalar": {"constants-first"},
    "scale_4d_second": {"constants-first"},
    "add_scalar": {"constants-first"},
    "channel_scale": {"constants-first"},
    "div_scalar": {"constants-first"},
    "avgpool_mid": {"depthwise-strides"},
    "conv1x1_s2_mid": {"depthwise-strides"},
    "end_conv_behind_kept_mean": {"plain-means"},
    "end_reshaped_conv": {"plain-means"},
    "end_kept_mean": {"plain-means"},
    "end_kept_mean_two_ways": {"plain-means"},
    "end_kept_mean_logistic": {"plain-means"},
    "end_dense_behind_kept_mean": {"plain-means"},
    "end_avgpool": {"plain-means"},
    "end_turned_mean": {"unturned-means"},
    "end_turned_kept_mean": {"unturned-means"},
    "end_wide_bias": {"flat-biases"},
}
"""Every member of the family that rewriting makes sparse, and what it takes."""


CHANGED_TEXT = {
    "stem_1ch": """
+ x/wide <float32[1,32,32,3]> = PAD (x, x/channels <int32[4,2], [0, 0, 0, 0, 0, 0, 0, 2]>)
- t2 <float32[1,34,34,1]> = PAD (x, i1 <int32[4,2], [0, 0, 1, 1, 1, 1, 0, 0]>)
+ t2 <float32[1,34,34,3]> = PAD (x/wide, i1 <int32[4,2], [0, 0, 1, 1, 1, 1, 0, 0]>)
- t5 <float32[1,16,16,16]> = CONV_2D {padding=VALID, stride_w=2, stride_h=2, \
fused_activation_function=RELU} (t2, c3 <float32[16,3,3,1], #>, c4 <float32[16], #>)
+ t5 <float32[1,16,16,16]> = CONV_2D {padding=VALID, stride_w=2, stride_h=2, \
fused_activation_function=RELU} (t2, c3 <float32[16,3,3,3], 66.7 % zeros, #>, c4 <float32[16], #>)
""",
    "dws2_same": """
+ t19/padded2 <float32[1,12,12,64]> = PAD (t19, t19/padding2 <int32[4,2], [0, 0, 2, 2, 2, 2, 0, 0]>)
- t22 <float32[1,4,4,64]> = DEPTHWISE_CONV_2D {padding=SAME, stride_w=2, stride_h=2, \
depth_multiplier=1, fused_activation_function=RELU} (t19, c20 <float32[1,3,3,64], #>, \
c21 <float32[64], #>)
+ t22 <float32[1,4,4,64]> = DEPTHWISE_CONV_2D {padding=VALID, stride_w=2, stride_h=2, \
depth_multiplier=1, fused_activation_function=RELU} (t19/padded2, \
c20 <float32[1,5,5,64], 64.0 % zeros, #>, c21 <float32[64], #>)
""",
    "avgpool_mid": """
- t20 <float32[1,4,4,64]> = AVERAGE_POOL_2D {padding=VALID, stride_w=2, stride_h=2, \
filter_width=2, filter_height=2} (t19)
+ t19/padded <float32[1,10,10,64]> = PAD (t19, t19/padding <int32[4,2], [0, 0, 1, 1, 1, 1, 0, 0]>)
+ t20 <float32[1,4,4,64]> = DEPTHWISE_CONV_2D {padding=VALID, stride_w=2, stride_h=2, \
depth_multiplier=1} (t19/padded, t19/taps <float32[1,3,3,64], 55.6 % zeros, #>, \
t19/bias <float32[64], 100.0 % zeros, #>)
""",
    "scale_scalar": """
- t21 <float32[1,8,8,64]> = MUL (t19, c20 <float32[], [0.5]>)
+ t21 <float32[1,8,8,64]> = MUL (c20/4d <float32[1,1,1,1], [0.5]>, t19)
+ not used: c20 <float32[], [0.5]>
""",
    "end_kept_mean": """
- t27 <float32[1,1,1,64]> = MEAN {keep_dims=true} (t25, i26 <int32[2], [1, 2]>)
+ t27/mean <float32[1,64]> = MEAN (t25, t27/axes <int32[2], [1, 2]>)
+ t27 <float32[1,1,1,64]> = RESHAPE {new_shape=[1, 1, 1, 64]} (t27/mean, \
t27/shape <int32[4], [1, 1, 1, 64]>)
+ not used: i26 <int32[2], [1, 2]>
""",
    "end_turned_mean": """
- t27 <float32[1,64,8,8]> = TRANSPOSE (t25, i26 <int32[4], [0, 3, 1, 2]>)
- t29 <float32[1,64]> = MEAN (t27, i28 <int32[2], [2, 3]>)
+ t29 <float32[1,64]> = MEAN (t25, t29/axes <int32[2], [1, 2]>)
+ not used: i26 <int32[4], [0, 3, 1, 2]>
+ not used: t27 <float32[1,64,8,8]>
+ not used: i28 <int32[2], [2, 3]>
""",
    "end_wide_bias": """
- t30 <float32[1,10]> = FULLY_CONNECTED (t27, c28 <float32[10,64], #>, c31 <float32[1,10], #>)
+ t30 <float32[1,10]> = FULLY_CONNECTED (t27, c28 <float32[10,64], #>, c31/flat <float32[10], #>)
+ not used: c31 <float32[1,10], #>
""",
}
"""The lines of a network's text that rewriting takes out and puts in, digests left out."""


def rewritten(source: Path, output: Path, runtimes: tuple[Runtime, ...] = RUNTIMES) -> set[str]:
    found = rewrite(tflite_draft.load(source), runtimes)
    tflite_draft.write(found.draft, output)
    if found.applied:
        assert {judge(read(output), runtime).state for runtime in runtimes} == {"on"}
    return {applied.name for applied in found.applied}


def interface(graph: Graph) -> list[object]:
    ends = [graph.tensors[index] for index in graph.inputs + graph.outputs]
    shapes = [(tensor.name, tensor.shape, tensor.shape_signature, tensor.dtype) for tensor in ends]
    signatures = [(s.key, dict(s.inputs), dict(s.outputs)) for s in graph.signatures]
    return [graph.inputs, graph.outputs, shapes, signatures, dict(graph.metadata)]


def check_equal(
    pairs: list[tuple[Path, Path]],
    folder: Path,
    modules: Sequence[str] = runtime_judge.RUNTIMES,
) -> None:
    paths = [path for pair in pairs for path in pair]
    for runtime in modules:
        outputs = runtime_judge.outputs(runtime, paths, folder)
        for place, (source, _) in enumerate(pairs):
            before, after = outputs[2 * place : 2 * place + 2]
            for a, b in zip(before, after, strict=True):
                assert a.shape == b.shape, source
                scale = np.abs(a).max()
                np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * scale, err_msg=str(source))


@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_a_network_whose_shapes_contradict_its_operators_is_not_rewritten(
    tmp_path: Path, op: str
) -> None:
    """How SAME pads follows from the input's size, which runtimes compute and a file declares."""
    source = BY_NAME["all_same"].save(tmp_path / "net")
    draft = tflite_draft.load(source)
    assert rewrite(draft, RUNTIMES).applied
    operator = next(operator for operator in draft.graph.operators if operator.op == op)
    made = draft.model.subgraphs[0].tensors[operator.outputs[0]]
    made.shape = made.shape + np.array([0, 1, 1, 0], np.int32)
    found = rewrite(tflite_draft.reread(draft), RUNTIMES)
    assert not found.applied
    assert found.reason == "declares other shapes than its operators compute"


@pytest.mark.parametrize("network", FAMILY, ids=lambda network: network.name)
def test_rewriting_is_for_networks_that_it_makes_whole(tmp_path: Path, network: Network) -> None:
    source, output = network.save(tmp_path / "net"), tmp_path / "out"
    names = rewritten(source, output)
    assert names == REWRITTEN.get(network.name, set())
    assert interface(read(output)) == interface(read(source))
    assert rewritten(output, tmp_path / "again") == set()


@pytest.mark.parametrize("name", CHANGED_TEXT)
def test_a_rewrite_changes_these_lines_of_the_text_and_no_others(tmp_path: Path, name: str) -> None:
    source, output = BY_NAME[name].save(tmp_path / "net"), tmp_path / "out"
    rewritten(source, output)
    before, after = (
        [re.sub(r"#[0-9a-f]{8}", "#", line).strip() for line in graph_text(read(path))]
        for path in (source, output)
    )
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert changed == CHANGED_TEXT[name].strip().splitlines()


def test_a_file_that_stays_as_it_is_says_why(tmp_path: Path) -> None:
    draft = tflite_draft.load(BY_NAME["conv3x3_mid"].save(tmp_path / "net"))
    found = rewrite(draft, RUNTIMES)
    assert found.draft is draft
    assert not found.on
    assert "3x3 convolution" in found.reason


def test_a_draft_is_not_changed_by_rewriting_it(tmp_path: Path) -> None:
    draft = tflite_draft.load(BY_NAME["all_same"].save(tmp_path / "net"))
    before = bytes(tflite_draft.pack(draft.model))
    assert rewrite(draft, RUNTIMES).applied
    assert bytes(tflite_draft.pack(draft.model)) == before


def test_rewritten_networks_compute_the_same(tmp_path: Path) -> None:
    pairs = []
    for name in REWRITTEN:
        source, output = BY_NAME[name].save(tmp_path / name), tmp_path / f"{name}.rewritten"
        rewritten(source, output)
        pairs.append((source, output))
    check_equal(pairs, tmp_path)


def test_a_batch_that_is_set_at_run_time_stays_so(tmp_path: Path) -> None:
    draft = tflite_draft.load(BY_NAME["all_same"].save(tmp_path / "net"))
    for tensor, read_tensor in zip(
        draft.model.subgraphs[0].tensors, draft.graph.tensors, strict=True
    ):
        if not read_tensor.constant:
            tensor.shapeSignature = np.array([-1, *read_tensor.shape[1:]], np.int32)
    tflite_draft.write(draft, tmp_path / "dynamic")
    assert rewritten(tmp_path / "dynamic", tmp_path / "out")
    made = read(tmp_path / "out")
    computed = [tensor for tensor in made.tensors if tensor.index in made.subgraphs[0].makers]
    assert {tensor.shape_signature[0] for tensor in computed} == {-1}
    check_equal([(tmp_path / "dynamic", tmp_path / "out")], tmp_path)


def prepared(*operators: tuple[str, tuple[int, ...]]) -> Network:
    """A network whose image goes through sums and products with constants first."""

    def stem(trunk: Trunk) -> int:
        x = trunk.x
        for op, shape in operators:
            x = add_constant(shape, op)(trunk, x)
        return trunk.conv(x, 16, 3, 2, SAME)

    return Network("prepared", ("off", "off"), stem=stem)


def joined_stem(trunk: Trunk) -> int:
    """A stem on channels that are joined from two of an image's, so that their order counts."""
    return trunk.conv(trunk.concat(trunk.x, trunk.conv(trunk.x, 1)), 16, 3, 2, SAME)


REVERSED_AT_ONCE = {"reversed-at-once", "mirrored-image", "symmetric-padding"}
BY_ROWS = {"mirrored-by-rows", "mirrored-image", "symmetric-padding"}


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (BY_NAME["all_same"], REVERSED_AT_ONCE),
        (BY_NAME["half_all_same"], REVERSED_AT_ONCE),
        (prepared(("MUL", (1,)), ("SUB", (1, 1, 1, 3))), REVERSED_AT_ONCE),
        (prepared(("DIV", (3,)), ("ADD", ())), REVERSED_AT_ONCE),
        (Network("joined", ("off", "off"), stem=joined_stem, channels=2), BY_ROWS),
    ],
    ids=["plain", "half", "per channel", "scalar", "channels joined"],
)
def test_an_image_is_reversed_at_once_where_only_convolutions_know_its_channels(
    tmp_path: Path, network: Network, names: set[str]
) -> None:
    source, output = network.save(tmp_path / "net"), tmp_path / "out"
    assert rewritten(source, output, (LITERT,)) == names
    check_equal([(source, output)], tmp_path, [MODULES["LiteRT"]])


def test_a_file_for_litert_alone_is_turned_back_for_runtimes_that_reverse_one_axis(
    tmp_path: Path,
) -> None:
    source, alone = BY_NAME["all_same"].save(tmp_path / "net"), tmp_path / "alone"
    rewritten(source, alone, (LITERT,))
    assert rewritten(alone, tmp_path / "both") == {"reversed-by-axis"}
    check_equal([(source, tmp_path / "both")], tmp_path)


def test_a_runtime_that_reverses_one_axis_only_is_given_no_more(tmp_path: Path) -> None:
    source, output = BY_NAME["all_same"].save(tmp_path / "net"), tmp_path / "out"
    rewritten(source, output)
    made = read(output)
    axes = [
        made.tensors[operator.inputs[1]].values()
        for operator in made.operators
        if operator.op == "REVERSE_V2"
    ]
    assert [each.tolist() for each in axes if each is not None] == [[1], [1]]


def swish(trunk: Trunk, x: int) -> int:
    return trunk.binary("MUL", x, trunk.unary("LOGISTIC", x))


def swish_twice(trunk: Trunk, x: int) -> int:
    """Swish behind a depthwise and behind a 1x1 convolution, as EfficientNet has it."""
    return swish(trunk, trunk.conv(swish(trunk, trunk.dw(x, act=LINEAR)), 64, act=LINEAR))


def swish_and_more(trunk: Trunk, x: int) -> int:
    """A swish whose input is read elsewhere too, so that it cannot be halved."""
    x = trunk.conv(x, 64, act=LINEAR)
    return trunk.binary("ADD", x, swish(trunk, x))


def gated_by_another(trunk: Trunk, x: int) -> int:
    """A product with the sigmoid of something else."""
    gate = trunk.unary("LOGISTIC", trunk.conv(x, 64, act=LINEAR))
    return trunk.binary("MUL", trunk.conv(x, 64, act=LINEAR), gate)


def excited_by_swish(trunk: Trunk, x: int) -> int:
    """Squeeze and excite with a swish in it, on one pixel."""
    small = swish(trunk, trunk.conv(trunk.mean(x, keep=True), 4, act=LINEAR, sparse=False))
    gate = trunk.unary("LOGISTIC", trunk.conv(small, 64, act=LINEAR, sparse=False))
    return trunk.binary("MUL", x, gate)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_swish_is_computed_by_tanh_where_all_runtimes_have_it(tmp_path: Path, half: bool) -> None:
    network = Network("swish", ("on", "on"), middle=swish_twice, half=half)
    source, output = network.save(tmp_path / "net"), tmp_path / "out"
    assert rewritten(source, output, (LITERT,)) == {"halved-swish"}
    ops = [operator.op for operator in read(output).operators]
    assert (ops.count("TANH"), ops.count("LOGISTIC")) == (2, 0)
    check_equal([(source, output)], tmp_path)
    assert rewritten(output, tmp_path / "again", (LITERT,)) == set()
    assert rewritten(source, tmp_path / "both", RUNTIMES) == set()


def swish_on_one_bias(trunk: Trunk, x: int) -> int:
    """Two convolutions with one bias, as converters join equal ones; each is halved for itself."""
    x = swish(trunk, trunk.conv(x, 64, act=LINEAR))
    shared = trunk.net.graph.operators[-3].inputs[2]
    x = trunk.conv(x, 64, act=LINEAR)
    trunk.net.graph.operators[-1].inputs[2] = shared
    return swish(trunk, x)


def test_a_bias_that_others_read_stays_as_it_is_for_them(tmp_path: Path) -> None:
    network = Network("swish", ("on", "on"), middle=swish_on_one_bias)
    source, output = network.save(tmp_path / "net"), tmp_path / "out"
    assert rewritten(source, output, (LITERT,)) == {"halved-swish"}
    assert [operator.op for operator in read(output).operators].count("TANH") == 2
    check_equal([(source, output)], tmp_path)


@pytest.mark.parametrize("middle", [swish_and_more, gated_by_another, excited_by_swish])
def test_a_sigmoid_that_is_no_swish_on_a_map_alone_stays(
    tmp_path: Path, middle: Callable[[Trunk, int], int]
) -> None:
    network = Network("other", ("on", "on"), middle=middle)
    found = rewrite(tflite_draft.load(network.save(tmp_path / "net")), (LITERT,))
    assert found.on
    assert not found.applied


def strided_network(
    path: Path, height: int, width: int, channels: int, kernels: list[int], excite: bool
) -> Path:
    """A stem and depthwise convolutions that stride with SAME padding, on a map of any shape."""
    trunk = Trunk(8, channels)
    trunk.shapes[trunk.x] = (1, height, width, channels)
    trunk.net.graph.tensors[trunk.x].shape = np.array([1, height, width, channels], np.int32)
    x = trunk.conv(trunk.x, 8, 3, 2, SAME)
    for kernel in kernels:
        x = trunk.conv(trunk.dw(x, kernel, 2, SAME), 16)
        if excite:
            x = trunk.excite(x, hard_sigmoid(()))
    x = trunk.conv(x, 64)
    return trunk.save(path, trunk.fc(trunk.mean(x), 5))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(7, 40),
    width=st.integers(7, 40),
    channels=st.sampled_from([1, 2, 3]),
    kernels=st.lists(st.sampled_from([3, 5]), min_size=1, max_size=3),
    excite=st.booleans(),
    runtimes=st.sampled_from([RUNTIMES, (LITERT,)]),
)
def test_strides_of_any_shape_are_rewritten_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    channels: int,
    kernels: list[int],
    excite: bool,
    runtimes: tuple[Runtime, ...],
) -> None:
    folder = tmp_path_factory.mktemp("strided")
    source = strided_network(folder / "net", height, width, channels, kernels, excite)
    output = folder / "out"
    rewritten(source, output, runtimes)
    check_equal(
        [(source, output)],
        folder,
        [MODULES[each.name] for each in runtimes if each.name in MODULES],
    )


@pytest.mark.slow
@pytest.mark.usefixtures("emulator")
def test_a_file_for_litert_alone_is_faster_on_arm64_and_computes_the_same(tmp_path: Path) -> None:
    """It reverses the image at once, and computes swish by TANH."""
    network = replace(BY_NAME["all_same"], middle=swish_twice, size=64)
    source = network.save(tmp_path / "net")
    replies = []
    for number, runtimes in enumerate((RUNTIMES, (LITERT,))):
        rules = EncodingRules(runtimes=runtimes, sparse_networks=True)
        encode_file(source, rules, tmp_path / str(number))
        graph = read(tmp_path / str(number))
        replies.append(ARM64_EMULATED.count(graph, generated_inputs(graph, 1), LITERT))
    counts = [reply.facts["instructions"] for reply in replies]
    assert counts[1] < counts[0]
    for both, alone in zip(*(reply.outputs for reply in replies), strict=True):
        np.testing.assert_allclose(alone, both, rtol=0, atol=1e-5 * np.abs(both).max())
