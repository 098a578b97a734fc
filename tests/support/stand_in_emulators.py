"""Set-ups of the emulators that look whole and hold nothing, for what only asks what is there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from edgeprune.core.runtime import Runtime
from edgeprune.targets.arm64_emulated.emulator import RECORD, cached_emulator
from edgeprune.targets.arm64_emulated.latest import ADDED_RUNTIMES, cached_latest

TFLITE_RUNTIME = Runtime("tflite-runtime", "2.14.0")
LITERT = Runtime("LiteRT", "2.1.6")
LATEST_LITERT = ADDED_RUNTIMES[-1].runtime


def pretend_first_emulator() -> None:
    """Puts what looks like the first emulator into the cache folder."""
    emulator = cached_emulator()
    wheels = {
        "tflite-runtime": TFLITE_RUNTIME.version,
        "ai-edge-litert": LITERT.version,
        "numpy": "1.26.4",
    }
    (emulator.folder / "site/numpy").mkdir(parents=True)
    _write(emulator.folder / RECORD, json.dumps({"qemu": "7.2.22", "wheels": wheels}))
    for path in (emulator.qemu, emulator.plugin, emulator.cycles_plugin, emulator.python):
        _write(path)


def pretend_latest_emulator() -> None:
    """Puts what looks like the newer emulator beside it."""
    latest = cached_latest()
    _write(latest.built.folder / RECORD, json.dumps({"qemu": "10.0.13"}))
    added = [asdict(added.runtime) for added in ADDED_RUNTIMES]
    _write(latest.parts / RECORD, json.dumps({"runtimes": added}))
    for path in (latest.qemu, latest.plugin, latest.cycles_plugin):
        _write(path)


def _write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
