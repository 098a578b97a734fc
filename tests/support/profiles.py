"""Device profiles of a test's own: a rule or two on an imagined device."""

from __future__ import annotations

from typing import Any

from edgeprune.core.pattern import Pattern
from edgeprune.profiles.profile import (
    DeviceProfile,
    Encoding,
    Limit,
    Limits,
    Rule,
    Runtime,
    Selection,
    Strategy,
)

UNKNOWN = Limit(value=None, source="imagined")


def rule(pattern: Pattern, **selection: Any) -> Rule:
    """A rule for the layers that are selected; for all layers if nothing is said of them."""
    because = f"layers that take {pattern}"
    return Rule(pattern=pattern, because=because, source="imagined", **selection)


def strategy(*rules: Rule, goals: tuple[str, ...] = ("latency",), sparsity: float = 0.5) -> Any:
    """A strategy with a default sparsity of one half."""
    return Strategy.model_validate({"goals": goals, "default_sparsity": sparsity, "rules": rules})


def profile(*rules: Rule, **facts: Any) -> DeviceProfile:
    """A device that serves one goal by the rules; `facts` are other keys of its profile.

    Every layer with a device matrix is prunable unless `prunable` says otherwise.
    """
    return DeviceProfile(
        **{
            "schema_version": 1,
            "name": "imagined",
            "device": "a device of a test",
            "summary": "it skips zeros",
            "numerics": "float32",
            "per_channel_dense": True,
            "targets": ("host",),
            "prunable": Selection(),
            "left_alone": "the device skips none there",
            "runtimes": (Runtime(name="LiteRT", version="2.3.0", source="imagined"),),
            "strategies": (strategy(*rules),),
            "encoding": Encoding(runtimes=(), source="imagined"),
            "limits": Limits(flash_bytes=UNKNOWN, arena_bytes=UNKNOWN, on_chip_bytes=UNKNOWN),
            **facts,
        }
    )
