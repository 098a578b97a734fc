"""Damages .tflite files and puts them through everything that reads them.

Run as a program, in a process with bounded memory and processor time: `FOLDER SEED COUNT MODEL...`
prints one line for each damaged file that does not end well. `damage(model, seed)` gives the same
bytes again for a seed.
"""

from __future__ import annotations

import random
import signal
import struct
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from edgeprune.core.errors import EdgepruneError
from edgeprune.inspection.inspect_file import inspect
from edgeprune.targets.edgetpu_model.estimate import estimate
from edgeprune.tflite.format.file import read
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_densely import densify_file
from edgeprune.tflite.store_sparsely import encode_file

if sys.platform != "win32":
    import resource

ADDRESS_SPACE_BYTES = 3 << 30
PROCESSOR_SECONDS = 60
"""A file whose readers compute for so long keeps them forever: the process is ended. A machine that
is busy with other work does not count."""
RULES = EncodingRules(direct_float32_from=0.1, direct_int8_from=0.1, direct_dynamic_range_from=0.1)
_NUMBERS = (0, 1, 2, 4, 7, 8, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1)


def damage(model: bytes, seed: int) -> bytes:
    """Returns the model with one to four kinds of damage, chosen by the seed."""
    rng = random.Random(seed)  # noqa: S311
    data = bytearray(model)
    kinds = (_flip, _overwrite_number, _overwrite_half, _shift_number, _repeat_number, _copy)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(kinds)(data, rng)
    if rng.random() < 0.05:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def _table_position(data: bytearray, rng: random.Random, align: int) -> int:
    """Picks a position, mostly away from the weights: where a number is followed by small ones."""
    for _ in range(20):
        at = rng.randrange(0, len(data) - 8) // align * align
        if data[at : at + 8].count(0) >= 2:
            return at
    return at


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 8))):
        data[_table_position(data, rng, 1)] ^= 1 << rng.randrange(8)


def _overwrite_number(data: bytearray, rng: random.Random) -> None:
    number = rng.choice((*_NUMBERS, len(data), len(data) - 4, rng.randrange(len(data))))
    struct.pack_into("<I", data, _table_position(data, rng, 4), number % 2**32)


def _overwrite_half(data: bytearray, rng: random.Random) -> None:
    number = rng.choice((0, 1, 2, 3, 4, 6, 8, 12, 65534, 65535))
    struct.pack_into("<H", data, _table_position(data, rng, 2), number)


def _shift_number(data: bytearray, rng: random.Random) -> None:
    at = _table_position(data, rng, 4)
    (number,) = struct.unpack_from("<I", data, at)
    struct.pack_into("<I", data, at, (number + rng.choice((-8, -4, -1, 1, 4, 8, 64))) % 2**32)


def _repeat_number(data: bytearray, rng: random.Random) -> None:
    """Makes an offset lead where another one leads: tables that are shared, or of other types."""
    source, target = (_table_position(data, rng, 4) for _ in range(2))
    (number,) = struct.unpack_from("<I", data, source)
    struct.pack_into("<I", data, target, (source + number - target) % 2**32)


def _copy(data: bytearray, rng: random.Random) -> None:
    source, target = (_table_position(data, rng, 4) for _ in range(2))
    length = rng.choice((8, 32, 128))
    chunk = data[source : source + length]
    data[target : target + len(chunk)] = chunk


def use(path: Path, scratch: Path) -> list[str]:
    """Runs every reader on a file; returns the names of those that accepted it.

    Args:
      path: the file.
      scratch: where `encode` writes; `densify` does beside it, as `.densified`.

    Raises:
      Exception: anything but an `EdgepruneError`, which is how a bad file has to end.
    """
    accepted = []
    for name, action in (
        ("inspect", lambda: inspect(path).to_json()),
        ("inspect for the Edge TPU", lambda: inspect(path, "edge-tpu").to_json()),
        ("model the Edge TPU", lambda: estimate(read(path)).cycles),
        ("encode", lambda: encode_file(path, RULES, scratch)),
        ("densify", lambda: densify_file(path, scratch.with_suffix(".densified"))),
    ):
        try:
            action()
            accepted.append(name)
        except EdgepruneError as error:
            if str(path) not in str(error):
                raise ValueError(f"message without the file: {error}") from error
    return accepted


def limit_processor_time(seconds: float) -> None:
    """Has the process end by a signal after some time; 0 takes the limit back."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, seconds)


def main(folder: Path, first: int, count: int, models: Sequence[Path]) -> None:
    """Prints a line per file that ends in anything but a result or an `EdgepruneError`."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    originals = [model.read_bytes() for model in models]
    accepted = 0
    for seed in range(first, first + count):
        place = seed % len(models)
        path = folder / "damaged.tflite"
        path.write_bytes(damage(originals[place], seed))
        limit_processor_time(PROCESSOR_SECONDS)
        try:
            accepted += bool(use(path, folder / "scratch.tflite"))
        except (Exception, MemoryError):  # noqa: BLE001
            sys.stdout.write(f"{models[place].name} seed {seed}: {traceback.format_exc()[-900:]}\n")
    limit_processor_time(0)
    sys.stdout.write(f"accepted {accepted} of {count}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), [Path(p) for p in sys.argv[4:]])
