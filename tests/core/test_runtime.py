from __future__ import annotations

import pytest

from edgeprune.core.runtime import Runtime, nearest_known

KNOWN = tuple(Runtime("LiteRT", version) for version in ("2.10.0", "2.1.6", "2.3.0"))


@pytest.mark.parametrize(
    ("version", "nearest"),
    [
        ("2.1.6", "2.1.6"),
        ("2.2.0", "2.1.6"),
        ("2.9.9", "2.3.0"),
        ("2.10.0", "2.10.0"),
        ("3.0.0", "2.10.0"),
        ("1.4.0", "2.1.6"),
        ("unknown", "2.1.6"),
    ],
)
def test_the_nearest_known_version_is_the_newest_that_is_not_newer_else_the_oldest(
    version: str, nearest: str
) -> None:
    assert nearest_known(Runtime("LiteRT", version), KNOWN) == Runtime("LiteRT", nearest)


def test_a_runtime_under_another_name_is_never_near() -> None:
    assert nearest_known(Runtime("TFLM", "2.1.6"), KNOWN) is None


def test_a_runtime_as_text_is_its_name_and_version() -> None:
    assert str(Runtime("tflite-runtime", "2.14.0")) == "tflite-runtime 2.14.0"
