"""Finds products and chips by the words that people type for them; pure.

Words match in any case and without an order. A number is taken exactly: `pixel 8` is neither a
`Pixel 80` nor a `Pixel 6`, and `raspberry pi 5` no `Raspberry Pi 4`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from edgeprune.core.errors import ProfileError
from edgeprune.profiles.hardware import CATEGORIES, Hardware
from edgeprune.profiles.unprofiled import Unprofiled

_LEAST_LIKENESS = 80
"""Likeness in percent from which a word counts as a mistyped one."""
_LEAST_CLOSENESS = 60
"""Likeness in percent from which a whole name is named as one that may have been meant."""
_LEAST_LETTERS = 4
"""Letters of a word that may be mistyped; shorter ones, such as pi and rp, differ by too little."""
_LEAST_DIGITS = 3
"""Digits of a number that says enough without a word before it."""


class Listed(NamedTuple):
    """A product or chip, and the name of the profile that lists it."""

    profile: str
    hardware: Hardware


class Match(IntEnum):
    """How well words fit a product: its very name, something about it, or not at all."""

    NONE = 0
    PART = 1
    NAME = 2


@dataclass(frozen=True)
class Name:
    """A name in parts: words in small letters, and numbers."""

    parts: tuple[str, ...]
    open: bool = False
    """Whether letters and digits may follow, as those of a package behind a part number."""

    @property
    def numbers(self) -> tuple[str, ...]:
        """Its numbers, in order."""
        return tuple(part for part in self.parts if part.isdigit())

    def __str__(self) -> str:
        return "".join(self.parts)


@lru_cache(maxsize=1024)
def read_name(text: str) -> Name:
    """A name as a person types it: `nRF52840` is `nrf` and `52840`, `S24+` is `s`, `24`, `plus`."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("+", " plus ")
    return Name(tuple(re.findall(r"\d+|[^\W\d_]+", folded)))


def read_pattern(text: str) -> Name:
    """A name as a profile writes it, where `7xx` is any number of three digits that begins with 7.

    It is open at its end if that is such a number or a `*`.
    """
    parts = tuple(re.findall(r"\d+x+(?![^\W\d_])|\d+|[^\W\d_]+", text.casefold()))
    return Name(parts, open=text.endswith("*") or bool(re.search(r"\d+x+$", text)))


@dataclass(frozen=True)
class _Texts:
    """What a product is found by."""

    names: tuple[Name, ...]
    words: frozenset[str]


def find(words: str, listed: Iterable[Listed]) -> tuple[Listed, ...]:
    """The products that words fit, in the order given.

    If some are called so, these alone: `pixel 8` leaves out the `Pixel 8 Pro`.
    """
    found = [(entry, match(words, entry.hardware)) for entry in listed]
    best = max((grade for _, grade in found), default=Match.NONE)
    return tuple(entry for entry, grade in found if grade and grade == best)


def match(words: str, hardware: Hardware) -> Match:
    """How well words fit a product."""
    return _match(words, _texts(hardware))


def _match(words: str, texts: _Texts) -> Match:
    asked = read_name(words)
    if not asked.parts:
        return Match.NONE
    if any(_is_called(asked, name) for name in texts.names):
        return Match.NAME
    if not asked.numbers:
        known = all(_is_known(word, texts.words) for word in asked.parts)
        return Match.PART if known else Match.NONE
    grades = (_match_numbered(asked, name, texts.words) for name in texts.names)
    grade = max(grades, default=Match.NONE)
    return grade or _match_part_number(words, texts)


def correct(words: str, listed: Iterable[Listed]) -> str:
    """The words with each that no product has replaced by the closest that one has.

    Numbers and short words stay. Where nothing is close the words stay as they are.
    """
    from rapidfuzz import fuzz, process

    known = frozenset().union(*(_texts(entry.hardware).words for entry in listed))
    corrected = []
    for part in read_name(words).parts:
        near = None
        if len(part) >= _LEAST_LETTERS and not part.isdigit() and not _is_known(part, known):
            near = process.extractOne(
                part, sorted(known), scorer=fuzz.ratio, score_cutoff=_LEAST_LIKENESS
            )
        corrected.append(near[0] if near else part)
    return " ".join(corrected)


