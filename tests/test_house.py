"""The layout of the package: which room may import which, and how large rooms may grow."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import edgeprune

PACKAGE = Path(edgeprune.__file__).parent
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"__init__", "__main__", "tfmot"}),
    frozenset({"cli"}),
    frozenset({"report"}),
    frozenset({"searching"}),
    frozenset({"planning"}),
    frozenset({"inspection"}),
    frozenset({"pruning"}),
    frozenset({"conversion"}),
    frozenset({"targets"}),
    frozenset({"profiles"}),
    frozenset({"tflite", "keras_model"}),
    frozenset({"core"}),
)
"""From top to bottom: a room imports from floors below its own; two rooms of a floor know nothing
of each other."""
MAX_ENTRIES = 16
MAX_LINES = 400

Imports = Mapping[str, frozenset[str]]
"""By module, the modules of the package that it imports anywhere in its file."""


def modules(package: Path) -> dict[str, Path]:
    """Every module by its dotted name below the package; a folder's is that of its `__init__`."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


def imports(package: Path) -> Imports:
    """What every module imports: at its top, inside functions, for type checking, relatively."""
    known = modules(package)
    return {
        name: frozenset(_imported(name, path, known, package.name)) - {name}
        for name, path in known.items()
    }


def _imported(module: str, path: Path, known: Mapping[str, Path], package: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(module, path, node, package)
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] == package:
                yield _module_of(name.partition(".")[2], known)


def _origin(module: str, path: Path, node: ast.ImportFrom, package: str) -> str:
    """The dotted name that an import is from, counted from the package's own."""
    if not node.level:
        return node.module or ""
    parts = [package, *module.split(".")]
    up = node.level - (path.name == "__init__.py")
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def _module_of(name: str, known: Mapping[str, Path]) -> str:
    """The module that holds what a dotted name means; the package's face if none does."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or "__init__"


def _floor(module: str) -> int:
    room = module.partition(".")[0]
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def climbs(found: Imports) -> list[str]:
    """The imports between rooms that do not run downward."""
    return sorted(
        f"{module} imports {other}"
        for module, others in found.items()
        for other in others
        if module.partition(".")[0] != other.partition(".")[0]
        and not (_floor(module) == _floor(other) == 0)
        and _floor(other) <= _floor(module)
    )


def circle(found: Imports) -> list[str]:
    """The modules of an import circle, one behind the other; empty if there is none."""
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_room_stands_on_a_floor() -> None:
    rooms = {name.partition(".")[0] for name in modules(PACKAGE)}
    assert rooms == frozenset().union(*FLOORS)


def test_imports_between_rooms_run_downward() -> None:
    assert climbs(imports(PACKAGE)) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(imports(PACKAGE)) == []


def test_the_package_has_few_entries_and_no_long_files() -> None:
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MAX_ENTRIES, sorted(entries)
    lines = {name: len(path.read_bytes().splitlines()) for name, path in modules(PACKAGE).items()}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_the_architecture_page_is_short_and_names_files_and_floors_that_are_there() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.\w+)?)`", text))
    roots = (PACKAGE, PACKAGE.parent)
    missing = {name for name in named if not any((root / name).exists() for root in roots)}
    assert missing <= {"targets/scope.py"}
    assert len(named) > 30
    drawn = re.findall(r"^\|[^|]*\| `([^|]*)` \|", text, re.MULTILINE)
    rooms = [room.strip("`/ ") for row in drawn for room in row.split(" ")]
    floors = [_floor(room) for room in rooms]
    assert floors == sorted(floors)
    assert set(rooms) == frozenset().union(*FLOORS)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("core/a.py", "from edgeprune.cli.b import c", ["core.a imports cli.b"]),
        ("core/a.py", "def f():\n    import edgeprune.cli.b", ["core.a imports cli.b"]),
        ("core/a.py", "if TYPE_CHECKING:\n    from ..cli import b", ["core.a imports cli.b"]),
        ("tflite/a.py", "from edgeprune import keras_model", ["tflite.a imports keras_model"]),
        ("core/a.py", "from edgeprune import plan", ["core.a imports __init__"]),
        ("cli/a.py", "from edgeprune.core import b", []),
        ("tfmot.py", "import edgeprune", []),
    ],
)
def test_an_import_that_climbs_is_found_however_it_is_written(
    tmp_path: Path, file: str, text: str, expected: list[str]
) -> None:
    package = _package(tmp_path, {"cli/b.py": "", "core/b.py": "", file: text})
    assert climbs(imports(package)) == expected


def test_a_circle_is_found_inside_a_room_and_inside_functions(tmp_path: Path) -> None:
    files = {
        "core/a.py": "from .b import x",
        "core/b.py": "def f():\n    from edgeprune.core import a",
    }
    found = circle(imports(_package(tmp_path, files)))
    assert set(found) == {"core.a", "core.b"}


def _package(folder: Path, files: Mapping[str, str]) -> Path:
    package = folder / "edgeprune"
    for name, text in {"__init__.py": "", "keras_model/__init__.py": "", **files}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return package
