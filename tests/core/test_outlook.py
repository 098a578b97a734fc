"""What a user is told of what a network as a whole can gain."""

from __future__ import annotations

from typing import Any

from edgeprune.core.outlook import Outlook


def told(**facts: Any) -> tuple[str, ...]:
    content = {"reason": "a 7x7 convolution is in the way", **facts}
    return Outlook.model_validate(content).sentences()


def test_a_network_that_gains_needs_no_words() -> None:
    assert told(gains=True, remedy="none is needed") == ()


def test_what_was_not_found_out_is_said_with_the_reason() -> None:
    (sentence,) = told(gains=None)
    assert sentence.endswith("can gain: a 7x7 convolution is in the way.")


def test_a_network_that_gains_nothing_is_told_why_and_what_would_help() -> None:
    assert told(gains=False) == (
        "Zeros gain no speed on this device: a 7x7 convolution is in the way.",
    )
    (sentence,) = told(gains=False, remedy="Use 3x3.")
    assert sentence.endswith("is in the way. Use 3x3.")


def test_patterns_of_other_devices_are_named_once_each() -> None:
    places = [("a", "Channels(16)"), ("b", "NofM(2,4)"), ("c", "Channels(16)")]
    elsewhere = [{"device": device, "pattern": pattern} for device, pattern in places]
    (sentence,) = told(gains=False, elsewhere=elsewhere)
    assert sentence.endswith("other devices: Channels(16) on a, c; NofM(2,4) on b.")
