"""Records hold only while everything is as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprune.report.kept import FOLDER, Kept, Store, for_people

MADE_FROM = {"model": "m", "data": "d"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A folder with one step of two files."""
    made = Store(tmp_path)
    (tmp_path / FOLDER).mkdir()
    for name in ("a.tflite", "a.keras"):
        (tmp_path / name).write_bytes(name.encode())
    made.keep("a", MADE_FROM, [tmp_path / "a.tflite", tmp_path / "a.keras"], {"found": [1, 2.5]})
    return made


def test_what_was_kept_is_found_with_its_date(store: Store) -> None:
    found = store.find("a", dict(reversed(MADE_FROM.items())))
    assert isinstance(found, Kept)
    assert found.content == {"found": [1, 2.5]}
    assert found.date.endswith("+00:00")
    assert for_people("2026-11-27T17:05:12+00:00") == "2026-11-27 17:05 UTC"
    assert store.find("b", MADE_FROM) == ""


def test_dates_names_and_places_of_files_do_not_count(store: Store) -> None:
    (store.output / "a.tflite").touch()
    (store.output / "of-the-user.txt").write_text("left alone")
    moved = store.output.rename(store.output.with_name("moved"))
    assert isinstance(Store(moved).find("a", MADE_FROM), Kept)


@pytest.mark.parametrize(
    ("made_from", "said"),
    [
        ({"model": "m", "data": "e"}, "the data changed"),
        ({"model": "n", "data": "e"}, "the data and the model changed"),
        ({"model": "m"}, "the data changed"),
        ({**MADE_FROM, "options": "o"}, "the options changed"),
    ],
)
def test_what_changed_is_named(store: Store, made_from: dict[str, str], said: str) -> None:
    assert store.find("a", made_from) == said


def test_an_edited_or_removed_file_is_named(store: Store) -> None:
    (store.output / "a.keras").write_bytes(b"a.kerat")
    assert store.find("a", MADE_FROM) == "a.keras was changed or removed"
    (store.output / "a.keras").unlink()
    assert store.find("a", MADE_FROM) == "a.keras was changed or removed"


def test_force_finds_nothing_and_does_not_remove_it(store: Store) -> None:
    assert Store(store.output, force=True).find("a", MADE_FROM) == ""
    assert isinstance(store.find("a", MADE_FROM), Kept)


def edited(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    return lambda old: json.dumps(change(json.loads(old))).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda old: old[: len(old) // 2],
        lambda _: b"",
        lambda _: b"\xff\xfe",
        lambda _: b"[" * 100_000,
        lambda _: b"null",
        lambda _: b"[1]",
        lambda old: old.replace(b"2.5", b"9.5"),
        edited(lambda record: {**record, "content": {}}),
        edited(lambda record: {**record, "schema": 2}),
        edited(lambda record: {k: v for k, v in record.items() if k != "sha256"}),
    ],
)
def test_a_damaged_or_edited_record_is_none(store: Store, damage: Callable[[bytes], bytes]) -> None:
    path = store.folder / "a.json"
    path.write_bytes(damage(path.read_bytes()))
    assert store.find("a", MADE_FROM) == "its record is damaged"
