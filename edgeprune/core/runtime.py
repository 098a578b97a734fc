"""Runtimes: programs that load and compute .tflite files, each at one version."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

RuntimeName: TypeAlias = Literal["tflite-runtime", "LiteRT", "TFLM"]
"""Names of the runtimes whose kernels are known; TFLM is TensorFlow Lite Micro."""


@dataclass(frozen=True)
class Runtime:
    """A runtime at a version; as text `"LiteRT 2.1.6"`, the form that files use."""

    name: RuntimeName
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def read_runtime(text: str) -> tuple[str, str | None]:
    """Name and version of `NAME[==VERSION]`, the form that people type; None is any version."""
    name, _, version = text.partition("==")
    return name, version or None


def installed_version(package: str) -> str | None:
    """The version of a package beside edgeprune, not imported; None if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def nearest_known(runtime: Runtime, known: Iterable[Runtime]) -> Runtime | None:
    """The runtime whose facts hold for another one, as far as anybody knows.

    Of the known versions under the same name it is the newest that is not newer than `runtime`,
    else the oldest. Versions are compared by their numbers, so one without any is the oldest.

    Returns:
      One of `known`; None if there is none under that name.
    """
    alike = sorted((each for each in known if each.name == runtime.name), key=_numbers)
    older = [each for each in alike if _numbers(each) <= _numbers(runtime)]
    return next(iter([*reversed(older), *alike]), None)


def _numbers(runtime: Runtime) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", runtime.version))