def closest(words: str, names: Iterable[str], count: int = 3) -> tuple[str, ...]:
    """The names that have the words in them, then those that are spelled like them; often none."""
    from rapidfuzz import fuzz, process

    every = sorted(set(names))
    asked = str(read_name(words))
    places = {name: str(read_name(name)).find(asked) for name in every if asked}
    containing = sorted((name for name in places if places[name] >= 0), key=places.__getitem__)
    spelled = process.extract(
        words,
        every,
        scorer=fuzz.ratio,
        processor=_folded,
        limit=count,
        score_cutoff=_LEAST_CLOSENESS,
    )
    return tuple(dict.fromkeys([*containing, *(name for name, _, _ in spelled)]))[:count]


def without_profile(
    words: str, listed: Iterable[Listed], others: Iterable[Unprofiled]
) -> Unprofiled | None:
    """The product that words mean, where no profile stands for it; None where one does, or none is.

    Args:
      words: as a person types them.
      listed: the products of all profiles; where one is called so as well, it is meant.
      others: products without a profile.
    """
    known = max((match(words, entry.hardware) for entry in listed), default=Match.NONE)
    graded = [(_means(words, _names_of(each)), each) for each in others]
    grade, best = max(graded, key=lambda pair: pair[0], default=(Match.NONE, None))
    return best if grade > known else None


def _means(words: str, texts: _Texts) -> Match:
    """How well words fit names; other words may follow a name, as in `huawei p30`."""
    parts = read_name(words).parts
    begins = any(parts[: len(name.parts)] == name.parts for name in texts.names)
    return max(_match(words, texts), Match.PART if begins else Match.NONE)


def best_profile(
    words: str,
    listed: Iterable[Listed],
    profiles: Iterable[str],
    others: Iterable[Unprofiled] = (),
) -> str:
    """The name of the profile that suits best the product that words mean.

    Args:
      words: as a person types them; typing errors are not forgiven.
      listed: every product.
      profiles: the names of all profiles.
      others: products that no profile stands for.

    Raises:
      ProfileError: nothing is called so, no profile stands for what is, or several products are
        called so, and not one profile suits all.
    """
    listed = tuple(listed)
    other = without_profile(words, listed, others)
    if other:
        raise no_profile_for(words, other)
    best: dict[str, Listed] = {}
    for entry in find(words, listed):
        name = entry.hardware.name
        if name not in best or entry.hardware.rank < best[name].hardware.rank:
            best[name] = entry
    fits = dict.fromkeys(entry.profile for entry in best.values())
    if not fits:
        raise unknown_device(words, listed, profiles)
    if len(fits) > 1:
        examples = {entry.profile: entry.hardware.name for entry in reversed(best.values())}
        meant = ", ".join(f"{profile} ({examples[profile]})" for profile in fits)
        raise ProfileError(
            f"'{words}' may mean several devices: {meant}. Name a product or one of these "
            f"profiles; `edgeprune devices {words}` lists them."
        )
    return next(iter(fits))


def no_profile_for(words: str, other: Unprofiled) -> ProfileError:
    """The error that no profile stands for a product; names the nearest and what differs."""
    return ProfileError(
        f"Unknown device '{words}': {other.what}, and no profile is for it. The nearest is "
        f"{other.nearest}: {other.differs}. Take --device {other.nearest}, or start a profile of "
        f"your own from it: edgeprune devices copy {other.nearest} -o my.toml."
    )


def unknown_device(words: str, listed: Iterable[Listed], profiles: Iterable[str]) -> ProfileError:
    """The error that nothing is called so; names what is closest and how to write a profile."""
    names = tuple(profiles)
    near = closest(words, [*names, *(entry.hardware.name for entry in listed)])
    closest_names = f" Closest: {', '.join(near)}." if near else ""
    return ProfileError(
        f"Unknown device '{words}'.{closest_names} Known devices: {', '.join(names)}. For one of "
        "your own, `edgeprune devices copy NAME -o my.toml` writes a profile to start from; give "
        "its path in the place of the name."
    )


