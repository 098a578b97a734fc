"""What a profile says of a device beside its routes: runtimes, limits, settings of instruments."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from edgeprune.core.runtime import RuntimeName
from edgeprune.core.schema import Count, Table, Text
from edgeprune.core.terms import Accelerator


class RequiredRuntime(Table):
    """A runtime that the artifact has to load in, by the name that `op_versions.toml` uses."""

    name: RuntimeName
    """The runtime."""
    version: Text
    """Its version."""
    source: Text
    """Where that version comes from."""


def _none_if_unknown(value: object) -> object:
    return None if value == "unknown" else value


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


class Delegate(Table):
    """What hands a file's operators to an accelerator, for `snippet`."""

    library: Text
    """The shared library that a program loads, as the loader of its system finds it."""
    operator: Text
    """The custom operator that the compiler leaves in a file for the accelerator."""
    compile: Text
    """The command that compiles a file for the accelerator; `{model}` is the file."""
    compiled: Text
    """What the compiler calls its file; `{stem}` is the name of the file without its ending."""
    source: Text
    """The document that says so."""


class TflmSettings(Table):
    """What the instrument `tflm` has to know of a device."""

    code_bytes: Limit
    """Flash that the interpreter and its kernels take beside the model, without DECODE."""


class Packing(Table):
    """How zeros are packed in a file: behind TFLite Micro's operator DECODE."""

    code_bytes: Limit
    """Flash that the operator takes in the firmware; that of your own build if you know it."""
    source: Text
    """What shows that packed weights compute the same."""


class Fact(Table):
    """Something measured or documented about the device that explains the rules."""

    text: Text
    """The fact, in a sentence."""
    source: Text
    """What shows it."""
