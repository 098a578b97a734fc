"""The folder of a search: the files of its fronts, what was found as JSON, and a page for people.

Every file appears whole. What an earlier front left is removed, as far as a search wrote it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from edgeprune.core.files import make_output_folder, replacing, write_file
from edgeprune.core.lock import held
from edgeprune.searching.assemble import FRONT_FOLDER
from edgeprune.searching.result import Front, Point, Search
from edgeprune.tflite.metadata import manifest_path

SEARCH_FILES = ("search.json", "search.html")
"""Names of the files beside the fronts' own."""
_WRITTEN = ".written"
"""In the fronts' folder: names of files that a search wrote there, one a line."""

FileOf = Callable[[str], Path | None]
"""Where the file of a digest is kept, its manifest beside it; None if it is not here."""
Pages = Mapping[str, Callable[[Search], str]]
"""What is written beside `search.json`, by its name."""


def publish(search: Search, folder: Path, file_of: FileOf, pages: Pages) -> Search:
    """Writes what a search found into its folder; returns it without files that are not here.

    Args:
      search: what was found.
      folder: exists.
      file_of: where files are kept.
      pages: texts that are made of it, by the names of their files.

    Raises:
      OutputError: something cannot be written.
    """
    found = replace(search, fronts=tuple(_here(front, file_of) for front in search.fronts))
    with held(folder / ".search.lock", lambda: None):
        _put_fronts(found, folder / FRONT_FOLDER, file_of)
        for name, page in pages.items():
            write_file(folder / name, page(found).encode())
        text = json.dumps(found.to_json(), indent=2, allow_nan=False)
        write_file(folder / SEARCH_FILES[0], text.encode())
    return found


def _here(front: Front, file_of: FileOf) -> Front:
    points = tuple(_with_file(point, file_of) for point in front.points)
    near = front.nearest
    return replace(front, points=points, nearest=near and _with_file(near, file_of))


def _with_file(point: Point, file_of: FileOf) -> Point:
    there = point.sha256 is not None and file_of(point.sha256) is not None
    return point if there else replace(point, file=None)


def _put_fronts(search: Search, folder: Path, file_of: FileOf) -> None:
    """Writes the files of all fronts, then removes those of earlier ones."""
    make_output_folder(folder)
    before = _written(folder)
    wanted = {Path(point.file).name: point for point in search.files() if point.file}
    _note_written(folder, before | wanted.keys())
    for name, point in wanted.items():
        source = file_of(point.sha256 or "")
        if source is not None:
            _put(source, folder / name)
    for name in sorted(before - wanted.keys()):
        (folder / name).unlink(missing_ok=True)
        manifest_path(folder / name).unlink(missing_ok=True)
    _note_written(folder, wanted.keys())


def _put(source: Path, target: Path) -> None:
    """Copies a file and its manifest, in which the file's new name stands."""
    with replacing(target) as new:
        shutil.copyfile(source, new)
    beside = manifest_path(source)
    if not beside.exists():
        return
    manifest = json.loads(beside.read_text(encoding="utf-8"))
    manifest["artifact"] = {**manifest.get("artifact", {}), "file": target.name}
    write_file(manifest_path(target), (json.dumps(manifest, indent=2) + "\n").encode())


def _written(folder: Path) -> set[str]:
    """Names of files that searches wrote into a folder; names alone, never a path elsewhere."""
    try:
        lines = (folder / _WRITTEN).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return set()
    return {line for line in lines if line.endswith(".tflite") and Path(line).name == line}


def _note_written(folder: Path, names: Iterable[str]) -> None:
    write_file(folder / _WRITTEN, "".join(f"{name}\n" for name in sorted(names)).encode())
