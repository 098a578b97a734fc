"""Where the profiles that come with edgeprune are, and what they are called.

Light: completion in a shell reads names alone, and does not wait for the schema.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def profile_folder() -> Path:
    """Where the profiles that come with edgeprune are: in the wheel, or beside the package."""
    package = Path(__file__).parents[1]
    inside = package / "device_profiles"
    return inside if inside.is_dir() else package.parent / "device_profiles"


def profile_names() -> tuple[str, ...]:
    """The names of the profiles that come with edgeprune, sorted."""
    return tuple(sorted(path.stem for path in profile_folder().glob("*.toml")))


def product_names() -> Iterator[str]:
    """The names of all products that these profiles list, and their other names; some twice."""
    for name in profile_names():
        text = (profile_folder() / f"{name}.toml").read_text(encoding="utf-8")
        for product in tomllib.loads(text).get("hardware", ()):
            yield from (product["name"], *product.get("aliases", ()))
