"""Where the profiles that come with edgeprune are, and what they are called.

Light: completion in a shell reads names alone, and does not wait for the schema.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeprune.core.errors import ProfileError

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


def route_names(devices: Sequence[str]) -> tuple[str, ...]:
    """The names of the routes of devices, each once, in their order.

    Args:
      devices: names of profiles that come with edgeprune, or paths of `.toml` files; those of every
        profile that comes with it where there are none, or others, such as products.
    """
    paths = [Path(d) if d.endswith(".toml") else profile_folder() / f"{d}.toml" for d in devices]
    if not paths or not all(path.is_file() for path in paths):
        paths = [profile_folder() / f"{name}.toml" for name in profile_names()]
    return tuple(dict.fromkeys(name for path in paths for name in _names_in(path)))


def _names_in(path: Path) -> Iterator[str]:
    """Names of the routes in a profile's file; of strategies, their first goals."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    yield from (str(route.get("name", "")) for route in content.get("routes", ()))
    for number, strategy in enumerate(content.get("strategies", ()), 1):
        yield next(iter(strategy.get("goals", ())), f"strategy-{number}")
