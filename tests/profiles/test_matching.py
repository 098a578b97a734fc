"""Products are found by the words that people type, and never for another number's sake."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.profiles.hardware import CATEGORIES, Hardware, HardwareKind
from edgeprune.profiles.matching import (
    Listed,
    Match,
    closest,
    correct,
    find,
    match,
    read_name,
)
from edgeprune.profiles.profile import listed_products, shipped_profiles

LISTED = listed_products(shipped_profiles())
ENTRIES = st.sampled_from(LISTED)


def product(
    name: str,
    chip: str = "Chip",
    cores: str = "4x Cortex-A76",
    kind: HardwareKind = "phone",
    aliases: tuple[str, ...] = (),
) -> Hardware:
    return Hardware(
        name=name, kind=kind, chip=chip, cores=cores, aliases=aliases, source="imagined"
    )


def names(words: str) -> set[str]:
    return {entry.hardware.name for entry in find(words, LISTED)}


@given(ENTRIES, st.sampled_from([str.upper, str.lower, str.title, str.swapcase]))
def test_every_product_is_found_by_its_own_name_in_any_case(entry: Listed, case: object) -> None:
    assert callable(case)
    assert entry in find(case(entry.hardware.name), LISTED)


@given(ENTRIES, st.data())
def test_spaces_and_punctuation_do_not_matter(entry: Listed, data: st.DataObject) -> None:
    parts = re.split(r"[ ()/,.-]+", entry.hardware.name)
    joints = [data.draw(st.sampled_from([" ", "-", "  ", "_", "/"])) for _ in parts]
    written = "".join(a + b for pair in zip(parts, joints, strict=True) for a, b in [pair])
    assert entry in find(written, LISTED)


@given(ENTRIES, st.data())
def test_a_product_with_another_number_in_its_name_is_not_found(
    entry: Listed, data: st.DataObject
) -> None:
    name = entry.hardware.name
    numbers = list(re.finditer(r"\d+", name))
    if not numbers:
        return
    place = data.draw(st.sampled_from(numbers))
    changed = data.draw(
        st.one_of(
            st.sampled_from([place[0] + digit for digit in "0123456789"]),
            st.integers(0, 10**6).map(str),
        ).filter(lambda text: text != place[0])
    )
    written = f"{name[: place.start()]}{changed}{name[place.end() :]}"
    assert entry.hardware.name not in names(written)


@given(st.text(max_size=30))
def test_whatever_is_typed_numbers_of_what_is_found_are_those_typed(words: str) -> None:
    numbers = read_name(words).numbers
    for entry in find(words, LISTED):
        hardware = entry.hardware
        texts = [hardware.name, hardware.chip, hardware.cores, *hardware.aliases]
        known = {number for text in texts for number in read_name(text).numbers}
        families = [alias for alias in hardware.aliases if re.search(r"\dx|\*$", alias)]
        assert families or set(numbers) <= known


@given(st.text(max_size=30))
def test_correcting_words_leaves_every_number_as_it_is(words: str) -> None:
    assert read_name(correct(words, LISTED)).numbers == read_name(words).numbers


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("pixel 8", {"Google Pixel 8"}),
        ("Pixel8", {"Google Pixel 8"}),
        ("google pixel 8 phone", {"Google Pixel 8"}),
        ("PIXEL 8 PRO", {"Google Pixel 8 Pro"}),
        ("raspberry pi 5", {"Raspberry Pi 5"}),
        ("rpi5", {"Raspberry Pi 5"}),
        ("raspberry pi 4", {"Raspberry Pi 4 Model B"}),
        ("galaxy s24+", {"Samsung Galaxy S24+"}),
        ("galaxy s24", {"Samsung Galaxy S24"}),
        ("iphone 15", {"iPhone 15"}),
        ("STM32F746", {"STM32F7 series"}),
        ("stm32h743zi", {"STM32H7 series"}),
        ("nRF52840-QIAA", {"Nordic nRF52840"}),
        ("ATSAMD51J19A", {"Microchip SAMD51"}),
        ("sam d51", {"Microchip SAMD51"}),
        ("i7-1165G7", {"Intel Core, 11th generation"}),
        ("Intel Core i5 8250U", {"Intel Core, 8th generation"}),
        ("sm8550-ab", {"Qualcomm Snapdragon 8 Gen 2"}),
        ("teensy 4.1", {"PJRC Teensy 4.1"}),
        ("coral dev board", {"Coral Dev Board"}),
        ("coral m.2", {"Coral M.2 Accelerator A+E key"}),
        ("arduino nano 33 ble", {"Arduino Nano 33 BLE"}),
    ],
)
def test_a_name_means_the_one_product_that_is_called_so(words: str, found: set[str]) -> None:
    assert names(words) == found


@pytest.mark.parametrize(
    "words",
    [
        *("pixel 80", "pixel 88", "pixel 1", "pixel 8 9", "raspberry pi 6", "galaxy s2", "8", "24"),
        *("stm32f999", "stm32f7460", "rp20401", "nrf5284", "iphone 1", "snapdragon 3", "cortex-a7"),
        *(
            "android 8",
            "tensor g8",
            "esp32",
            "esp32-s3",
            "esp8266",
            "kirin 9000",
            "k210",
            "attiny85",
        ),
        *("jetson agx", "arduino nano esp32", "", "   ", "-", "??", "pixel 8 zzz"),
    ],
)
def test_a_false_friend_and_a_chip_that_no_profile_knows_are_not_found(words: str) -> None:
    assert names(words) == set()


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        ("android", {"phone", "phone-chip"}),
        ("iphone", {"iphone"}),
        ("ios", {"iphone"}),
        ("microcontrollers", {"microcontroller", "microcontroller-board", "npu-microcontroller"}),
        ("linux laptop", {"laptop", "pc-chip"}),
        ("laptop linux", {"laptop", "pc-chip"}),
        ("sbc", {"single-board-computer"}),
    ],
)
def test_a_category_means_every_product_of_its_kinds(words: str, kinds: set[str]) -> None:
    found = {entry.hardware.name for entry in find(words, LISTED)}
    assert {e.hardware.kind for e in LISTED if e.hardware.name in found} == kinds
    assert found == {e.hardware.name for e in LISTED if e.hardware.kind in kinds}


def test_a_makers_name_means_all_its_products() -> None:
    assert names("arduino") == {n for n in (e.hardware.name for e in LISTED) if "Arduino" in n}
    assert len(names("arduino")) > 8


def test_a_chip_means_the_products_that_it_is_in() -> None:
    assert names("tensor g3") >= {"Google Pixel 8", "Google Pixel 8 Pro", "Google Pixel 8a"}
    assert names("cortex-a72") >= {"Raspberry Pi 4 Model B"}
    assert "Raspberry Pi 5" not in names("cortex-a72")


@pytest.mark.parametrize(
    ("words", "name", "grade"),
    [
        ("pixel 8", "Google Pixel 8 Pro", Match.PART),
        ("pixel 8 pro", "Google Pixel 8 Pro", Match.NAME),
        ("pro 8", "Google Pixel 8 Pro", Match.NONE),
        ("google 8", "Google Pixel 8", Match.PART),
        ("nano", "Jetson Nano", Match.PART),
        ("jetson nano", "Jetson Nano", Match.NAME),
        ("snapdragon 2", "Snapdragon 8 Gen 2", Match.NONE),
        ("gen 2", "Snapdragon 8 Gen 2", Match.NAME),
    ],
)
def test_how_well_words_fit(words: str, name: str, grade: Match) -> None:
    assert match(words, product(name)) is grade


@pytest.mark.parametrize(
    ("alias", "words", "fits"),
    [
        ("ABC12xx", "abc1234", True),
        ("ABC12xx", "abc1234de5", True),
        ("ABC12xx", "abc123", False),
        ("ABC12xx", "abc12345", False),
        ("ABC12xx", "abc12xx", True),
        ("ABC12*", "abc12", True),
        ("ABC12*", "abc12-q", True),
        ("ABC12*", "abc123", False),
        ("ABC12", "abc12q", False),
    ],
)
def test_a_family_takes_its_part_numbers_and_no_others(alias: str, words: str, fits: bool) -> None:
    assert bool(match(words, product("A board", aliases=(alias,)))) is fits


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("pixle 8", "pixel 8"),
        ("rasberry pi 5", "raspberry pi 5"),
        ("ardunio nano", "arduino nano"),
        ("esp32", "esp 32"),
        ("kirin 9000", "kirin 9000"),
    ],
)
def test_typing_errors_are_forgiven_in_long_words_only(words: str, read: str) -> None:
    assert correct(words, LISTED) == read


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("pixel 80", ("Google Pixel 8", "Google Pixel 10")),
        ("nrf52", ("Nordic nRF52832", "Nordic nRF52833", "Nordic nRF52840")),
        ("sony spresens", ("Sony Spresense",)),
        ("axis camera", ()),
    ],
)
def test_the_closest_names_have_the_words_in_them_or_are_spelled_alike(
    words: str, names: tuple[str, ...]
) -> None:
    assert closest(words, (entry.hardware.name for entry in LISTED)) == names


def test_every_kind_has_words_of_a_category() -> None:
    assert all(read_name(words).parts for words in CATEGORIES.values())
