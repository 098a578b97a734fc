from __future__ import annotations

import ctypes
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.targets.arm64_emulated import emulator
from edgeprune.targets.arm64_emulated.emulator import PLUGIN_SOURCES, cached_emulator
from edgeprune.targets.arm64_emulated.install import COMPILER_OPTIONS
from edgeprune.targets.arm64_emulated.install_latest import _lay_root
from edgeprune.targets.arm64_emulated.latest import cached_latest
from edgeprune.targets.commands import run_command
from tests.support.stand_in_emulators import pretend_first_emulator, pretend_latest_emulator

assert sys.platform == "linux"

LEVELS = ((64 << 10, 4), (256 << 10, 8), (2 << 20, 16))
"""Bytes and ways of the simulated caches."""
LINE = 64
WRAPPER = """
#include "caches.h"
#define API __attribute__((visibility("default")))
API void access(uint64_t address, uint64_t bytes) { access_bytes(address, bytes); }
API uint64_t missed(unsigned int level) { return misses[level]; }
API void forget(void)
{
    __builtin_memset(level1, 0, sizeof level1);
    __builtin_memset(level2, 0, sizeof level2);
    __builtin_memset(level3, 0, sizeof level3);
    __builtin_memset(misses, 0, sizeof misses);
}
"""
SWEEPS = st.lists(
    st.tuples(
        st.integers(0, 1 << 23),
        st.sampled_from([4, 16, 64, 100, 4096, 16384, 131072]),
        st.integers(1, 600),
        st.sampled_from([1, 4, 16, 32]),
    ),
    max_size=12,
)
"""Address, stride, number and bytes of the accesses of loops; long strides fill single sets."""


class SlowCaches:
    """The same hierarchy, written to be read: every set is a list of lines, the latest last."""

    def __init__(self) -> None:
        self.sets: list[dict[int, OrderedDict[int, None]]] = [{} for _ in LEVELS]
        self.misses = [0, 0, 0]

    def access(self, address: int, count: int) -> None:
        for line in sorted({byte // LINE for byte in range(address, address + count)}):
            self._find(line)

    def _find(self, line: int) -> None:
        for level, (size, ways) in enumerate(LEVELS):
            lines = self.sets[level].setdefault(line % (size // LINE // ways), OrderedDict())
            found = line in lines
            lines[line] = None
            lines.move_to_end(line)
            if len(lines) > ways:
                lines.popitem(last=False)
            if found:
                return
            self.misses[level] += 1


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The simulation of the plugin, compiled alone."""
    folder = tmp_path_factory.mktemp("caches")
    (folder / "wrapper.c").write_text(WRAPPER)
    include = f"-I{PLUGIN_SOURCES[0].parent}"
    library, source = folder / "caches.so", folder / "wrapper.c"
    compiler = ["gcc", *COMPILER_OPTIONS, "-Wall", "-Werror", include]
    run_command("test", [*compiler, "-o", library, source], "Install gcc.")
    return ctypes.CDLL(str(library))


def misses_of(caches: ctypes.CDLL, accesses: list[tuple[int, int]]) -> list[int]:
    caches.forget()
    for address, count in accesses:
        caches.access(ctypes.c_uint64(address), ctypes.c_uint64(count))
    return [caches.missed(level) for level in range(len(LEVELS))]


@settings(max_examples=25)
@given(sweeps=SWEEPS)
def test_the_simulated_caches_miss_what_lists_of_lines_miss(
    caches: ctypes.CDLL, sweeps: list[tuple[int, int, int, int]]
) -> None:
    accesses = [
        (first + stride * step, count)
        for first, stride, steps, count in sweeps
        for step in range(steps)
    ]
    slow = SlowCaches()
    for address, count in accesses:
        slow.access(address, count)
    assert misses_of(caches, accesses) == slow.misses


@pytest.mark.parametrize(
    ("size", "misses"),
    [(64 << 10, [0, 0, 0]), (256 << 10, [4096, 0, 0]), (2 << 20, [32768, 32768, 0])],
)
def test_an_array_is_read_again_without_a_miss_where_it_fits(
    caches: ctypes.CDLL, size: int, misses: list[int]
) -> None:
    once = [(address, LINE) for address in range(0, size, LINE)]
    first, both = misses_of(caches, once), misses_of(caches, 2 * once)
    assert first == [size // LINE] * 3
    assert [b - a for a, b in zip(first, both, strict=True)] == misses


def test_a_set_up_of_other_plugins_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cached_emulator().folder, cached_latest().parts
    changed = tmp_path / "caches.h"
    changed.write_bytes(PLUGIN_SOURCES[-1].read_bytes() + b"/* changed */")
    monkeypatch.setattr(emulator, "PLUGIN_SOURCES", (*PLUGIN_SOURCES[:-1], changed))
    assert cached_emulator().folder != before[0]
    assert cached_latest().parts != before[1]


def test_a_set_up_without_the_plugin_of_cycles_is_not_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pretend_first_emulator()
    assert cached_emulator().complete()
    cached_emulator().cycles_plugin.unlink()
    assert not cached_emulator().complete()


def test_the_files_of_the_newer_emulator_lie_beside_those_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pretend_first_emulator()
    pretend_latest_emulator()
    first, latest = cached_emulator(), cached_latest()
    before = sorted(first.root.iterdir())
    _lay_root(latest)
    assert sorted(first.root.iterdir()) == before
    root = latest.parts / "root"
    assert (root / "proc/cpuinfo").read_text().startswith("processor\t: 0")
    assert (root / "usr").resolve() == first.root / "usr"
