"""Encodes a file or makes it dense again, and prints the peak memory; run as a program.

`tests.support.encode_memory SOURCE OUTPUT encode|densify`
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_densely import densify_file
from edgeprune.tflite.store_sparsely import encode_file


def main(source: Path, output: Path, step: str) -> None:
    """Prints the peak memory of the whole process in bytes."""
    if step == "encode":
        encode_file(source, EncodingRules(), output)
    else:
        densify_file(source, output)
    sys.stdout.write(f"{peak_bytes()}\n")


def peak_bytes() -> int:
    """Returns the most memory that this program held; `ru_maxrss` counts its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
