"""Ways to load a file, the languages of each, and which of them a device has.

A device is asked for what it has: an accelerator's library or compiler, TensorFlow Lite Micro, or
the kind of its products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from edgeprune.core.errors import ProfileError
from edgeprune.core.runtime import Runtime, RuntimeName
from edgeprune.core.spelling import suggestion
from edgeprune.profiles.hardware import Hardware, HardwareKind
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.op_versions import VersionMiss, version_misses

Language: TypeAlias = Literal["kotlin", "java", "cpp", "python", "c"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
Way: TypeAlias = Literal["app", "program", "native", "firmware"]
"""An Android app, a program on a computer, one on a computer without Python, or firmware."""
LANGUAGES_OF: Mapping[Way, tuple[Language, ...]] = MappingProxyType(
    {
        "app": ("kotlin", "java", "cpp"),
        "program": ("python", "cpp"),
        "native": ("cpp",),
        "firmware": ("cpp", "c"),
    }
)
"""The first is what people use most there."""
_WAY_OF_KIND: Mapping[HardwareKind, Way] = MappingProxyType(
    {
        "phone": "app",
        "phone-chip": "app",
        "iphone": "native",
        "microcontroller": "firmware",
        "microcontroller-board": "firmware",
        "npu-microcontroller": "firmware",
    }
)
"""Kinds that are not named are computers."""
_ORDER: tuple[Way, ...] = ("app", "program", "native")


@dataclass(frozen=True)
class Library:
    """Where programs get a runtime from.

    Source: ai.google.dev/edge/litert (Android, Python, CMake); `InterpreterApi.java` in
    litert/kotlin and `minimal.cc` in tflite/examples of google-ai-edge/LiteRT;
    tensorflow/lite/examples/minimal of tensorflow/tensorflow.
    """

    package: str
    """Name in PyPI."""
    module: str
    """The Python module that has `Interpreter` and `load_delegate`."""
    artifact: str
    """Group and name in Google's Maven repository, or Maven Central."""
    repository: str
    """Source code, with a tag `v` and the version."""
    folder: str
    """The folder of CMakeLists.txt in it, and of headers as they are included."""
    standard: int
    """The standard of C++ that its CMakeLists.txt asks for."""


LIBRARIES: Mapping[RuntimeName, Library] = MappingProxyType(
    {
        "LiteRT": Library(
            package="ai-edge-litert",
            module="ai_edge_litert.interpreter",
            artifact="com.google.ai.edge.litert:litert",
            repository="https://github.com/google-ai-edge/LiteRT.git",
            folder="tflite",
            standard=20,
        ),
        "tflite-runtime": Library(
            package="tflite-runtime",
            module="tflite_runtime.interpreter",
            artifact="org.tensorflow:tensorflow-lite",
            repository="https://github.com/tensorflow/tensorflow.git",
            folder="tensorflow/lite",
            standard=17,
        ),
    }
)
"""By runtime, the one to prefer first; one without a library is linked into firmware."""


@dataclass(frozen=True)
class Chosen:
    """The runtime that a file is loaded in, in the versions that a device lists."""

    name: RuntimeName
    listed: tuple[Runtime, ...]
    """In the order of the profile."""
    misses: tuple[VersionMiss, ...]
    """The operators of the file that some of them lack."""

    @property
    def library(self) -> Library | None:
        """Where programs get it from; None for one that is linked into firmware."""
        return LIBRARIES.get(self.name)

    @property
    def fitting(self) -> tuple[Runtime, ...]:
        """Those that lack nothing."""
        lacking = {miss.runtime for miss in self.misses}
        return tuple(runtime for runtime in self.listed if runtime not in lacking)

    @property
    def version(self) -> str:
        """The version to build with: the last that fits; the last of all where none does."""
        return (self.fitting or self.listed)[-1].version

    @property
    def least(self) -> str:
        """The first version that fits; the last of all where none does."""
        return (self.fitting or self.listed[-1:])[0].version


def ways_of(profile: DeviceProfile, asked: Sequence[Hardware] = ()) -> tuple[Way, ...]:
    """The ways to load a file on a device, the usual one first.

    Args:
      profile: the device.
      asked: the products that were meant; all of the device if empty.
    """
    linked = not any(runtime.name in LIBRARIES for runtime in profile.runtimes)
    if linked or profile.vela is not None or profile.tflm is not None:
        return ("firmware",)
    if profile.delegate is not None:
        return ("program",)
    kinds = {hardware.kind for hardware in asked or profile.hardware}
    found = {_WAY_OF_KIND.get(kind, "program") for kind in kinds}
    return tuple(way for way in _ORDER if way in found) or ("program",)


def languages_of(ways: Sequence[Way]) -> tuple[Language, ...]:
    """The languages of these ways, each once, the usual one first."""
    return tuple(dict.fromkeys(language for way in ways for language in LANGUAGES_OF[way]))


def choose_language(device: str, ways: Sequence[Way], language: str | None) -> tuple[Way, Language]:
    """The way and the language to write a snippet for.

    Args:
      device: what the device is called in a message.
      ways: those of the device.
      language: the usual one if None.

    Raises:
      ProfileError: there is no such language, or files are not loaded by it there.
    """
    known = languages_of(ways)
    for way in ways:
        for each in LANGUAGES_OF[way]:
            if language in (None, each):
                return way, each
    near = suggestion(str(language), known) if language not in LANGUAGES else ""
    raise ProfileError(
        f"{device}: expected a language in which files are loaded there: {', '.join(known)}. "
        f"Received: {language}.{near}"
    )


def choose_runtime(profile: DeviceProfile, way: Way, graph: Graph) -> Chosen | None:
    """The runtime that a file is loaded in on a device; None where the profile lists none for it.

    Args:
      profile: the device, on the route of the file.
      way: how the file is loaded.
      graph: the file.
    """
    listed = [Runtime(each.name, each.version) for each in profile.runtimes]
    linked = dict.fromkeys(runtime.name for runtime in listed if runtime.name not in LIBRARIES)
    names = (
        [*linked]
        if way == "firmware"
        else sorted(LIBRARIES, key=lambda name: not profile.route.pays_in(name))
    )
    for name in names:
        alike = tuple(runtime for runtime in listed if runtime.name == name)
        if alike:
            return Chosen(name, alike, version_misses(graph, alike))
    return None
