"""What a search writes into its folder, and what it removes there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from edgeprune.searching.assemble import Facts, fronts_of
from edgeprune.searching.budget import Budget
from edgeprune.searching.candidate import Candidate, Finished, Outcome, Stage, Task
from edgeprune.searching.folder import publish
from edgeprune.searching.result import Search, Seconds, Trials
from edgeprune.tflite.metadata import manifest_path
from tests.support.pretended_search import phone_space


def found(*shas: str) -> Search:
    """A search whose only front has a point for each hash, unless one beats another."""
    tasks = (
        Finished(
            Task(0, Candidate("phone", "int8-channels", cost=0.1 * n), Stage.ONE_SHOT),
            Outcome(cost=1000.0 * n, size_bytes=1, sha256=sha),
        )
        for n, sha in enumerate(shas, start=1)
    )
    facts = Facts(phone_space(Budget()), None, fraction=True, command=lambda *_: "make it")
    fronts = fronts_of(facts, tuple(tasks))
    budget = Budget()
    return Search("m.keras", "a", "b", budget, 0, fronts, Trials(1, 0, 0), Seconds(1.0, 0.0))


def kept(folder: Path, sha: str) -> Path:
    """A file as the cache has it."""
    path = folder / f"{sha}.tflite"
    path.write_bytes(sha.encode())
    manifest = {"artifact": {"file": path.name, "sha256": sha}, "device": "phone"}
    manifest_path(path).write_text(json.dumps(manifest))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_front_is_files_with_manifests_of_their_own_names_json_and_a_page(tmp_path: Path) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "out"
    cache.mkdir()
    folder.mkdir()
    search = publish(found("s"), folder, lambda sha: kept(cache, sha), {"search.html": str})
    name = "01-phone-int8-channels-1000.tflite"
    assert names(folder / "front") == ["01-phone-int8-channels-1000.manifest.json", name]
    assert (folder / "front" / name).read_bytes() == b"s"
    manifest = json.loads(
        (folder / "front" / "01-phone-int8-channels-1000.manifest.json").read_text()
    )
    assert manifest == {"artifact": {"file": name, "sha256": "s"}, "device": "phone"}
    assert json.loads((folder / "search.json").read_text()) == search.to_json()
    assert search.fronts[0].points[0].file == f"front/{name}"
    assert (folder / "search.html").read_text() == str(search)


def test_files_of_an_earlier_front_go_and_nobody_elses(tmp_path: Path) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "out"
    cache.mkdir()
    (folder / "front").mkdir(parents=True)
    mine = folder / "front" / "01-mine.tflite"
    mine.write_bytes(b"mine")
    (folder / "keep.tflite").write_bytes(b"mine too")
    publish(found("s"), folder, lambda sha: kept(cache, sha), {})
    written = folder / "front" / ".written"
    written.write_text(written.read_text() + "../keep.tflite\n")
    later = found("t")
    points = (replace(later.fronts[0].points[0], file="front/01-phone-int8-900.tflite"),)
    later = replace(later, fronts=(replace(later.fronts[0], points=points),))
    publish(later, folder, lambda sha: kept(cache, sha), {})
    assert [n for n in names(folder / "front") if n.endswith(".tflite")] == [
        "01-mine.tflite",
        "01-phone-int8-900.tflite",
    ]
    assert names(folder) == ["front", "keep.tflite", "search.json"]


def test_a_point_whose_file_is_on_another_machine_alone_has_none_here(tmp_path: Path) -> None:
    search = publish(found("s"), tmp_path, lambda _: None, {})
    assert search.fronts[0].points[0].file is None
    assert names(tmp_path / "front") == []
