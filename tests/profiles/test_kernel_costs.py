"""The cost model: its arithmetic against a slow walk, and its table against real counts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.errors import ProfileError
from edgeprune.core.pattern import Block, Unstructured
from edgeprune.core.plan import LayerInfo
from edgeprune.profiles import kernel_costs

TABLE = kernel_costs.read_costs("cortex-a76")


def pointwise(inputs: int, outputs: int, pixels: int) -> LayerInfo:
    return LayerInfo("pw", "Conv2D", (1, 1, inputs, outputs), inputs * outputs, pixels)


def walked(outputs: int, pixels: int, block: int, stored: list[list[bool]]) -> dict[str, float]:
    """Goes through a map as the kernel does: tile by tile, output by output, weight by weight."""
    amounts: dict[str, float] = {}
    left = pixels
    for tile in (32, 16, 8, 4, 2, 1):
        while left >= tile:
            left -= tile
            row = 0
            while row < outputs:
                size = block if row + block <= outputs else 1
                for name, amount in (("outputs", 1), ("blocks", sum(stored[row]))):
                    key = f"sparse-{size}/{tile}/{name}"
                    amounts[key] = amounts.get(key, 0) + amount
                row += size
    return amounts


@given(
    st.integers(1, 20),
    st.integers(1, 200),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 8),
    st.integers(1, 8),
)
def test_features_are_those_of_a_walk_over_tiles_and_blocks(
    outputs: int, pixels: int, block: int, kept: int, pruned: int
) -> None:
    inputs = kept + pruned
    rows = [[column < kept for column in range(inputs)]] * outputs
    found = kernel_costs.sparse_pointwise(outputs, inputs, pixels, block, pruned / inputs)
    assert found == pytest.approx(walked(outputs, pixels, block, rows))


@given(st.integers(1, 512), st.integers(1, 512), st.integers(1, 4000))
def test_no_cost_is_negative_and_more_zeros_never_cost_more(
    inputs: int, outputs: int, pixels: int
) -> None:
    layer = pointwise(inputs, outputs, pixels)
    for block in kernel_costs.BLOCKS:
        few, many = (
            kernel_costs.layer_cost(TABLE, layer, kernel_costs.block_pattern(block), sparsity)
            for sparsity in (0.7, 0.9)
        )
        assert 0 < many <= few
    assert kernel_costs.layer_cost(TABLE, layer, None, 0.0) > 0


def test_a_layers_cost_is_the_mean_over_runtimes_of_its_features() -> None:
    """3 outputs of 10 inputs on 33 pixels, a tile of 32 and one of 1; half of the weights stay.

    Blocks of 2: one of two outputs and one single output, 5 stored each. With one instruction for
    each feature of the first runtime and three of the second that is
    2 tiles * (5 + 1) + 2 tiles * (5 + 1) = 24 and 72; dense 3 * 10 = 30 and 90.
    """
    runtimes = tuple(
        kernel_costs.RuntimeCosts(
            name="LiteRT",
            version="1",
            costs=dict.fromkeys(kernel_costs.feature_names(), cost),
            error=0,
        )
        for cost in (1.0, 3.0)
    )
    table = TABLE.model_copy(update={"runtimes": runtimes})
    layer = pointwise(10, 3, 33)
    assert kernel_costs.layer_cost(table, layer, Block(2, 1), 0.5) == 48
    assert kernel_costs.layer_cost(table, layer, None, 0.0) == pytest.approx(60)


@given(st.integers(1, 3000))
def test_between_measured_sizes_a_cost_lies_between_theirs(pixels: int) -> None:
    amounts = kernel_costs.stem(8, pixels, "nchw")
    assert 1 <= len(amounts) <= 2
    sizes = {int(name.rsplit("/", 1)[1]): amount for name, amount in amounts.items()}
    assert sum(size * amount for size, amount in sizes.items()) == pytest.approx(8 * pixels)
    if pixels < kernel_costs.MAP_PIXELS[-1]:
        assert sum(sizes.values()) == pytest.approx(8)
    else:
        assert sizes == {196: pytest.approx(8 * pixels / 196)}


def test_figures_that_were_counted_by_hand() -> None:
    """Instructions per stored block and tile of 32 pixels, counted on 2026-11-25."""
    tflite, litert, *_ = TABLE.runtimes
    counted = {1: (26, 21), 2: (35, 30), 4: (77, 78)}
    for block, both in counted.items():
        costs = [runtime.costs[f"sparse-{block}/32/blocks"] for runtime in (tflite, litert)]
        assert costs == pytest.approx(both, rel=0.1)


def test_the_block_that_costs_least_depends_on_the_map() -> None:
    def best(pixels: int, runtime: kernel_costs.RuntimeCosts) -> int:
        layer = pointwise(256, 256, pixels)
        costs = {
            block: runtime.total(
                kernel_costs.layer_amounts(layer, kernel_costs.block_pattern(block), 0.8)
            )
            for block in kernel_costs.BLOCKS
        }
        return min(costs, key=lambda block: costs[block])

    tflite, litert, *_ = TABLE.runtimes
    assert [best(196, runtime) for runtime in (tflite, litert)] == [2, 2]
    assert [best(49, runtime) for runtime in (tflite, litert)] == [4, 2]
    assert [best(16, runtime) for runtime in (tflite, litert)] == [4, 4]


@pytest.mark.parametrize(
    ("pattern", "block"),
    [(Unstructured(), 1), (Block(1, 1), 1), (Block(2, 1), 2), (Block(4, 1), 4), (Block(8, 1), 4)],
)
def test_a_kernel_takes_the_largest_block_that_is_always_full(
    pattern: Unstructured | Block, block: int
) -> None:
    assert kernel_costs.kernel_block(pattern) == block


def test_a_table_goes_to_toml_and_back(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(kernel_costs.to_toml(TABLE))
    assert kernel_costs.read_costs(path) == TABLE
    path.write_text(kernel_costs.to_toml(TABLE).replace('"mean/nchw"', '"maen/nchw"'))
    with pytest.raises(ProfileError, match=r"mine\.toml: tflite-runtime.*none for mean/nchw"):
        kernel_costs.read_costs(path)
    path.write_text(kernel_costs.to_toml(TABLE).replace("qemu", "qmeu"))
    with pytest.raises(ProfileError, match=r"unknown key 'qmeu'. Did you mean 'qemu'"):
        kernel_costs.read_costs(path)
    costs = re.sub(r'"mean/nchw" = \S+', '"mean/nchw" = nan', kernel_costs.to_toml(TABLE))
    path.write_text(costs)
    with pytest.raises(ProfileError, match="'runtimes.0.costs.mean/nchw': expected a finite num"):
        kernel_costs.read_costs(path)
    with pytest.raises(ProfileError, match="gone"):
        kernel_costs.read_costs(Path("gone.toml"))
