"""What layers cost in executed instructions, predicted from a table that was measured.

Every layer is a sum of features, each with an amount; a table has the instructions of one of each:

    sparse-B/T/blocks     blocks of B weights that are not zero, for a tile of T pixels
    sparse-B/T/outputs    blocks of B outputs, for a tile of T pixels
    pointwise/P           weights of a dense 1x1 convolution on a map of P pixels
    depthwise-KsS/L/P     channels of a depthwise KxK convolution of stride S, to P pixels
    stem/L/P              outputs of a 3x3 convolution of stride 2 on 3 channels, to P pixels
    mean/L                values that are averaged over a map
    start/nchw            a sparse network at all

XNNPACK's sparse 1x1 convolution walks over a map in tiles of 32 pixels, then 16, 8, 4, 2 and 1 for
the rest, and in each through the blocks of outputs and their stored blocks of weights (f32-spmm in
google/XNNPACK). It runs in the layout L = nchw, everything dense in nhwc. Of the P that were
measured a layer takes its two neighbours by the line through them; beyond the largest, cost grows
with the pixels. What both layouts do alike, such as adding maps, has no feature.

Pure: a table in, numbers out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationError

from edgeprune.core import device_matrix
from edgeprune.core.errors import ProfileError
from edgeprune.core.pattern import Block, Pattern, Unstructured
from edgeprune.core.plan import LayerInfo
from edgeprune.core.runtime import Runtime, RuntimeName, nearest_known
from edgeprune.core.schema import Table, Text, explain_invalid, not_finite
from edgeprune.core.terms import Core, Numerics
from edgeprune.profiles.encoding import runtimes_of
from edgeprune.profiles.folder import profile_folder, read_toml
from edgeprune.profiles.operation_costs import FormatCosts
from edgeprune.profiles.profile import DeviceProfile

Amounts: TypeAlias = dict[str, float]
MapLayout: TypeAlias = Literal["nhwc", "nchw"]

TILES = (32, 16, 8, 4, 2, 1)
SPARSE_START = "start/nchw"
"""Running a sparse network at all; older tables do not have it."""
BLOCKS = (1, 2, 4)
"""Outputs that a sparse kernel takes at once."""
POINTWISE_PIXELS = (1, 2, 4, 8, 16, 32, 49, 64, 196)
MAP_PIXELS = (1, 4, 16, 49, 64, 196, 784, 3136)
_REQUIRED_PIXELS = MAP_PIXELS[:6]
"""Those that every table has; older ones have no others."""
DEPTHWISE = ((3, 1), (3, 2), (5, 1), (5, 2))
"""Kernel and stride of the depthwise convolutions that the sparse mode takes."""


class RuntimeCosts(Table):
    """Instructions per feature in one runtime."""

    name: RuntimeName
    version: Text
    costs: Annotated[Mapping[str, float], Field(default_factory=dict)]
    """Costs of convolutions as above; empty where the runtime skips no zeros on that core."""
    error: Annotated[float, Field(ge=0)] = 0.0
    """Largest relative difference between the probes' counts and what the costs make of them."""
    formats: tuple[FormatCosts, ...] = ()
    """What every operator costs in a network that runs dense, by number format."""

    def in_format(self, numerics: Numerics) -> FormatCosts | None:
        """The costs in a number format; weights in 16 bits are computed as float32."""
        wanted = "float32" if numerics == "float16" else numerics
        return next((each for each in self.formats if each.numerics == wanted), None)

    def total(self, amounts: Amounts) -> float:
        """Instructions of so much of every feature."""
        return sum(self._cost(name) * amount for name, amount in amounts.items())

    def _cost(self, name: str) -> float:
        """The cost of a feature; on a larger map than the table has, by its pixels."""
        if name in self.costs:
            return self.costs[name]
        kind, _, pixels = name.rpartition("/")
        known = max(each for each in MAP_PIXELS if f"{kind}/{each}" in self.costs)
        return self.costs[f"{kind}/{known}"] * int(pixels) / known


class CostTable(Table):
    """What a core costs, with the source of its figures."""

    date: Text
    core: Core
    qemu: Text
    source: Text
    runtimes: Annotated[tuple[RuntimeCosts, ...], Field(min_length=1)]

    @property
    def sparse(self) -> tuple[RuntimeCosts, ...]:
        """Those of the runtimes that skip zeros on this core."""
        return tuple(each for each in self.runtimes if each.costs)

    def of(self, runtime: Runtime) -> RuntimeCosts | None:
        """The costs in a runtime, or in the nearest version of it; None if it was not measured."""
        known = {Runtime(each.name, each.version): each for each in self.runtimes}
        nearest = nearest_known(runtime, known)
        return known[nearest] if nearest is not None else None


