"""The rows of a comparison: which routes of which devices, and what their files are called."""

from __future__ import annotations

import re
from typing import Any

import pytest

from edgeprune.core.errors import EdgepruneError, OutputError, ProfileError
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.report.entry import Entry, entries_of
from tests.profiles.test_routes import DENSE, SPARSE, phone, route
from tests.support.profiles import profile


def phones(**changes: Any) -> DeviceProfile:
    """A device with four routes, of which one wants what its core does not have."""
    fast = route("fast", needs=("dot-product",))
    return phone(route("half"), SPARSE, fast, DENSE, name="phone", core="cortex-a72", **changes)


def names(*arguments: Any) -> list[str]:
    return [entry.name for entry in entries_of(*arguments)]


def test_without_routes_every_device_has_one_row_under_its_name() -> None:
    assert names([phones(), profile()], (), None, None) == ["phone", "imagined"]
    (entry,) = entries_of([phones()], (), "flash", None)
    assert (entry.name, entry.profile.route.name) == ("phone", "sparse")


def test_all_routes_are_those_whose_conditions_are_met() -> None:
    assert names([phones()], ("all",), None, None) == ["phone", "phone-sparse", "phone-dense-int8"]
    served = entries_of([phones()], ("all",), "flash", None)
    assert [entry.profile.route.name for entry in served] == ["sparse", "dense-int8"]
    limited = phones(
        routes=(route("half"), {**SPARSE, "runtimes": ("LiteRT",)}),
    )
    assert names([limited], ("all",), None, "tflite-runtime") == ["phone"]
    assert names([limited], ("all",), None, "LiteRT") == ["phone", "phone-sparse"]


def test_named_routes_are_taken_for_the_devices_that_have_them() -> None:
    other = phone(route("half"), name="other")
    assert names([phones(), other], ("half", "sparse"), None, None) == [
        *("phone", "phone-sparse", "other"),
    ]


@pytest.mark.parametrize(
    ("routes", "goal", "kind", "said"),
    [
        (("halv",), None, ProfileError, "unknown route 'halv'. Did you mean 'half'"),
        (("half", "sprase"), None, ProfileError, "unknown route 'sprase'"),
        (("fast",), None, ProfileError, "'fast' needs dot-product, which the core cortex-a72"),
        (("half",), "flash", ProfileError, "that route 'half' serves, one of latency"),
    ],
)
def test_contradictions_are_refused(
    routes: tuple[str, ...], goal: Any, kind: type[EdgepruneError], said: str
) -> None:
    with pytest.raises(kind, match=re.escape(said)):
        entries_of([phones()], routes, goal, None)


def test_two_rows_never_write_the_same_files() -> None:
    with pytest.raises(OutputError, match="Received: phone, phone"):
        entries_of([phones(), phones()], (), None, None)
    clash = phone(route("a"), name="phone-sparse")
    with pytest.raises(OutputError, match="phone, phone-sparse, phone-sparse"):
        entries_of([phones(), clash], ("half", "sparse", "a"), None, None)
    with pytest.raises(OutputError, match="Received: none"):
        entries_of([], (), None, None)


def test_an_entry_is_the_profile_on_its_route() -> None:
    assert Entry(phones(), "sparse").profile.numerics == "float32"
    assert Entry(phones()).profile.route.name == "half"
