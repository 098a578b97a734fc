"""Products that people ask for and that no profile stands for, with the profile that is nearest."""

from __future__ import annotations

from functools import lru_cache

from edgeprune.core.schema import Table, Text
from edgeprune.profiles.folder import profile_folder, read_toml


class Unprofiled(Table):
    """A product, or several of a kind, that no profile stands for."""

    names: tuple[Text, ...]
    """What it is called, as in `Hardware.aliases`."""
    what: Text
    """What it is, with its article."""
    nearest: Text
    """The name of the profile that comes nearest."""
    differs: Text
    """What is different there, or was not measured."""
    source: Text
    """The public document that says what it is, by its title."""


@lru_cache(maxsize=1)
def unprofiled() -> tuple[Unprofiled, ...]:
    """All of them that come with edgeprune."""
    content = read_toml(profile_folder() / "without_profile" / "products.toml")
    return tuple(Unprofiled.model_validate(each) for each in content["products"])
