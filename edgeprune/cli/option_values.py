"""What the values of options are made of, and what is said where they are not."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import click

from edgeprune.core.runtime import read_runtime


class RuntimeChoice(click.Choice[str]):
    """A runtime by its name, or `NAME==VERSION`; as a value, the name and the version or None."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Checks the name, and that a version is one."""
        name, version = read_runtime(str(value))
        if "==" in value and not re.fullmatch(r"\d[\w.]*", version or ""):
            self.fail(f"expected a version behind ==, as in LiteRT==2.3.0. Received: {value!r}.")
        return super().convert(name, param, ctx), version


def read_scale(
    _: click.Context, __: click.Parameter, value: str
) -> tuple[float, float] | Literal["auto"]:
    """Mean and standard deviation, written as `MEAN,STD`, or `auto`."""
    if value == "auto":
        return "auto"
    try:
        mean, std = (float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"expected two numbers MEAN,STD, or auto. Received: {value!r}."
        ) from error
    if not (math.isfinite(mean) and 0 < std < math.inf):
        raise click.BadParameter(f"expected finite numbers and STD > 0. Received: {value!r}.")
    return mean, std


def read_targets(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Names of instruments: the option may be repeated, and each may list several with commas."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def read_losses(
    _: click.Context, __: click.Parameter, values: tuple[str, ...]
) -> str | dict[str, str] | None:
    """The name of a loss for all outputs, or one by the name of each, written as `OUTPUT=NAME`."""
    pairs = [value.rpartition("=")[::2] for value in values]
    found = dict(pairs)
    if len(found) < len(pairs) or ("" in found and len(found) > 1):
        raise click.BadParameter(
            "expected one loss for all outputs (NAME), or one for each (OUTPUT=NAME). Received: "
            f"{', '.join(values)}."
        )
    return found.get("", found or None)


def read_affinity(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Numbers of processors, written as `0,2-3`."""
    if value is None:
        return ()
    found: list[int] = []
    for part in value.split(","):
        ends = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)
        if ends is None or int(ends[2] or ends[1]) < int(ends[1]):
            raise click.BadParameter(f"expected processors as in 0,2-3. Received: {value!r}.")
        found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    return tuple(sorted(set(found)))
