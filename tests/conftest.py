"""What all tests share: a quiet TensorFlow, no emulator but where asked for, real data if there.

Tests run in several processes (pytest-xdist), on machines that may be busy: none looks at a clock.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.runtimes import NEEDS_REFERENCE, has_wheel

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# pytest-xdist gives its processes a terminal's width; tests look at what is written without one.
os.environ.pop("COLUMNS", None)

# A test is as slow as the machine is busy; only what it finds counts.
settings.register_profile("edgeprune", deadline=None)
settings.load_profile("edgeprune")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
"""Real data beside the checkout; tests that use it stand in tests/shared."""
CACHE = "XDG_CACHE_HOME"

collect_ignore = [] if SHARED_DATA.is_dir() else ["shared"]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leaves out modules that say, in a line of their own, that they are for another system."""
    lines = {
        "linux": (),
        "win32": ('assert sys.platform == "linux"', 'assert sys.platform != "win32"'),
    }.get(sys.platform, ('assert sys.platform == "linux"',))
    if not lines or collection_path.suffix != ".py":
        return None
    said = collection_path.read_text(encoding="utf-8").splitlines()
    return True if set(lines) & set(said) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what needs the reference runtime where no wheel of it exists, and Linux."""
    lacking = [
        *([] if has_wheel() else [NEEDS_REFERENCE]),
        *([] if sys.platform == "linux" else ["linux"]),
    ]
    without = [item for item in items if any(map(item.get_closest_marker, lacking))]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]


@pytest.fixture(scope="session", autouse=True)
def users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Gives tests an empty cache folder, so that they do not depend on what is installed.

    Yields the user's own, where the emulator is kept from one run of the tests to the next.
    """
    own = os.environ.get(CACHE, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(tmp_path_factory.mktemp("cache")))
        yield own


@pytest.fixture(scope="session")
def installed(users_cache: str) -> str:
    """Sets the emulator up in the user's cache folder, once; a first time downloads 75 MB."""
    from edgeprune.targets.arm64_emulated import ARM64_EMULATED

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, users_cache)
        ARM64_EMULATED.install(lambda *_: None)
    return users_cache


@pytest.fixture
def emulator(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the emulator available to a test."""
    monkeypatch.setenv(CACHE, installed)
