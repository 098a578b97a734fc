"""Device profiles of a test's own: of an imagined device, or a shipped file with a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from edgeprune.core.pattern import Pattern
from edgeprune.profiles.folder import profile_folder
from edgeprune.profiles.profile import DeviceProfile

TomlTable: TypeAlias = dict[str, Any]
"""A table as a profile's TOML file holds it."""
UNKNOWN: TomlTable = {"value": "unknown", "source": "imagined"}


def changed_profile(path: Path, name: str, *changes: tuple[str, str]) -> Path:
    """Writes a copy of a shipped profile with pieces of its text replaced, each once."""
    text = (profile_folder() / f"{name}.toml").read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="utf-8")
    return path


def profile_on_core(path: Path, core: str) -> Path:
    """Writes the phone's profile for another core."""
    change = ('core = "cortex-a76"', f'core = "{core}"')
    return changed_profile(path, "xnnpack-arm64", change)


def rule(pattern: Pattern, **selection: Any) -> TomlTable:
    """A rule for the layers that are selected; for all layers if nothing is said of them."""
    because = f"layers that take {pattern}"
    return {"pattern": pattern, "because": because, "source": "imagined", **selection}


def strategy(
    *rules: TomlTable, goals: tuple[str, ...] = ("latency",), sparsity: float = 0.5
) -> TomlTable:
    """What is done for one or more goals."""
    return {"goals": goals, "default_sparsity": sparsity, "rules": rules}


def profile(*rules: TomlTable, **facts: Any) -> DeviceProfile:
    """A device that serves one goal by the rules; `facts` are other keys of its profile.

    Every layer with a device matrix is prunable unless `prunable` says otherwise.
    """
    return DeviceProfile.model_validate(
        {
            "schema": 1,
            "name": "imagined",
            "device": "a device of a test",
            "summary": "it skips zeros",
            "numerics": "float32",
            "per_channel_dense": True,
            "targets": ("host",),
            "prunable": {},
            "left_alone": "the device skips no zeros there",
            "runtimes": ({"name": "LiteRT", "version": "2.3.0", "source": "imagined"},),
            "strategies": (strategy(*rules),),
            "encoding": {"runtimes": (), "source": "imagined"},
            "limits": {f"{name}_bytes": UNKNOWN for name in ("flash", "arena", "on_chip")},
            **facts,
        }
    )
