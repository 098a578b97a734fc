"""What a profile says of layers and files: the patterns that pay, for which goals, on which route.

A route is one way to a faster or smaller model on a device: a number format, and rules for the
zeros in it; a route without rules leaves the model dense.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from edgeprune.core.pattern import Channels, NofM
from edgeprune.core.runtime import RuntimeName
from edgeprune.core.schema import Count, Fraction, Table, Text, WrittenPattern
from edgeprune.core.spelling import suggestion
from edgeprune.core.terms import LAYER_KINDS, Allocation, CoreFeature, Goal, Numerics
from edgeprune.profiles.channel_cost import ChannelCost
from edgeprune.profiles.facts import Packing


def _known_kind(value: str) -> str:
    if value not in LAYER_KINDS:
        near = suggestion(value, LAYER_KINDS)
        raise ValueError(f"unknown layer kind '{value}'.{near} Known: {', '.join(LAYER_KINDS)}")
    return value


LayerKind = Annotated[str, AfterValidator(_known_kind)]


class Selection(Table):
    """Which layers are meant, by kind and by the shape of their kernel and feature map."""

    kinds: tuple[LayerKind, ...] = LAYER_KINDS
    """Keras class names of the layers; all that have a kernel if left out."""
    kernel: Literal["any", "1x1"] = "any"
    """Positions of the kernel: any number, or one."""
    min_pixels: Count = 1
    """Fewest output positions (height * width) of one sample."""
    min_outputs: Count = 1
    """Fewest rows of the device matrix: outputs of a Dense, output channels of a convolution."""
    min_inputs: Count = 1
    """Fewest columns of the device matrix."""
    feeds_map: bool = False
    """Only layers whose outputs, of one pixel, go back into a feature map, as those of
    squeeze-and-excite do."""
    stride_one: bool = False
    """Only layers with a stride of 1."""
    ungrouped: bool = False
    """Only layers whose inputs are not split into groups."""


class PatternRule(Selection):
    """A pattern, and those of the prunable layers on which it pays."""

    pattern: WrittenPattern
    """The mask shape: Unstructured, Block(out,in), NofM(n,m) or Channels(multiple)."""
    because: Text
    """Why it pays, for the plan's reader."""
    source: Text
    """What shows that: a measurement with its date, or a document."""


class Gain(Table):
    """What a strategy was seen to gain on one network: an example, and no promise for others."""

    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """The dense model's cost over the pruned one's."""
    what: Text
    """What that is a factor of, such as "faster" or "fewer executed instructions"."""
    on: Text
    """The network, its zeros and the runtime."""
    source: Text
    """The instrument and the date."""

    def __str__(self) -> str:
        return f"{self.factor:g}x {self.what} on {self.on}"


class Strategy(Table):
    """What to do for one or more goals; a layer takes the first rule that selects it."""

    goals: tuple[Goal, ...]
    """What this serves; the first strategy of a file is its default."""
    default_sparsity: Fraction
    """Fraction of zeros, or of weights removed, where none is asked for."""
    allocation: Allocation = "uniform"
    """How zeros are spread over layers where there are samples."""
    gain: Gain | None = None
    """What this was seen to gain; left out where it was not measured."""
    rules: tuple[PatternRule, ...]
    """Patterns and the layers that take them; a layer takes the first that selects it."""

    @property
    def fixed(self) -> NofM | None:
        """The pattern that sets the sparsity by itself, if there is one."""
        return next((rule.pattern for rule in self.rules if isinstance(rule.pattern, NofM)), None)


AUTO = "auto"
"""What `--route` takes for the route that is expected to be best; no route's name."""


def _no_reserved_word(value: str) -> str:
    if value == AUTO:
        raise ValueError(f"'{AUTO}' means the route that is expected to be best: choose another")
    return value


RouteName = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$"), AfterValidator(_no_reserved_word)
]


class Encoding(Table):
    """Which runtimes read a file with sparse tensors, and from where a sparse kernel pays.

    The thresholds are fractions of zero blocks from which FULLY_CONNECTED computes on the sparse
    weights themselves; None where its sparse kernel never pays. Without runtimes nothing is stored
    sparsely.
    """

    runtimes: tuple[RuntimeName, ...]
    """Names of some of the profile's own runtimes."""
    sparse_networks: bool = False
    """Whether XNNPACK skips zeros in convolutions when the whole network fits its sparse mode."""
    direct_float32_from: Fraction | None = None
    """Fraction of zero blocks from which a float32 FULLY_CONNECTED computes on sparse weights."""
    direct_int8_from: Fraction | None = None
    """The same for int8."""
    direct_dynamic_range_from: Fraction | None = None
    """The same for int8 weights with float activations."""
    source: Text
    """What shows these thresholds."""


class Route(Strategy):
    """A number format and what is pruned in it, with what differs from the rest of the profile."""

    name: RouteName
    """What `--route` takes: small letters, digits, dots, dashes and underscores."""
    numerics: Numerics
    """The number format that models are exported in."""
    needs: tuple[CoreFeature, ...] = ()
    """What the profile's `core` must have, or the route gains nothing there."""
    runtimes: tuple[RuntimeName, ...] = ()
    """Those of the profile's runtimes in which it pays; all of them if left out."""
    prunable: Selection | None = None
    """In place of the profile's own `prunable`, with `also`."""
    also: Selection | None = None
    """Goes with `prunable`; left out where that is."""
    left_alone: Text | None = None
    """In place of the profile's own."""
    per_channel_dense: bool | None = None
    """In place of the profile's own."""
    symmetric_padding: bool | None = None
    """In place of the profile's own."""
    encoding: Encoding | None = None
    """In place of the profile's own."""
    channel_cost: ChannelCost | None = None
    """In place of the profile's own."""
    packing: Packing | None = None
    """What packs zeros in the file, once it is exported; left out where nothing does."""
    source: Text
    """What shows that it pays, or what it is compared with."""

    @property
    def dense(self) -> bool:
        """Whether nothing is pruned."""
        return not self.rules

    def pays_in(self, runtime: str) -> bool:
        """Whether it pays in a runtime of this name."""
        return not self.runtimes or runtime in self.runtimes


HALF_PRECISION: Numerics = "float16-arithmetic"
HALVES_STAY_DENSE = Encoding(
    runtimes=(),
    source="half precision arithmetic on sparse float weights computes NaN or crashes: XNNPACK's "
    "kernel for the one runs on the buffers of the other (google/XNNPACK of mid-2023, June 2026 "
    "and 75db3c0: its fp16 rewrite leaves filters in float32, and the NCHW convolution picks its "
    "kernel by the filter's type)",
)
"""How files that compute in half precision are stored on every device."""


def sparse_halves(route: Route) -> str:
    """What is wrong with a route that has half precision and zeros in weights; empty if nothing."""
    wrong = dict.fromkeys(
        str(rule.pattern) for rule in route.rules if not isinstance(rule.pattern, Channels)
    )
    if route.numerics != HALF_PRECISION or not wrong:
        return ""
    return (
        f"route '{route.name}': expected Channels(multiple) or no rules with {HALF_PRECISION}, "
        f"since {HALVES_STAY_DENSE.source}. Received: {', '.join(wrong)}"
    )
