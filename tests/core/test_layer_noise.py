"""What a manifest says of the layers of an int8 file, and what people see of it."""

from __future__ import annotations

from typing import Any

import pytest

from edgeprune.core.layer_noise import LayerNoise, noise_in, noise_json, noise_text

ROWS = (LayerNoise("stem", 31.5), LayerNoise("gone", None), LayerNoise("head", 12.25))


def test_rows_read_back_as_a_manifest_has_them() -> None:
    assert noise_in({"int8": noise_json(ROWS)}) == ROWS
    assert noise_json(()) is None


@pytest.mark.parametrize(
    "manifest",
    [
        None,
        {},
        {"int8": None},
        {"int8": {"layers": 3}},
        {"int8": {"layers": [None, {"snr_db": 1.0}, {"layer": 5}]}},
    ],
)
def test_a_manifest_of_others_has_no_rows(manifest: dict[str, Any] | None) -> None:
    assert noise_in(manifest) == ()


@pytest.mark.parametrize("ratio", ["12", float("nan"), None])
def test_a_ratio_that_is_no_number_is_not_known(ratio: object) -> None:
    rows = noise_in({"int8": {"layers": [{"layer": "a", "snr_db": ratio}]}})
    assert rows == (LayerNoise("a", None),)


def test_the_layer_that_loses_most_is_printed_first_with_how_to_skip_one() -> None:
    text = noise_text(ROWS)
    assert text.startswith(
        "Least signal to noise in int8, of 3 layers: head 12.2 dB, stem 31.5 dB."
    )
    assert "--skip REGEX" in text
    assert noise_text((LayerNoise("gone", None),)) == ""