def _folded(text: str) -> str:
    return " ".join(read_name(text).parts)


@lru_cache(maxsize=1024)
def _names_of(other: Unprofiled) -> _Texts:
    names = tuple(map(read_pattern, other.names))
    return _Texts(names, frozenset(part for name in names for part in name.parts if part.isalpha()))


@lru_cache(maxsize=1024)
def _texts(hardware: Hardware) -> _Texts:
    cores = re.sub(r"\b\d+x |\(|\)", "", hardware.cores).split(", ")
    plain = [read_name(text) for text in (hardware.name, hardware.chip, *cores)]
    names = (*plain, *map(read_pattern, hardware.aliases))
    words = {part for name in names for part in name.parts if part.isalpha()}
    return _Texts(names, frozenset(words | set(CATEGORIES[hardware.kind].split())))


def _is_called(asked: Name, name: Name) -> bool:
    """Whether a name was typed whole, or a family's as its profile writes it."""
    return asked.parts == name.parts or (name.open and str(asked) == str(name))


def _is_known(word: str, known: Collection[str]) -> bool:
    """Whether a word is known, or its singular."""
    return word in known or (len(word) > _LEAST_LETTERS and word.removesuffix("s") in known)


def _match_numbered(asked: Name, name: Name, words: Collection[str]) -> Match:
    """How well words with numbers fit one name; other words may be about the product."""
    parts = [
        part
        for part in asked.parts
        if part.isdigit() or part in name.parts or not _is_known(part, words)
    ]
    if parts[0].isdigit() and len(parts[0]) < _LEAST_DIGITS:
        return Match.NONE
    grades = (_align(parts, name.parts[start:]) for start in range(len(name.parts)))
    joined = (_join(asked, name.parts[start:]) for start in range(len(name.parts)))
    return max((*grades, *joined), default=Match.NONE)


def _align(parts: Sequence[str], name: Sequence[str]) -> Match:
    """How well parts fit the front of a name, in which only words may be skipped."""
    places: list[int] = []
    for part in parts:
        start = places[-1] + 1 if places else 0
        place = next((i for i in range(start, len(name)) if name[i] == part), None)
        if place is None or (not places and place) or any(map(str.isdigit, name[start:place])):
            return Match.NONE
        places.append(place)
    whole = len(places) == len(name) and all(b == a + 1 for a, b in pairwise(places))
    return Match.NAME if whole else Match.PART


def _join(asked: Name, name: Sequence[str]) -> Match:
    """The same for words that are written apart or together, as `samd 51` or `raspberrypi5`."""
    for end in range(1, len(name) + 1):
        front = Name(tuple(name[:end]))
        if str(front) == str(asked) and front.numbers == asked.numbers:
            return Match.NAME if end == len(name) else Match.PART
    return Match.NONE


def _match_part_number(words: str, texts: _Texts) -> Match:
    """Whether a part number in the words belongs to a family, or has a suffix behind it."""
    for front, chunk in _chunks(words):
        if all(_is_known(part, texts.words) for part in front):
            for name in texts.names:
                if name.open and _begins(chunk, name.parts):
                    return Match.NAME
    return Match.NONE


def _chunks(words: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The parts of words in two: those in front, and those of a part number behind them."""
    parts = read_name(words).parts
    for start in range(len(parts)):
        yield parts[:start], parts[start:]


def _begins(parts: Sequence[str], family: Sequence[str]) -> bool:
    """Whether parts begin with those of a family, and go on, if at all, with letters."""
    if len(parts) < len(family):
        return False
    rest = parts[len(family) :]
    return all(map(_fits, parts, family)) and not (rest and rest[0].isdigit())


def _fits(part: str, wanted: str) -> bool:
    if not wanted.endswith("x") or not wanted[0].isdigit():
        return part == wanted
    return part.isdigit() and bool(re.fullmatch(wanted.replace("x", r"\d"), part))
