"""Device profiles: what a device's kernels exploit, as data, each fact with its source.

A profile is one TOML file in `device_profiles/`, or the user's own, given by path. It decides which
layers may be pruned, in which pattern, in which number format the model is exported and which
instruments measure it. Code never asks for a device by name.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from edgeprune.core.errors import ProfileError
from edgeprune.core.pattern import NofM
from edgeprune.core.runtime import RuntimeName
from edgeprune.core.schema import Count, Fraction, Table, Text, WrittenPattern, explain_invalid
from edgeprune.core.spelling import suggestion
from edgeprune.core.terms import (
    DEFAULT_CORE,
    LAYER_KINDS,
    Accelerator,
    Allocation,
    Core,
    Goal,
    Numerics,
    TargetName,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROFILE_SCHEMA = 1


def _known_kind(value: str) -> str:
    if value not in LAYER_KINDS:
        near = suggestion(value, LAYER_KINDS)
        raise ValueError(f"unknown layer kind '{value}'.{near} Known: {', '.join(LAYER_KINDS)}")
    return value


def _none_if_unknown(value: object) -> object:
    return None if value == "unknown" else value


LayerKind = Annotated[str, AfterValidator(_known_kind)]


class Selection(Table):
    """Which layers are meant, by kind and by the shape of their kernel and feature map."""

    kinds: tuple[LayerKind, ...] = LAYER_KINDS
    kernel: Literal["any", "1x1"] = "any"
    min_pixels: Count = 1
    """Fewest output positions (height * width) of one sample."""
    min_outputs: Count = 1
    min_inputs: Count = 1
    """Fewest columns of the device matrix."""
    feeds_map: bool = False
    """Only layers whose outputs, of one pixel, go back into a feature map, as those of
    squeeze-and-excite do."""
    stride_one: bool = False
    ungrouped: bool = False


class PatternRule(Selection):
    """A pattern, and those of the prunable layers on which it pays."""

    pattern: WrittenPattern
    because: Text
    source: Text


class Strategy(Table):
    """What to do for one or more goals; a layer takes the first rule that selects it."""

    goals: tuple[Goal, ...]
    default_sparsity: Fraction
    allocation: Allocation = "uniform"
    rules: tuple[PatternRule, ...]

    @property
    def fixed(self) -> NofM | None:
        """The pattern that sets the sparsity by itself, if there is one."""
        return next((rule.pattern for rule in self.rules if isinstance(rule.pattern, NofM)), None)


class RequiredRuntime(Table):
    """A runtime that the artifact has to load in, by the name that `op_versions.toml` uses."""

    name: RuntimeName
    version: Text
    source: Text


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
    direct_int8_from: Fraction | None = None
    direct_dynamic_range_from: Fraction | None = None
    source: Text


class Limit(Table):
    """A number the device sets; None, written `"unknown"`, where it is not known."""

    value: Annotated[Count | None, BeforeValidator(_none_if_unknown)]
    source: Text


class Limits(Table):
    """What an artifact has to fit into, in bytes."""

    flash_bytes: Limit
    arena_bytes: Limit
    on_chip_bytes: Limit
    sure_on_chip_bytes: Limit | None = None
    """Up to here parameters are sure to fit beside feature maps; left out where none share it."""


class PaddedOutputs(Table):
    """A multiple that output channels are padded to, up to a number of them."""

    up_to: Count | None = None
    """The most output channels that this entry holds for; None, left out, for all the rest."""
    multiple: Count


class MeasuredOutputs(Table):
    """What a layer with a number of output channels was measured to cost, in any one unit."""

    outputs: Count
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _pad(count: int, rows: tuple[PaddedOutputs, ...]) -> int:
    for row in rows:
        if row.up_to is None or count <= row.up_to:
            return -(-count // row.multiple) * row.multiple
    return count


class ChannelCost(Table):
    """What a channel costs on the device, so that none goes where it is padded back."""

    compute_inputs: Count = 1
    """Multiple that input channels are padded to where they are multiplied."""
    compute_outputs: tuple[PaddedOutputs, ...] = ()
    stored_inputs: Count = 1
    """The same where weights are stored."""
    stored_outputs: tuple[PaddedOutputs, ...] = ()
    measured: tuple[MeasuredOutputs, ...] = ()
    """In place of `compute_outputs`: a table measured on the device, rising in outputs."""
    macs_per_byte: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Multiplications that the device does in the time in which it moves one byte."""
    source: Text

    def computed_outputs(self, count: int) -> float:
        """How many output channels are computed, in effect, where there are `count`."""
        if not self.measured:
            return _pad(count, self.compute_outputs)
        table = [(0, 0.0), *((row.outputs, row.cost) for row in self.measured)]
        per_output = table[-1][1] / table[-1][0]
        for (before, low), (after, high) in itertools.pairwise(table):
            if count <= after:
                between = low + (high - low) * (count - before) / (after - before)
                return between / per_output
        return count

    def stored_outputs_of(self, count: int) -> int:
        """How many output channels are stored where there are `count`."""
        return _pad(count, self.stored_outputs)

    @model_validator(mode="after")
    def _check(self) -> ChannelCost:
        outputs = [row.outputs for row in self.measured]
        if outputs != sorted(set(outputs)):
            raise ValueError(f"measured: outputs must rise. Received: {outputs}")
        return self


NO_CHANNEL_COST = ChannelCost(macs_per_byte=0, source="every channel costs what it multiplies")


