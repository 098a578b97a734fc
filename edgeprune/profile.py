"""Device profiles: what a device's kernels exploit, as data, each fact with its source.

A profile is one TOML file in `device_profiles/`, or the user's own, given by path. It decides which
layers may be pruned, in which pattern, in which number format the model is exported and which
instruments measure it. Code never asks for a device by name.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from edgeprune.errors import ProfileError
from edgeprune.layout import KINDS
from edgeprune.pattern import NofM
from edgeprune.schema import Fraction, Table, Text, WrittenPattern, explain, suggestion

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCHEMA_VERSION = 1

Numerics = Literal["float32", "float16", "int8"]
"""`float16` means weights of 16 bits that the runtime computes with in 32; int8 is full int8."""
Goal = Literal["latency", "flash", "memory"]
Allocation = Literal["uniform", "lamp", "reconstruction"]
"""How zeros are spread over layers: evenly, by the weights alone, or by the losses that samples
show (evenly where there are none)."""
Core = Literal["cortex-a35", "cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "neoverse-n1"]
"""ARM64 cores that can be emulated. Source: the names that QEMU 7.2 takes and that were tried."""
DEFAULT_CORE: Core = "cortex-a76"
TargetName = Literal["host", "arm64-emulated", "tflm", "vela", "edgetpu-model", "ssh", "adb"]


def _known_kind(value: str) -> str:
    if value not in KINDS:
        near = suggestion(value, KINDS)
        raise ValueError(f"unknown layer kind '{value}'.{near} Known: {', '.join(KINDS)}")
    return value


def _none_if_unknown(value: object) -> object:
    return None if value == "unknown" else value


Count = Annotated[int, Field(ge=1)]
Kind = Annotated[str, AfterValidator(_known_kind)]


class Selection(Table):
    """Which layers are meant, by kind and by the shape of their kernel and feature map."""

    kinds: tuple[Kind, ...] = KINDS
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


class Rule(Selection):
    """A pattern, and those of the prunable layers on which it pays."""

    pattern: WrittenPattern
    because: Text
    source: Text


class Strategy(Table):
    """What to do for one or more goals; a layer takes the first rule that selects it."""

    goals: tuple[Goal, ...]
    default_sparsity: Fraction
    allocation: Allocation = "uniform"
    rules: tuple[Rule, ...]

    @property
    def fixed(self) -> NofM | None:
        """The pattern that sets the sparsity by itself, if there is one."""
        return next((rule.pattern for rule in self.rules if isinstance(rule.pattern, NofM)), None)


class Runtime(Table):
    """A runtime that the artifact has to load in, by the name that `op_versions.toml` uses."""

    name: Literal["tflite-runtime", "LiteRT", "TFLM"]
    version: Text
    source: Text


class Encoding(Table):
    """Which runtimes read a file with sparse tensors, and from where a sparse kernel pays.

    The thresholds are fractions of zero blocks from which FULLY_CONNECTED computes on the sparse
    weights themselves; None where its sparse kernel never pays. Without runtimes nothing is stored
    sparsely.
    """

    runtimes: tuple[Literal["tflite-runtime", "LiteRT", "TFLM"], ...]
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


class Fact(Table):
    """Something measured or documented about the device that explains the rules."""

    text: Text
    source: Text


class DeviceProfile(Table):
    """One device, as its TOML file describes it."""

    schema_version: Annotated[int, Field(alias="schema")]
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
    """Instruments that speak for this device, the best first."""
    core: Core = DEFAULT_CORE
    """The core that `arm64-emulated` emulates."""
    prunable: Selection
    """The layers whose weights a sparsity is counted over."""
    also: Selection | None = None
    """Layers that are pruned with the prunable ones without being counted among them."""
    left_alone: Text
    """Why layers outside every rule stay dense."""
    runtimes: tuple[Runtime, ...]
    strategies: tuple[Strategy, ...]
    encoding: Encoding
    limits: Limits
    facts: tuple[Fact, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> DeviceProfile:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"schema: this version of edgeprune reads schema {SCHEMA_VERSION}. "
                f"Received: {self.schema_version}"
            )
        for name in ("targets", "runtimes", "strategies"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected at least one")
        goals = [goal for strategy in self.strategies for goal in strategy.goals]
        if len(goals) != len(set(goals)):
            raise ValueError(f"strategies: each goal may stand once. Received: {', '.join(goals)}")
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
    package = Path(__file__).parent
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
    return _parse(_read(path), path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: cannot read this device profile ({error}).") from error
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{path}: expected TOML. Received: {error}.") from error


def _parse(content: dict[str, Any], path: Path) -> DeviceProfile:
    try:
        return DeviceProfile.model_validate(content)
    except ValidationError as error:
        raise ProfileError(f"{path}: {explain(error, DeviceProfile)}") from error
