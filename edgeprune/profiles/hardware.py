"""Products and chips that a device profile stands for, by the names that people know them by."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from edgeprune.core.schema import Count, Table, Text

HardwareKind = Literal[
    "phone",
    "phone-chip",
    "iphone",
    "single-board-computer",
    "application-processor",
    "laptop",
    "mini-pc",
    "pc-chip",
    "mac",
    "intel-mac",
    "server",
    "microcontroller",
    "microcontroller-board",
    "npu-microcontroller",
    "accelerator",
]
CATEGORIES: Mapping[HardwareKind, str] = MappingProxyType(
    {
        "phone": "android phone smartphone mobile",
        "phone-chip": "android phone smartphone mobile chip soc",
        "iphone": "ios iphone phone smartphone mobile",
        "single-board-computer": "linux single board computer sbc",
        "application-processor": "linux application processor chip soc",
        "laptop": "linux windows laptop notebook computer pc x86",
        "mini-pc": "linux windows mini computer pc x86",
        "pc-chip": "linux windows laptop notebook desktop computer pc processor chip x86",
        "mac": "mac macos laptop computer arm",
        "intel-mac": "mac macos laptop computer x86",
        "server": "linux server cloud computer",
        "microcontroller": "microcontroller mcu chip firmware tinyml",
        "microcontroller-board": "microcontroller mcu board firmware tinyml",
        "npu-microcontroller": "microcontroller mcu npu firmware tinyml",
        "accelerator": "accelerator tpu npu",
    }
)
"""The words of the categories that each kind belongs to, for people who know no product's name."""


class Hardware(Table):
    """A product or chip, and what is inside it."""

    name: Text
    """The name it is sold under, with its maker."""
    kind: HardwareKind
    """What it is; whoever asks for a category, such as android, finds it by that."""
    chip: Text
    """The chip inside, or the part number of a chip."""
    cores: Text
    """The cores inside that matter here."""
    aliases: tuple[Text, ...] = ()
    """Other names of it. Small x behind digits stand for any digits, as in STM32F7xx; a * at the
    end stands for any suffix, as in nRF52840*."""
    rank: Count = 1
    """1 if this profile suits it best; 2 and above where another profile comes first."""
    note: Text | None = None
    """What is different on it."""
    source: Text
    """The public document that says which cores are inside, by its title."""
