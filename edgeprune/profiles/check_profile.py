"""Judges a profile that a person wrote: what is wrong with it, and at which line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgeprune.core.errors import ProfileError
from edgeprune.core.schema import Problem, problems_of
from edgeprune.profiles.folder import profile_names, read_toml
from edgeprune.profiles.kernel_costs import costs_of
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.profiles.toml_lines import line_of
from edgeprune.tflite.op_versions import op_versions


@dataclass(frozen=True)
class ProfileProblem:
    """What is wrong with one key of a profile's file."""

    key: str
    line: int | None
    """Counted from 1; of the table around it where the key is missing; None if not known."""
    expected: str
    received: str | None
    """None if the key is missing."""
    message: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.message}"


@dataclass(frozen=True)
class ProfileCheck:
    """The verdict on a profile's file."""

    path: Path
    profile: DeviceProfile | None
    """None if there are problems."""
    problems: tuple[ProfileProblem, ...]
    remarks: tuple[str, ...] = ()
    """What is valid, and less than it could be."""

    @property
    def ok(self) -> bool:
        """Whether every command takes the profile."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The verdict as a document."""
        return {
            "profile": str(self.path),
            "device": self.profile.name if self.profile else None,
            "ok": self.ok,
            "problems": [asdict(problem) for problem in self.problems],
            "remarks": list(self.remarks),
        }


def check_profile(path: Path) -> ProfileCheck:
    """Reads a profile's file and says all that is wrong with it.

    Raises:
      ProfileError: the file cannot be read, or is not TOML; says where.
    """
    content = read_toml(path)
    text = path.read_text(encoding="utf-8")
    try:
        profile = DeviceProfile.model_validate(content)
    except ValidationError as error:
        found = problems_of(error, DeviceProfile)
        return ProfileCheck(path, None, tuple(_located(problem, text) for problem in found))
    problems = tuple(_cost_problems(profile, text))
    return ProfileCheck(path, None if problems else profile, problems, tuple(_remarks(profile)))


def _located(problem: Problem, text: str) -> ProfileProblem:
    return ProfileProblem(
        key=problem.key,
        line=line_of(text, problem.location),
        expected=problem.expected,
        received=problem.received,
        message=problem.message.replace("Input should be", "expected"),
    )


def _cost_problems(profile: DeviceProfile, text: str) -> Iterator[ProfileProblem]:
    """What is wrong with the cost table that a profile names."""
    if profile.costs is None:
        return
    try:
        costs_of(profile)
    except ProfileError as error:
        expected = "`core`, or the path of a .toml that can be read"
        yield ProfileProblem(
            key="costs",
            line=line_of(text, ("costs",)),
            expected=expected,
            received=repr(profile.costs),
            message=f"key 'costs': expected {expected}. Received: {profile.costs!r} ({error})",
        )


def _remarks(profile: DeviceProfile) -> Iterator[str]:
    if profile.name in profile_names():
        yield f"'{profile.name}' is the name of a profile that comes with edgeprune: choose another"
    for runtime in profile.runtimes:
        if f"{runtime.name} {runtime.version}" not in op_versions():
            yield (
                f"{runtime.name} {runtime.version} is not among the versions whose operators are "
                "known, so these are not checked"
            )
    unknown = [
        name
        for name in ("flash_bytes", "arena_bytes", "on_chip_bytes")
        if getattr(profile.limits, name).value is None
    ]
    if unknown:
        yield f"no file is held against limits that are unknown: {', '.join(unknown)}"
