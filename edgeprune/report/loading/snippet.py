"""How to load a .tflite file on a device: code in the language that is used there.

Everything in it that is of the file, such as scales, sizes and operators, is read from the file.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgeprune.conversion.route_of_file import on_route_of
from edgeprune.profiles.devices import devices
from edgeprune.profiles.hardware import Hardware
from edgeprune.profiles.profile import DeviceProfile, load_profile, named_profile
from edgeprune.report.loading.facts import FileFacts, facts_of
from edgeprune.report.loading.firmware import firmware_of
from edgeprune.report.loading.needs import needs_of
from edgeprune.report.loading.source_text import class_name, comment, function_prefix, literal, note
from edgeprune.report.loading.ways import (
    Language,
    Way,
    choose_language,
    choose_runtime,
    languages_of,
    ways_of,
)
from edgeprune.tflite.c_array import c_array_paths, c_identifier
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.graph import Graph

THREADS = 4
"""Threads that a snippet asks for; a file is measured with one unless more are asked for."""
MAX_LABELS = 20
"""Names of classes that are written into code; more are read from a file."""
_PARTS: Mapping[tuple[Way, Language], tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        ("app", "kotlin"): (("gradle.kts", "build.gradle.kts"), ("app.kt", "{type}.kt")),
        ("app", "java"): (("gradle.kts", "build.gradle.kts"), ("app.java", "{type}.java")),
        ("app", "cpp"): (("cmake.txt", "CMakeLists.txt"), ("program.cc", "main.cc")),
        ("program", "cpp"): (("cmake.txt", "CMakeLists.txt"), ("program.cc", "main.cc")),
        ("native", "cpp"): (("cmake.txt", "CMakeLists.txt"), ("program.cc", "main.cc")),
        ("program", "python"): (("program.py", "load.py"),),
        ("firmware", "cpp"): (("firmware.sh", "prepare.sh"), ("firmware.cc", "main.cc")),
        ("firmware", "c"): (
            ("firmware.sh", "prepare.sh"),
            ("firmware.h", "{name}_run.h"),
            ("firmware.cc", "{name}_run.cc"),
            ("firmware.c", "main.c"),
        ),
    }
)
"""Templates, and what their files are called: `{type}` and `{name}` are after the .tflite file."""
_TITLES: Mapping[Language, str] = MappingProxyType(
    {"kotlin": "Kotlin", "java": "Java", "cpp": "C++", "python": "Python", "c": "C"}
)
_MARKS: Mapping[str, str] = MappingProxyType({".py": "#", ".sh": "#", ".txt": "#"})
"""How a comment begins, by the ending of a file; the others have `//`."""


@dataclass(frozen=True)
class Part:
    """One file of code."""

    name: str
    text: str

    @property
    def mark(self) -> str:
        """What a line of comment begins with."""
        return _MARKS.get(Path(self.name).suffix, "//")


@dataclass(frozen=True)
class Snippet:
    """Code that loads a file on a device, fills its inputs and reads its outputs."""

    model: str
    device: str
    route: str
    language: Language
    needs: tuple[str, ...]
    """What has to be there for the file to run, in sentences."""
    parts: tuple[Part, ...]

    @property
    def title(self) -> str:
        """The language as people write it."""
        return _TITLES[self.language]

    @property
    def text(self) -> str:
        """All parts, each behind its name where there are several; ends with a line break."""
        if len(self.parts) == 1:
            return self.parts[0].text
        return "\n".join(f"{p.mark} ---- {p.name} ----\n{p.text}" for p in self.parts)

    def __str__(self) -> str:
        return self.text.rstrip("\n")

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text)}</pre>"

    def to_json(self) -> dict[str, Any]:
        """The fields, and all parts as one text."""
        return {
            "model": self.model,
            "device": self.device,
            "route": self.route,
            "language": self.language,
            "needs": list(self.needs),
            "files": [{"name": part.name, "text": part.text} for part in self.parts],
            "text": self.text,
        }


def snippet(
    model: str | Path,
    device: str | Path | DeviceProfile,
    *,
    route: str | None = None,
    language: str | None = None,
) -> Snippet:
    """Writes how to load a .tflite file on a device.

    Args:
      model: the file.
      device: a profile, its name, a product or the path of a `.toml`; a product decides between
        languages where its profile stands for several kinds of products.
      route: one of the device's; if None, that of the file's manifest, else one in its number
        format.
      language: kotlin, java, cpp, python or c; the usual one there if None.

    Raises:
      ProfileError: no such device or route, or no such language there; names those that there are.
      TfliteError: the file does not parse, or has inputs or outputs that are no numbers.
      TargetError: Arm's compiler does not take the file, where the device has its NPU.
      OutputError: no C++ file can be named after it, where it goes into firmware.
    """
    profile = load_profile(device)
    ways = ways_of(profile, _products(device, profile))
    way, chosen = choose_language(profile.name, ways, language)
    return _write(_load(Path(model), profile, route, way), profile.name, way, chosen)


def snippets(model: Path, profile: DeviceProfile, route: str | None) -> tuple[Snippet, ...]:
    """The same in every language in which files are loaded there, the usual one first.

    Raises:
      TfliteError, TargetError: as `snippet`.
    """
    ways = ways_of(profile)
    chosen = [choose_language(profile.name, ways, each) for each in languages_of(ways)]
    loaded = {way: _load(model, profile, route, way) for way in dict(chosen)}
    return tuple(_write(loaded[way], profile.name, way, language) for way, language in chosen)


def _products(device: str | Path | DeviceProfile, profile: DeviceProfile) -> Sequence[Hardware]:
    """The products of a profile that words mean; none where they name the profile itself."""
    if not isinstance(device, str) or device.endswith(".toml") or named_profile(device):
        return ()
    matches = {match.profile.name: match.hardware for match in devices(device).matches}
    return matches.get(profile.name, ())


@dataclass(frozen=True)
class _Loaded:
    """A file and what templates are filled with, whatever the language."""

    facts: FileFacts
    route: str
    needs: tuple[str, ...]
    names: Mapping[str, str]
    """What files of code are called after it."""
    context: Mapping[str, Any]


def _load(path: Path, profile: DeviceProfile, route: str | None, way: Way) -> _Loaded:
    graph = tflite_file.read(path)
    on_route = on_route_of(graph, profile, route)
    facts = facts_of(graph)
    runtime = choose_runtime(on_route, way, graph)
    names = {"type": class_name(facts.stem), "name": function_prefix(facts.stem)}
    needs = tuple(map(comment, needs_of(facts, on_route, way, runtime)))
    context = {
        **names,
        "facts": facts,
        "needs": needs,
        "device": profile.device,
        "route": on_route.route.name,
        "edgeprune": version("edgeprune"),
        "runtime": runtime,
        "delegate": _delegate(facts, on_route),
        **(_linked(graph, profile) if way == "firmware" else {}),
        "android": way == "app",
        "threads": THREADS,
        "labels_in_code": len(facts.named) <= MAX_LABELS,
    }
    return _Loaded(facts, on_route.route.name, needs, names, context)


def _write(loaded: _Loaded, device: str, way: Way, language: Language) -> Snippet:
    parts = (
        Part(name.format_map(loaded.names), _render(template, language, loaded.context))
        for template, name in _PARTS[way, language]
    )
    return Snippet(
        model=str(loaded.facts.graph.path),
        device=device,
        route=loaded.route,
        language=language,
        needs=loaded.needs,
        parts=tuple(parts),
    )


def _delegate(facts: FileFacts, profile: DeviceProfile) -> dict[str, Any] | None:
    """The library to load, and the file for it; None where nothing is loaded."""
    delegate = profile.delegate
    if delegate is None:
        return None
    compiled = delegate.operator in facts.customs
    return {
        "library": delegate.library,
        "file": facts.name if compiled else delegate.compiled.replace("{stem}", facts.stem),
        "compile": None
        if compiled
        else delegate.compile.replace("{model}", shlex.quote(facts.name)),
    }


def _linked(graph: Graph, profile: DeviceProfile) -> dict[str, Any]:
    """What firmware needs, and what the array of the file that is linked into it is called."""
    found = firmware_of(graph, profile.vela)
    path = graph.path
    linked = path.with_name(f"{path.stem}_vela.tflite") if found.hardware else path
    source, header = c_array_paths(path)
    return {
        "firmware": found,
        "array": c_identifier(path.stem),
        "source_name": source.name,
        "header": header.name,
        "linked": linked.name,
    }


def _render(template: str, language: Language, context: Mapping[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgeprune.report", "templates/loading"),
        autoescape=False,  # noqa: S701  code, not HTML
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["comment"], environment.filters["note"] = comment, note
    environment.filters["word"] = shlex.quote
    environment.filters["text"] = lambda text: literal(text, language)
    return environment.get_template(f"{template}.jinja").render(language=language, **context)
