"""Which device? The profiles for a product, the best first, what pays there, what to type."""

from __future__ import annotations

import json
import re

import pytest

import edgeprune
from edgeprune.core.errors import ProfileError
from edgeprune.profiles.devices import devices
from edgeprune.profiles.folder import profile_names
from edgeprune.profiles.matching import without_profile
from edgeprune.profiles.profile import listed_products, load_profile, shipped_profiles
from edgeprune.profiles.unprofiled import unprofiled
from tests.support.printing import check_printed


def found(words: str) -> list[str]:
    return [match.profile.name for match in devices(words).matches]


@pytest.mark.parametrize(
    ("words", "profiles"),
    [
        ("pixel 8", ["android-phone-2023", "xnnpack-arm64", "arm-neon-int8"]),
        ("pixel 5", ["android-phone", "xnnpack-arm64", "arm-neon-int8"]),
        ("Raspberry Pi 5", ["raspberry-pi-5", "xnnpack-arm64", "arm-neon-int8"]),
        ("raspberry pi 4", ["raspberry-pi-4", "xnnpack-arm64", "arm-neon-int8"]),
        ("raspberry pi 3", ["xnnpack-arm64", "arm-neon-int8"]),
        ("raspberry-pi-5", ["raspberry-pi-5"]),
        ("android phone", ["android-phone"]),
        ("iphone", ["xnnpack-arm64", "arm-neon-int8"]),
        ("ios", ["xnnpack-arm64", "arm-neon-int8"]),
        ("android", ["android-phone-2023", "android-phone", "xnnpack-arm64", "arm-neon-int8"]),
        ("nrf52840", ["cortex-m-tflm"]),
        ("arduino", ["cortex-m-tflm"]),
        ("microcontroller", ["cortex-m-tflm", "ethos-u55", "ethos-u85"]),
        ("linux laptop", ["xnnpack-x86"]),
        ("coral", ["edge-tpu", "xnnpack-arm64", "cortex-m-tflm", "arm-neon-int8"]),
        ("coral usb accelerator", ["edge-tpu"]),
        ("alif ensemble e7", ["ethos-u55", "cortex-m-tflm"]),
        ("alif ensemble e8", ["ethos-u85", "ethos-u55", "cortex-m-tflm"]),
        ("EDGE TPU", ["edge-tpu"]),
        ("xnnpack-x86", ["xnnpack-x86"]),
    ],
)
def test_every_profile_that_fits_is_there_and_the_best_is_first(
    words: str, profiles: list[str]
) -> None:
    assert found(words) == profiles


def test_without_words_all_profiles_are_there() -> None:
    assert found("") == list(profile_names())
    check_printed(devices(), "Devices: what makes a model faster", "edgeprune devices pixel 8")


def test_words_may_come_in_parts() -> None:
    assert edgeprune.devices(["pixel", "8"]) == edgeprune.devices("pixel 8")


def test_it_says_what_pays_what_is_inside_and_what_to_type() -> None:
    check_printed(
        devices("raspberry pi 4"),
        "What pays on Raspberry Pi 4 Model B",
        "int8-channels",
        "Channels(16)",
        "Block(2,1)",
        "float32",
        "2.33x fewer",
        "none: cortex-a72 has no fp16-arithmetic",
        "nothing is pruned",
        "Broadcom BCM2711",
        "Next: edgeprune plan model.keras --device raspberry-pi-4",
        "Or: edgeprune plan model.keras --device xnnpack-arm64",
        "Or: edgeprune plan model.keras --device arm-neon-int8",
    )
    assert "no fp16" in str(devices("raspberry pi 4"))
    assert "no fp16" not in str(devices("raspberry pi 5"))


def test_many_products_are_counted() -> None:
    assert re.search(r"and \d+ more", str(devices("android")))


