"""What is kept is found again by what it was made from, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprune.core.errors import OutputError
from edgeprune.core.files import describe_file
from edgeprune.searching.cache import Cache
from edgeprune.tflite.metadata import manifest_path

MADE_FROM = {"model": "1", "data": "2"}


def test_a_finding_is_there_for_what_it_was_made_from_and_for_nothing_else(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    cache.keep("outcomes", MADE_FROM, {"cost": 3.5})
    assert cache.find("outcomes", dict(reversed(MADE_FROM.items()))) == {"cost": 3.5}
    assert cache.find("outcomes", {**MADE_FROM, "data": "3"}) is None
    assert cache.find("expected", MADE_FROM) is None


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"content": 1, "sha256": "0"}'])
def test_a_damaged_finding_is_not_there(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    cache.keep("outcomes", MADE_FROM, 1)
    (path,) = (tmp_path / "outcomes").iterdir()
    path.write_text(damage)
    assert cache.find("outcomes", MADE_FROM) is None


def test_a_finding_that_was_edited_is_not_there(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.keep("outcomes", MADE_FROM, 1)
    (path,) = (tmp_path / "outcomes").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "content": 2}))
    assert cache.find("outcomes", MADE_FROM) is None


def test_a_file_is_kept_with_its_manifest_and_missed_when_it_was_changed(tmp_path: Path) -> None:
    source = tmp_path / "m.tflite"
    source.write_bytes(b"weights")
    manifest_path(source).write_text("{}")
    cache, artifact = Cache(tmp_path / "cache"), describe_file(source)
    assert not cache.has_file(artifact.sha256)
    kept = cache.keep_file(artifact)
    assert kept.read_bytes() == b"weights"
    assert manifest_path(kept).read_text() == "{}"
    assert cache.has_file(artifact.sha256)
    kept.write_bytes(b"others")
    assert not cache.has_file(artifact.sha256)


def test_a_place_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(OutputError, match="cache"):
        Cache(tmp_path / "cache").keep("outcomes", MADE_FROM, 1)