_OF_CORE = "core"
_OLDER_NAMES = ("xnnpack-arm64",)
"""What profiles named the table of cortex-a76 before there were others."""


def costs_of(profile: DeviceProfile) -> CostTable | None:
    """The costs of a profile's runtimes, in its order: from a file of its own, or of its core.

    None if there is no table, or if it has none of the runtimes.

    Raises:
      ProfileError: as `read_costs`.
    """
    if profile.costs is None:
        return None
    path = _shipped(profile.core)
    if profile.costs not in (_OF_CORE, *_OLDER_NAMES):
        path = Path(profile.costs)
    elif not path.exists():
        return None
    table = read_costs(path)
    found = filter(None, map(table.of, runtimes_of(profile)))
    runtimes = {(each.name, each.version): each for each in found}
    return table.model_copy(update={"runtimes": tuple(runtimes.values())}) if runtimes else None


def _shipped(core: str) -> Path:
    return profile_folder() / "costs" / f"{core}.toml"


def read_costs(where: Path | Core) -> CostTable:
    """Reads the cost table in a `.toml`, or the one that comes with edgeprune for a core.

    Raises:
      ProfileError: no such table, or it does not follow the schema.
    """
    path = where if isinstance(where, Path) else _shipped(where)
    try:
        table = CostTable.model_validate(read_toml(path))
    except ValidationError as error:
        raise ProfileError(f"{path}: {explain_invalid(error, CostTable)}") from error
    key = not_finite(table.model_dump())
    if key is not None:
        raise ProfileError(f"{path}: key '{key}': expected a finite number.")
    for runtime in table.runtimes:
        missing = sorted(feature_names() - runtime.costs.keys())
        if runtime.costs and missing:
            raise ProfileError(
                f"{path}: {runtime.name}: expected a cost for every feature. Received: none for "
                f"{', '.join(missing)}. Measure it again: edgeprune targets calibrate."
            )
    return table


def to_toml(table: CostTable) -> str:
    """The file that `read_costs` reads back."""
    lines = [
        "# Executed instructions per feature: edgeprune/profiles/kernel_costs.py says of what in a",
        "# sparse network, edgeprune/profiles/operation_costs.py in a dense one.",
        *(f'{key} = "{getattr(table, key)}"' for key in ("date", "core", "qemu", "source")),
    ]
    for runtime in table.runtimes:
        lines += [
            "",
            "[[runtimes]]",
            f'name = "{runtime.name}"',
            f'version = "{runtime.version}"',
            f"error = {runtime.error:g}",
        ]
        if runtime.costs:
            lines += ["", "[runtimes.costs]", *_features(runtime.costs)]
        for each in runtime.formats:
            lines += [
                "",
                "[[runtimes.formats]]",
                f'numerics = "{each.numerics}"',
                f"tile = [{each.tile[0]}, {each.tile[1]}]",
                f"error = {each.error:g}",
                "",
                "[runtimes.formats.costs]",
                *_features(each.costs),
            ]
    return "\n".join(lines) + "\n"


def _features(costs: Mapping[str, float]) -> list[str]:
    return [f'"{name}" = {value:g}' for name, value in sorted(costs.items())]


def feature_names() -> frozenset[str]:
    """Every feature that a table must have."""
    names = {
        f"sparse-{block}/{tile}/{of}"
        for block in BLOCKS
        for tile in TILES
        for of in ("blocks", "outputs")
    }
    names |= {f"pointwise/{pixels}" for pixels in POINTWISE_PIXELS}
    for kind in ("nhwc", "nchw"):
        names |= {f"mean/{kind}"} | {f"stem/{kind}/{pixels}" for pixels in _REQUIRED_PIXELS}
        names |= {f"depthwise-{k}s{s}/{kind}/{p}" for k, s in DEPTHWISE for p in _REQUIRED_PIXELS}
    return frozenset(names)


