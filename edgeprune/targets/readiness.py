"""Whether an instrument can be used on this machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Readiness:
    """Ready or not, with what was found and what to do about it."""

    ready: bool
    detail: str
    remedy: str = ""
