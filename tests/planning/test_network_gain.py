"""What a plan knows of the network as a whole before it is pruned."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import pytest

from edgeprune.core.outlook import Outlook
from edgeprune.core.pattern import Block, Channels, NofM, Unstructured
from edgeprune.core.plan import LayerInfo, Plan
from edgeprune.core.runtime import Runtime
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import map_layers
from edgeprune.planning.network_gain import choose_blocks, in_model, judge_network, other_patterns
from edgeprune.planning.plan_model import plan
from edgeprune.planning.rules import make_plan
from edgeprune.profiles import kernel_costs
from edgeprune.profiles.kernel_costs import CostTable, RuntimeCosts
from edgeprune.profiles.operation_costs import FormatCosts
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.arm64_emulated import ARM64_EMULATED
from edgeprune.tflite.format.draft import load
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.graph import Graph
from tests.support.gate_networks import FAMILY, Network, save_sparse
from tests.support.profiles import profile, rule, strategy

RUNTIMES = (Runtime("tflite-runtime", "2.14.0"), Runtime("LiteRT", "2.1.6"))
PROFILE = profile(
    prunable={"kinds": ("Conv2D",), "kernel": "1x1", "min_pixels": 2},
    also={"kinds": ("Dense",)},
    strategies=(strategy(rule(Block(2, 1)), sparsity=0.8),),
    targets=("arm64-emulated",),
)
"""Prunes 1x1 convolutions on maps in blocks of 2, and Dense layers along with them."""
TABLE = kernel_costs.read_costs("cortex-a76")
MULTIPLICATIONS = {
    **dict.fromkeys(kernel_costs.feature_names(), 0.0),
    **{f"sparse-{b}/{t}/blocks": float(b * t) for b in (1, 2, 4) for t in (32, 16, 8, 4, 2, 1)},
    **{f"pointwise/{pixels}": float(pixels) for pixels in kernel_costs.POINTWISE_PIXELS},
}
"""Costs of a machine that does nothing but multiply, in 1x1 convolutions, once per instruction."""
BY_NAME = {network.name: network for network in FAMILY}


def pointwise(path: str, inputs: int, outputs: int, pixels: int) -> LayerInfo:
    return LayerInfo(path, "Conv2D", (1, 1, inputs, outputs), inputs * outputs, pixels)


def layers_of(graph: Graph) -> tuple[LayerInfo, ...]:
    """The 1x1 convolutions of a file, as Keras would have described them."""
    found: list[LayerInfo] = []
    for operator in graph.operators:
        kernel = graph.tensors[operator.inputs[1]].shape if len(operator.inputs) > 1 else ()
        if operator.op == "CONV_2D" and kernel[1:3] == (1, 1):
            pixels = math.prod(graph.tensors[operator.outputs[0]].shape[1:3])
            found.append(pointwise(f"pw_{len(found)}", kernel[3], kernel[0], pixels))
    return tuple(found)


def costs(*runtimes: Mapping[str, float]) -> CostTable:
    """A table of runtimes that cost so much."""
    rows = tuple(
        RuntimeCosts(name=runtime.name, version="1", costs=figures, error=0)
        for runtime, figures in zip(RUNTIMES, runtimes, strict=False)
    )
    return CostTable(date="none", core="cortex-a76", qemu="none", source="none", runtimes=rows)


def outlook(
    network: Network | str, folder: Path, sparsity: float = 0.8, table: CostTable = TABLE
) -> Outlook:
    """What a member of the family could gain from being pruned; its weights have no zeros yet."""
    member = BY_NAME[network] if isinstance(network, str) else network
    draft = load(replace(member, zeros=0.0).save(folder / "m.tflite"))
    layers = layers_of(draft.graph)
    made = make_plan(layers, PROFILE, sparsity=sparsity)
    return judge_network(choose_blocks(made, layers, table), draft, RUNTIMES, layers, table)


def test_a_network_that_fits_gains_and_the_table_says_how_much(tmp_path: Path) -> None:
    """Of all multiplications in its three 1x1 convolutions one in five is left."""
    table = costs(MULTIPLICATIONS, {name: 3 * each for name, each in MULTIPLICATIONS.items()})
    found = outlook(replace(BY_NAME["base"], size=64, width=64), tmp_path, table=table)
    assert found.gains
    assert found.sentences() == ()
    assert [(entry.runtime, entry.state) for entry in found.runtimes] == [
        ("tflite-runtime", "on"),
        ("LiteRT", "on"),
    ]
    dense = 16 * 64 * 32**2 + 64 * 128 * 16**2 + 128 * 128 * 16**2
    assert [name for name, _, _ in found.instructions] == [each.name for each in RUNTIMES]
    expected = (dense, dense / 5, 3 * dense, 3 * dense / 5)
    found_costs = [cost for _, *both in found.instructions for cost in both]
    assert found_costs == pytest.approx(expected)


def test_activations_are_named_where_they_are_the_cost(tmp_path: Path) -> None:
    """A swish on 16x16 pixels of 128 channels, on a machine where nothing else costs as much."""
    network = replace(BY_NAME["swish"], size=64, width=64)
    sigmoid = FormatCosts(
        numerics="float32",
        tile=(1, 1),
        costs={"LOGISTIC/operators": 0.0, "LOGISTIC/elements": 9.0},
        error=0,
    )
    table = costs(MULTIPLICATIONS, MULTIPLICATIONS)
    known = tuple(each.model_copy(update={"formats": (sigmoid,)}) for each in table.runtimes)
    found = outlook(network, tmp_path, table=table.model_copy(update={"runtimes": known}))
    share = 9.0 * 16 * 16 * 128 / found.instructions[0][2]
    assert found.activations.startswith(
        f"LOGISTIC takes {share:.0%} of the instructions that are left; --activation "
    )
    assert 0.15 < share < 1
    assert outlook(replace(BY_NAME["base"], size=64, width=64), tmp_path).activations == ""


def test_rewrites_that_will_be_applied_are_named(tmp_path: Path) -> None:
    network = replace(BY_NAME["dws2_same"], size=64, width=64)
    found = outlook(network, tmp_path)
    assert found.gains
    assert [(change.name, change.places) for change in found.rewrites] == [("symmetric-padding", 1)]


def test_what_stands_in_the_way_is_named_with_a_remedy(tmp_path: Path) -> None:
    found = outlook("maxpool_mid", tmp_path)
    assert found.gains is False
    assert "MAX_POOL_2D" in found.reason
    assert found.remedy == "Use a strided depthwise convolution."
    assert {entry.state for entry in found.runtimes} == {"dangerous"}
    assert "Zeros gain no speed" in found.sentences()[0]


@pytest.mark.parametrize(("sparsity", "gains"), [(0.5, False), (0.66, False), (0.7, True)])
def test_fewer_zeros_than_two_thirds_gain_nothing(
    sparsity: float, gains: bool, tmp_path: Path
) -> None:
    found = outlook(replace(BY_NAME["base"], size=64, width=64), tmp_path, sparsity)
    assert found.gains is gains
    assert gains or "two thirds" in found.reason


def test_a_network_of_tiny_maps_stays_dense(tmp_path: Path) -> None:
    """Sparse kernels take a map of 2x2 pixels in one tile of 4, of which little is work."""
    found = outlook(replace(BY_NAME["base"], size=8, width=8), tmp_path)
    assert found.gains is False
    assert "maps are too small" in found.reason
    assert all(entry.state == "on" for entry in found.runtimes)


SMALL = pointwise("small", inputs=10, outputs=8, pixels=32)
"""A map of one tile. At 0.8 zeros each output keeps 2 of its 10 blocks."""


def costs_of_a_tile(dense: float, **blocks: tuple[float, float]) -> dict[str, float]:
    """What a dense weight costs on 32 pixels, and what a block and its outputs do: `b2=(7, 3)`."""
    figures = {"pointwise/32": dense}
    for name, (block, outputs) in blocks.items():
        figures |= {f"sparse-{name[1:]}/32/blocks": block, f"sparse-{name[1:]}/32/outputs": outputs}
    return figures


def test_every_layer_gets_the_block_of_the_lowest_cost_relative_to_the_dense_one() -> None:
    """Worked by hand; the first runtime, with its larger figures, would take blocks of 4.

    Dense: 80 weights, 80 * 40 = 3200 and 80 * 4 = 320. Sparse, 2 blocks for each row of blocks:
      blocks of 1: 8 * (2 * 100 + 50) = 2000, 0.625;  8 * (2 * 10 + 5) = 200, 0.625; mean 0.625
      blocks of 2: 4 * (2 * 200 + 60) = 1840, 0.575;  4 * (2 * 15 + 6) = 144, 0.45; mean 0.5125
      blocks of 4: 2 * (2 * 430 + 40) = 1800, 0.5625; 2 * (2 * 40 + 8) = 176, 0.55; mean 0.55625
    """
    table = costs(
        costs_of_a_tile(40, b1=(100, 50), b2=(200, 60), b4=(430, 40)),
        costs_of_a_tile(4, b1=(10, 5), b2=(15, 6), b4=(40, 8)),
    )
    (row,) = choose_blocks(make_plan([SMALL], PROFILE), [SMALL], table).layers
    assert (row.pattern, row.sparsity) == (Block(2, 1), 0.8)
    assert row.reason.endswith(
        "; on 32 pixels, of a dense one's cost, blocks of 1: 0.62, 2: 0.51, 4: 0.56"
    )


def test_of_blocks_that_cost_the_same_the_smallest_is_taken() -> None:
    """8 * (2 * 8 + 4) = 4 * (2 * 16 + 8) = 160 of 320; 2 * (2 * 36 + 7.98) = 159.96 is as good."""
    table = costs(costs_of_a_tile(4, b1=(8, 4), b2=(16, 8), b4=(36, 7.98)))
    (row,) = choose_blocks(make_plan([SMALL], PROFILE), [SMALL], table).layers
    assert row.pattern == Unstructured()


def test_a_map_decides_the_block_by_the_table_that_was_measured() -> None:
    layers = tuple(pointwise(f"at_{pixels}", 256, 256, pixels) for pixels in (16, 196, 3136))
    made = choose_blocks(make_plan(layers, PROFILE), layers, TABLE)
    assert [layer.pattern for layer in made.layers] == [Block(4, 1), Block(2, 1), Block(2, 1)]


def test_layers_that_stay_dense_keep_their_reason() -> None:
    layers = (LayerInfo("stem", "Conv2D", (3, 3, 3, 8), 216, 64), pointwise("pw", 64, 64, 64))
    made = make_plan(layers, PROFILE)
    chosen = choose_blocks(made, layers, TABLE)
    assert chosen.layers[0] == made.layers[0]
    assert "not 1x1" in chosen.layers[0].reason
    assert (chosen.layers[1].pattern, chosen.layers[1].sparsity) == (Block(2, 1), 0.8)


def test_patterns_of_other_devices_come_from_their_profiles() -> None:
    layers = (LayerInfo("conv", "Conv2D", (3, 3, 64, 64), 36864, 64),)
    found = other_patterns(layers, PROFILE)
    patterns = {entry.device: entry.pattern for entry in found}
    assert patterns["edge-tpu"] == Channels(16)
    assert patterns["ethos-u85"] == NofM(2, 4)
    assert "xnnpack-arm64" not in patterns, "it wants a network that fits as a whole"
    # Those with the same instrument come first, and of them the one with one number format.
    others = ("cortex-m-tflm", "edge-tpu", "ethos-u55", "ethos-u85", "xnnpack-x86")
    assert tuple(patterns)[-5:] == others
    assert next(iter(patterns)) == "arm-neon-int8"
    assert "android-phone" in patterns


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("net_1/conv1_relu_1/Relu;net_1/conv1_conv_1/convolution", "conv1_conv"),
        ("net_1/conv1_conv/convolution", "conv1_conv"),
        ("made/by/others", "made/by/others"),
    ],
)
def test_a_tensor_is_told_by_its_layer(tensor: str, layer: str) -> None:
    assert (
        in_model(tensor, [pointwise("conv1", 8, 8, 4), pointwise("conv1_conv", 8, 8, 4)]) == layer
    )


def residual_network() -> Any:
    """As a ResNet begins: a 7x7 stem, a maximum, and bottlenecks of 1x1 and 3x3 convolutions."""
    layers = keras.layers
    inputs = keras.Input((32, 32, 3), name="image")
    x = layers.Conv2D(32, 7, 2, padding="same", activation="relu", name="conv1")(inputs)
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    y = layers.Conv2D(16, 1, activation="relu", name="reduce")(x)
    y = layers.Conv2D(16, 3, padding="same", activation="relu", name="conv2")(y)
    y = layers.Conv2D(32, 1, name="restore")(y)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="add")([x, y]))
    return keras.Model(inputs, layers.Dense(10, name="classes")(x), name="residual")


def excited_network() -> Any:
    """A separable network with squeeze and excite, padded as Keras does."""
    layers = keras.layers
    inputs = keras.Input((96, 96, 3), name="image")
    x = layers.Conv2D(32, 3, 2, padding="same", activation="relu", name="stem")(inputs)
    for index, stride in enumerate((1, 2)):
        x = layers.DepthwiseConv2D(3, stride, padding="same", activation="relu")(x)
        x = layers.Conv2D(96, 1, activation="relu", name=f"pw_{index}")(x)
    s = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze_mean")(x)
    s = layers.Conv2D(32, 1, activation="relu", name="squeeze")(s)
    s = layers.Conv2D(96, 1, activation="sigmoid", name="excite")(s)
    x = layers.Multiply(name="scale")([x, s])
    x = layers.Conv2D(96, 1, activation="relu", name="pw_last")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(10, name="classes")(x), name="excited")


def test_where_no_runtime_skips_zeros_on_the_core_layers_stay_dense() -> None:
    """Nothing is converted for that."""
    full = load_profile("xnnpack-arm64")
    runtimes = tuple(each for each in full.runtimes if each.name == "tflite-runtime")
    device = full.model_copy(update={"core": "cortex-a72", "runtimes": runtimes})
    made = plan(excited_network(), device)
    assert made.pruned == ()
    assert made.network is not None
    assert made.network.reason.startswith("tflite-runtime 2.14.0 skips no zeros on cortex-a72")
    assert any("Use LiteRT there" in warning for warning in made.warnings())
    assert plan(excited_network(), device, sparsity=0.8).pruned, "a person insists"


@pytest.mark.slow
def test_a_residual_network_learns_before_training_that_nothing_pays() -> None:
    made = plan(residual_network(), "xnnpack-arm64")
    assert made.pruned == ()
    rows = {row.path: row for row in made.layers}
    assert rows["reduce"].pattern is None
    assert rows["reduce"].prunable
    assert "the network gains nothing" in rows["reduce"].reason
    assert made.network is not None
    assert made.network.breaker == "conv1"
    assert made.network.remedy
    (nothing, why) = made.warnings()
    assert "Nothing to prune" in nothing
    assert "7x7 convolution" in why
    assert "Channels(16) on arm-neon-int8" in why
    assert Plan.model_validate_json(json.dumps(made.to_json())) == made


def test_a_classifier_keeps_the_block_of_the_profile() -> None:
    """Its zeros count for nothing in the sparse kernels."""
    classifier = LayerInfo("classes", "Dense", (256, 10), 2560, 1, feeds_output=True)
    layers = (pointwise("pw", 256, 256, 16), classifier)
    planned = make_plan(layers, PROFILE)
    made = choose_blocks(planned, layers, TABLE)
    assert made.layers[0].pattern == Block(4, 1)
    assert made.layers[1] == planned.layers[1]
    assert made.layers[1].pattern == Block(2, 1)


@pytest.mark.slow
def test_zeros_that_a_person_asks_for_stay_with_a_warning_where_the_network_cannot_gain() -> None:
    made = plan(residual_network(), "xnnpack-arm64", sparsity=0.8)
    rows = {row.path: row for row in made.layers}
    assert rows["reduce"].pattern == Block(2, 1)
    assert made.network is not None
    assert made.network.gains is False
    assert any("gain no speed" in warning for warning in made.warnings())


@pytest.mark.slow
def test_zeros_that_are_too_few_for_a_network_that_could_gain_are_not_planned() -> None:
    made = plan(excited_network(), "xnnpack-arm64", sparsity=0.5)
    assert made.pruned == ()
    assert any("more than two thirds" in warning for warning in made.warnings())


@pytest.mark.slow
def test_for_flash_zeros_stay_in_a_network_that_gains_no_speed() -> None:
    made = plan(residual_network(), "xnnpack-arm64", goal="flash")
    assert {row.path for row in made.pruned} == {"reduce", "restore", "classes"}
    assert any("gain no speed" in warning for warning in made.warnings())


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["keep", "symmetric"])
def test_a_separable_network_gains_with_either_padding(padding: Any) -> None:
    made = plan(excited_network(), "xnnpack-arm64", padding=padding)
    assert made.network is not None
    assert made.network.gains, made.network
    names = {change.name for change in made.network.rewrites}
    assert ("mirrored-image" in names) is (padding == "keep")
    assert {row.path for row in made.pruned} >= {"pw_0", "pw_1", "pw_last", "squeeze", "excite"}
    assert made.warnings() == ()


@pytest.mark.slow
def test_a_model_that_is_not_converted_is_planned_all_the_same() -> None:
    inputs = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(8, 3, 2, name="stem")(inputs)
    x = keras.layers.Conv2D(64, 1, name="pw")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    made = plan(model, "xnnpack-arm64")
    assert [row.path for row in made.pruned] == ["pw"]
    assert made.network is not None
    assert made.network.gains is None
    assert "no fixed size" in made.warnings()[0]
    assert describe_layers(map_layers(model))[2].pixels is None


@pytest.mark.slow
@pytest.mark.usefixtures("emulator")
def test_the_table_expects_what_the_emulator_counts(tmp_path: Path) -> None:
    """The instructions saved, and whether any are: in a wide network and in one of tiny maps."""
    wide = replace(BY_NAME["base"], size=64, width=64)
    tiny = replace(BY_NAME["base"], size=8, width=8)
    expected, files = [], []
    for index, network in enumerate((wide, tiny)):
        # Zeros as the family has them, in blocks of 2.
        dense = network.save(tmp_path / f"{index}-dense.tflite")
        draft = load(dense)
        layers = layers_of(draft.graph)
        made = make_plan(layers, PROFILE, sparsity=network.zeros)
        expected.append(judge_network(made, draft, RUNTIMES, layers, TABLE))
        files += [dense, save_sparse(dense, tmp_path / f"{index}-sparse.tflite")]
    for position, runtime in enumerate(RUNTIMES):
        counts = ARM64_EMULATED.count_each([read(file) for file in files], runtime.name)
        assert counts[0] > counts[1]
        assert expected[0].gains
        _, dense_cost, sparse_cost = expected[0].instructions[position]
        assert dense_cost - sparse_cost == pytest.approx(counts[0] - counts[1], rel=0.1)
        assert counts[2] < counts[3]
        assert expected[1].gains is False