def test_the_document_has_the_products_that_were_asked_for_and_the_command() -> None:
    content = json.loads(json.dumps(devices("pixel 8").to_json()))
    assert [entry["name"] for entry in content] == found("pixel 8")
    assert [h["name"] for h in content[0]["hardware"]] == ["Google Pixel 8"]
    assert content[0]["command"] == "edgeprune plan model.keras --device android-phone-2023"
    assert content[1]["strategies"][0]["gain"]["factor"] == 2.33
    routes = {route["route"]: route for route in content[0]["routes"]}
    assert routes["int8-channels"]["patterns"] == ["Channels(16)"]
    assert routes["int8"]["patterns"] == routes["int8"]["goals"] == []
    assert routes["float16-channels"]["condition"] == "the core needs fp16-arithmetic"
    everything = devices().to_json()
    assert [len(entry["hardware"]) for entry in everything] == [
        len(load_profile(name).hardware) for name in profile_names()
    ]


def test_typing_errors_are_forgiven_and_said() -> None:
    value = devices("rasberry pi 5")
    assert value.read_as == "raspberry pi 5"
    assert [hardware.name for hardware in value.products] == ["Raspberry Pi 5"]


@pytest.mark.parametrize(
    ("words", "near"),
    [
        ("pixel 80", " Closest: Google Pixel 8, Google Pixel 10."),
        ("nrf52", " Closest: Nordic nRF52832, Nordic nRF52833, Nordic nRF52840."),
        ("zzzz", ""),
        ("??", ""),
        ("x" * 5000, ""),
    ],
)
def test_what_is_not_known_names_what_is_close_and_nothing_else(words: str, near: str) -> None:
    with pytest.raises(ProfileError) as caught:
        devices(words)
    said = str(caught.value)
    assert said.startswith(f"Unknown device '{words}'.{near} Known devices: android-phone,")
    assert "devices copy NAME -o" in said


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        ("esp32", "cortex-m-tflm"),
        ("ESP32-S3", "cortex-m-tflm"),
        ("esp", "cortex-m-tflm"),
        ("raspberry pi 2", "arm-neon-int8"),
        ("ipad pro 2022", "xnnpack-arm64"),
        ("apple watch", "xnnpack-arm64"),
        ("fairphone", "android-phone"),
        ("huawei p30", "android-phone"),
        ("ethos-u65", "ethos-u55"),
        ("hailo-8l", "edge-tpu"),
        ("gpu", "android-phone"),
        ("browser", "xnnpack-x86"),
        ("risc-v", "arm-neon-int8"),
    ],
)
def test_a_product_without_a_profile_is_said_to_have_none_and_the_nearest_is_named(
    words: str, nearest: str
) -> None:
    for ask in (devices, load_profile):
        with pytest.raises(ProfileError) as caught:
            ask(words)
        said = str(caught.value)
        assert said.startswith(f"Unknown device '{words}': ")
        assert f"no profile is for it. The nearest is {nearest}: " in said
        assert f"edgeprune devices copy {nearest} -o my.toml" in said


def test_the_first_name_of_every_product_without_a_profile_means_none_that_has_one() -> None:
    listed = listed_products(shipped_profiles())
    for other in unprofiled():
        assert other.nearest in profile_names()
        name = other.names[0].removesuffix("*")
        assert without_profile(name, listed, unprofiled()) == other, name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("pixel 8", "android-phone-2023"),
        ("pixel 7", "android-phone"),
        ("Raspberry Pi 5", "raspberry-pi-5"),
        ("CM4", "raspberry-pi-4"),
        ("raspberry pi zero 2 w", "xnnpack-arm64"),
        ("iphone", "xnnpack-arm64"),
        ("nrf52840", "cortex-m-tflm"),
        ("coral dev board", "edge-tpu"),
        ("alif ensemble e7", "ethos-u55"),
        ("edge tpu", "edge-tpu"),
    ],
)
def test_a_product_stands_for_the_profile_that_suits_it_best(words: str, name: str) -> None:
    assert load_profile(words).name == name


@pytest.mark.parametrize("words", ["raspberry pi", "android", "laptop", "microcontroller"])
def test_words_that_may_mean_devices_of_several_profiles_are_refused(words: str) -> None:
    with pytest.raises(ProfileError, match=rf"'{words}' may mean several.*Name a product"):
        load_profile(words)


@pytest.mark.parametrize("words", ["pixel 80", "pixle 8", "esp32", ""])
def test_no_profile_is_guessed(words: str) -> None:
    with pytest.raises(ProfileError, match=f"Unknown device '{words}'"):
        load_profile(words)