def sparse_pointwise(
    outputs: int, inputs: int, pixels: int, block: int, sparsity: float
) -> Amounts:
    """A 1x1 convolution on a sparse kernel; outputs beyond whole blocks are taken one by one."""
    whole, rest = divmod(outputs, block)
    stored = inputs * (1 - sparsity)
    parts: list[Amounts] = [
        {
            f"sparse-{size}/{tile}/blocks": count * stored * blocks,
            f"sparse-{size}/{tile}/outputs": count * blocks,
        }
        for tile, count in _tiles(pixels).items()
        for size, blocks in ((block, whole), (1, rest))
        if blocks
    ]
    return add(*parts)


def dense_pointwise(outputs: int, inputs: int, pixels: int) -> Amounts:
    """A 1x1 convolution on a dense kernel."""
    return _spread("pointwise", POINTWISE_PIXELS, pixels, outputs * inputs)


def depthwise(kernel: int, stride: int, channels: int, pixels: int, kind: MapLayout) -> Amounts:
    """A depthwise convolution to a map of `pixels`; of another size as the nearest one known."""
    known = min(DEPTHWISE, key=lambda entry: (entry[1] != stride, abs(entry[0] - kernel)))
    return _spread(f"depthwise-{known[0]}s{known[1]}/{kind}", MAP_PIXELS, pixels, channels)


def stem(outputs: int, pixels: int, kind: MapLayout) -> Amounts:
    """A 3x3 convolution of stride 2 on 3 channels."""
    return _spread(f"stem/{kind}", MAP_PIXELS, pixels, outputs)


def mean(channels: int, pixels: int, kind: MapLayout) -> Amounts:
    """An average over a map."""
    return {f"mean/{kind}": channels * pixels}


def add(*parts: Amounts) -> Amounts:
    """All features of several layers."""
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def mean_of(parts: Sequence[Amounts]) -> Amounts:
    """The features of one of several layers on average: of layers that are not told apart."""
    return {name: amount / len(parts) for name, amount in add(*parts).items()}


def layer_cost(
    table: CostTable, layer: LayerInfo, pattern: Pattern | None, sparsity: float
) -> float:
    """Instructions of a 1x1 convolution in one inference, averaged over the table's runtimes.

    Args:
      table: as `read_costs` gives it.
      layer: a 1x1 convolution on a map of known size.
      pattern: blocks of outputs (`Unstructured` is blocks of 1); None leaves it dense in a network
        that runs dense. Inside a sparse network a dense layer is a sparse one without zeros.
      sparsity: fraction of zeros.
    """
    costs = [runtime.total(layer_amounts(layer, pattern, sparsity)) for runtime in table.sparse]
    return sum(costs) / max(1, len(costs))


def layer_amounts(layer: LayerInfo, pattern: Pattern | None, sparsity: float) -> Amounts:
    """The features of a 1x1 convolution; see `layer_cost`."""
    outputs, inputs = device_matrix.device_shape(layer.kind, layer.shape or ())
    pixels = layer.pixels or 1
    if pattern is None:
        return dense_pointwise(outputs, inputs, pixels)
    return sparse_pointwise(outputs, inputs, pixels, kernel_block(pattern), sparsity)


def kernel_block(pattern: Pattern) -> int:
    """How many outputs the sparse kernel takes at once for weights of a pattern.

    XNNPACK looks at the zeros: blocks of 4, else of 2, that are full where they are not empty.
    Source: `create_convolution2d_nchw` in src/operators/convolution-nchw.c, google/XNNPACK.
    """
    match pattern:
        case Block(out, _):
            return max(block for block in BLOCKS if out % block == 0)
        case _:
            return 1


def block_pattern(block: int) -> Pattern:
    """The pattern whose zeros a kernel for that many outputs skips."""
    return Unstructured() if block == 1 else Block(block, 1)


def _tiles(pixels: int) -> Counter[int]:
    """How many tiles of each size a map is cut into."""
    tiles: Counter[int] = Counter()
    for tile in TILES:
        tiles[tile], pixels = divmod(pixels, tile)
    return +tiles


def _spread(name: str, grid: tuple[int, ...], pixels: int, amount: float) -> Amounts:
    """The two measured sizes around a map, in the parts that make up its own."""
    if pixels >= grid[-1]:
        return {f"{name}/{grid[-1]}": amount * pixels / grid[-1]}
    upper = next(index for index, size in enumerate(grid) if size > pixels)
    low, high = grid[upper - 1], grid[upper]
    part = (pixels - low) / (high - low)
    parts = {f"{name}/{low}": amount * (1 - part), f"{name}/{high}": amount * part}
    return {key: value for key, value in parts.items() if value}
