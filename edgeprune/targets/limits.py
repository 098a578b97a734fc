"""Checks of what a file takes against what the device has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprune.targets.checks import Check

if TYPE_CHECKING:
    from edgeprune.profiles.facts import Limit

_REMEDY = "prune more, or use a smaller model or input"


def check_limit(name: str, value: int | None, limit: Limit, what: str) -> Check:
    """Whether a number of bytes is within a limit of the profile; it is where there is none.

    Args:
      name: of the check.
      value: bytes; None if the instrument cannot say.
      limit: of the device.
      what: the bytes are, in words.
    """
    if value is None:
        return Check(name, True, None, limit.value, f"not known: {what}", kind="memory")
    if limit.value is None:
        message = f"{value} bytes, {what}; the device's limit is not known"
        return Check(name, True, value, None, message, kind="memory")
    fits = value <= limit.value
    words = f"{value} bytes, {what}; the limit is {limit.value} ({limit.source})"
    message = words if fits else f"{words}: {_REMEDY}"
    return Check(name, fits, value, limit.value, message, kind="memory")