class VelaSettings(Table):
    """What the instrument `vela` has to know of a device."""

    accelerator: Accelerator
    system: Text | None = None
    """System configuration of the compiler's own Arm/vela.ini; its default for the NPU if None."""
    memory_mode: Text | None = None
    """Memory mode of Arm/vela.ini; the compiler's default for the NPU if None."""
    source: Text


class TflmSettings(Table):
    """What the instrument `tflm` has to know of a device."""

    code_bytes: Limit
    """Flash that the interpreter and its kernels take beside the model."""


class Fact(Table):
    """Something measured or documented about the device that explains the rules."""

    text: Text
    source: Text


class DeviceProfile(Table):
    """One device, as its TOML file describes it."""

    schema_version: Annotated[Count, Field(alias="schema")]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    device: Text
    """What the device is, for a person."""
    summary: Text
    """One sentence: what makes a model faster or smaller there."""
    numerics: Numerics
    other_numerics: tuple[Numerics, ...] = ()
    per_channel_dense: bool
    """Whether Dense weights may have one int8 scale per output; some sparse kernels take one."""
    symmetric_padding: bool = False
    """Whether kernels that skip zeros want stride-2 convolutions padded alike on all sides."""
    targets: tuple[TargetName, ...]
    """Instruments that measure this device, the best first."""
    machines: tuple[Text, ...] = ()
    """The processors, as `platform.machine()` names them, on which a target that measures this
    computer measures the device; empty for all."""
    core: Core = DEFAULT_CORE
    """The core that `arm64-emulated` emulates."""
    costs: Text | None = None
    """The table of what layers cost, by name or as the path of a `.toml`; see `kernel_costs`."""
    prunable: Selection
    """The layers whose weights a sparsity is counted over."""
    also: Selection | None = None
    """Layers that are pruned with the prunable ones without being counted among them."""
    left_alone: Text
    """Why layers outside every rule stay dense."""
    runtimes: tuple[RequiredRuntime, ...]
    strategies: tuple[Strategy, ...]
    encoding: Encoding
    limits: Limits
    channel_cost: ChannelCost = NO_CHANNEL_COST
    """What removal of channels is weighed by."""
    tflm: TflmSettings | None = None
    vela: VelaSettings | None = None
    facts: tuple[Fact, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> DeviceProfile:
        if self.schema_version != PROFILE_SCHEMA:
            raise ValueError(
                f"schema: this version of edgeprune reads schema {PROFILE_SCHEMA}. "
                f"Received: {self.schema_version}"
            )
        for name in ("targets", "runtimes", "strategies"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected at least one")
        goals = [goal for strategy in self.strategies for goal in strategy.goals]
        if len(goals) != len(set(goals)):
            raise ValueError(f"strategies: each goal must be unique. Received: {', '.join(goals)}")
        named = dict.fromkeys(runtime.name for runtime in self.runtimes)
        unknown = [name for name in self.encoding.runtimes if name not in named]
        if unknown:
            raise ValueError(
                f"encoding.runtimes: expected names among the profile's own runtimes, "
                f"{', '.join(named)}. Received: {', '.join(unknown)}"
            )
        return self

    def strategy(self, goal: Goal | None = None) -> Strategy:
        """The strategy for a goal; the first one of the file if none is named.

        Raises:
          ProfileError: the profile has no strategy for that goal.
        """
        if goal is None:
            return self.strategies[0]
        for strategy in self.strategies:
            if goal in strategy.goals:
                return strategy
        goals = ", ".join(goal for strategy in self.strategies for goal in strategy.goals)
        raise ProfileError(
            f"{self.name}: expected a goal that the profile serves, one of {goals}. "
            f"Received: {goal}."
        )


def profile_folder() -> Path:
    """Where the profiles that come with edgeprune are: in the wheel, or beside the package."""
    package = Path(__file__).parents[1]
    inside = package / "device_profiles"
    return inside if inside.is_dir() else package.parent / "device_profiles"


def profile_names() -> tuple[str, ...]:
    """The names of the profiles that come with edgeprune, sorted."""
    return tuple(sorted(path.stem for path in profile_folder().glob("*.toml")))


def load_profile(device: str | Path | DeviceProfile) -> DeviceProfile:
    """Loads a profile by its name, or the user's own by the path of a `.toml` file.

    A profile that is loaded already is returned as it is.

    Raises:
      ProfileError: no such profile, or the file does not follow the schema; names the key, what was
        received and, for an unknown key, the nearest valid one.
    """
    if isinstance(device, DeviceProfile):
        return device
    path = Path(device)
    if isinstance(device, str) and not device.endswith(".toml"):
        path = profile_folder() / f"{device}.toml"
        if device not in profile_names():
            raise ProfileError(
                f"Unknown device '{device}'.{suggestion(device, profile_names())} Known devices: "
                f"{', '.join(profile_names())}. For your own, give the path of a .toml file."
            )
    return _parse(read_toml(path), path)


def read_toml(path: Path) -> dict[str, Any]:
    """Reads the data that a profile, or a table beside it, consists of.

    Raises:
      ProfileError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: cannot read this device profile ({error}).") from error
    except RecursionError as error:
        raise ProfileError(f"{path}: expected TOML. Received: values nested too deeply.") from error
    except ValueError as error:  # not TOML, or a number of more digits than Python reads
        raise ProfileError(f"{path}: expected TOML. Received: {error}.") from error


def _parse(content: dict[str, Any], path: Path) -> DeviceProfile:
    try:
        return DeviceProfile.model_validate(content)
    except ValidationError as error:
        raise ProfileError(f"{path}: {explain_invalid(error, DeviceProfile)}") from error
