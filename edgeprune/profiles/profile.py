"""Device profiles: what a device's kernels exploit, as data, each fact with its source.

A profile is one TOML file in `device_profiles/`, or the user's own, given by path. It decides which
layers may be pruned, in which pattern, in which number format the model is exported and which
instruments measure it. Code never asks for a device by name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
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
from edgeprune.profiles.channel_cost import NO_CHANNEL_COST, ChannelCost
from edgeprune.profiles.folder import profile_folder as profile_folder
from edgeprune.profiles.folder import profile_names as profile_names
from edgeprune.profiles.hardware import Hardware
from edgeprune.profiles.matching import Listed, best_profile, read_name

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


class RequiredRuntime(Table):
    """A runtime that the artifact has to load in, by the name that `op_versions.toml` uses."""

    name: RuntimeName
    """The runtime."""
    version: Text
    """Its version."""
    source: Text
    """Where that version comes from."""


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


class Limit(Table):
    """A number the device sets; None, written `"unknown"`, where it is not known."""

    value: Annotated[Count | None, BeforeValidator(_none_if_unknown)]
    """Bytes, or "unknown"."""
    source: Text
    """Where the number comes from, or why it is not known."""


class Limits(Table):
    """What an artifact has to fit into, in bytes."""

    flash_bytes: Limit
    """Room for the model's file."""
    arena_bytes: Limit
    """Room for activations while it runs."""
    on_chip_bytes: Limit
    """The most that parameters can take of an accelerator's own memory."""
    sure_on_chip_bytes: Limit | None = None
    """Up to here parameters are sure to fit beside feature maps; left out where none share it."""


class VelaSettings(Table):
    """What the instrument `vela` has to know of a device."""

    accelerator: Accelerator
    """The NPU and its multiply-accumulates per cycle."""
    system: Text | None = None
    """System configuration of the compiler's Arm/vela.ini; its default for the NPU if left out."""
    memory_mode: Text | None = None
    """Memory mode of Arm/vela.ini; the compiler's default for the NPU if left out."""
    source: Text
    """Where these settings come from."""


class TflmSettings(Table):
    """What the instrument `tflm` has to know of a device."""

    code_bytes: Limit
    """Flash that the interpreter and its kernels take beside the model."""


class Fact(Table):
    """Something measured or documented about the device that explains the rules."""

    text: Text
    """The fact, in a sentence."""
    source: Text
    """What shows it."""


class DeviceProfile(Table):
    """One device, as its TOML file describes it."""

    schema_version: Annotated[Count, Field(alias="schema")]
    """Version of this format."""
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """What `--device` takes: small letters, digits, dots, dashes and underscores."""
    device: Text
    """What the device is, for a person."""
    summary: Text
    """One sentence: what makes a model faster or smaller there."""
    numerics: Numerics
    """The number format that models are exported in."""
    other_numerics: tuple[Numerics, ...] = ()
    """Number formats that `export --numerics` may choose instead."""
    per_channel_dense: bool
    """Whether Dense weights may have one int8 scale per output; some sparse kernels take one."""
    symmetric_padding: bool = False
    """Whether kernels that skip zeros want stride-2 convolutions padded alike on all sides."""
    targets: tuple[TargetName, ...]
    """Instruments that measure this device, the best first."""
    core: Core = DEFAULT_CORE
    """The core that `arm64-emulated` emulates."""
    costs: Text | None = None
    """The table of what layers cost, by its name in `costs/` or as the path of a `.toml`."""
    hardware: tuple[Hardware, ...] = ()
    """Products and chips that this profile stands for; `edgeprune devices WORDS` searches them."""
    prunable: Selection
    """The layers whose weights a sparsity is counted over."""
    also: Selection | None = None
    """Layers that are pruned with the prunable ones without being counted among them."""
    left_alone: Text
    """Why layers outside every rule stay dense."""
    runtimes: tuple[RequiredRuntime, ...]
    """Runtimes that a file has to load in."""
    strategies: tuple[Strategy, ...]
    """What to do for each goal; the first is the default."""
    encoding: Encoding
    """Which runtimes read sparse tensors, and from where a sparse kernel pays."""
    limits: Limits
    """What a file has to fit into."""
    channel_cost: ChannelCost = NO_CHANNEL_COST
    """What removal of channels is weighed by."""
    tflm: TflmSettings | None = None
    """What the instrument `tflm` has to know."""
    vela: VelaSettings | None = None
    """What the instrument `vela` has to know."""
    facts: tuple[Fact, ...] = ()
    """What else was measured or documented, for people."""

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


def load_profile(device: str | Path | DeviceProfile) -> DeviceProfile:
    """Loads a profile by its name, by a product that it lists, or by the path of a `.toml` file.

    Of several profiles that list a product, such as `pixel 8`, the one that suits it best is taken.
    A profile that is loaded already is returned as it is.

    Raises:
      ProfileError: no such profile or product, or several that words may mean, or the file does not
        follow the schema; names the key, what was received and, for an unknown key, the nearest
        valid one.
    """
    if isinstance(device, DeviceProfile):
        return device
    if isinstance(device, Path) or device.endswith(".toml"):
        return _parse(read_toml(Path(device)), Path(device))
    name = named_profile(device)
    if name is None:
        name = best_profile(device, listed_products(shipped_profiles()), profile_names())
    path = profile_folder() / f"{name}.toml"
    return _parse(read_toml(path), path)


def named_profile(words: str) -> str | None:
    """The name of the profile that is called so, as in `edge tpu`; None if none is."""
    asked = read_name(words).parts
    return next((name for name in profile_names() if read_name(name).parts == asked), None)


def shipped_profiles() -> tuple[DeviceProfile, ...]:
    """The profiles that come with edgeprune, by name."""
    return tuple(load_profile(name) for name in profile_names())


def listed_products(profiles: Iterable[DeviceProfile]) -> tuple[Listed, ...]:
    """Every product of the profiles, in their order."""
    return tuple(Listed(p.name, hardware) for p in profiles for hardware in p.hardware)


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
