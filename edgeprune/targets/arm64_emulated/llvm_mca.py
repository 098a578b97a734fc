"""llvm-mca, which prices blocks of code by LLVM's scheduling model of a core."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgeprune.core.errors import TargetError
from edgeprune.core.terms import ModelledCore
from edgeprune.targets.arm64_emulated.emulator import NAME, version_numbers
from edgeprune.targets.arm64_emulated.plugin_log import Code
from edgeprune.targets.commands import run_command

OLDEST_LLVM = 19
"""Before it llvm-mca does not skip instructions that it does not know; 14 prices neoverse-n1 by the
model of cortex-a57."""
INSTALL_LLVM = f"apt-get install --no-install-recommends llvm-{OLDEST_LLVM}"
FOLDERS = "/usr/lib"
"""Where Debian's packages have a folder for each version of LLVM."""
OPTIONS: Mapping[ModelledCore, tuple[str, ...]] = MappingProxyType(
    {"neoverse-n1": ("-dispatch=4",)}
)
"""What differs from LLVM's model: neoverse-n1 takes 4 instructions per cycle, where LLVM 19 has 8
and LLVM 22 has 3.

Source: Pellegrini et al., "The Arm Neoverse N1 Platform", IEEE Micro 40(2), 2020.
"""
ITERATIONS = (20, 60)
"""How often a block is repeated. On MobileNetV1 the difference of 20 and 50 and that of 100 and 200
are the same to 1e-5."""
_TARGET = ("-triple=aarch64", "-mattr=+all")
_REMEDY = f"Install another version of LLVM: {INSTALL_LLVM}"


@dataclass(frozen=True)
class LlvmMca:
    """An llvm-mca and the disassembler beside it."""

    program: Path
    disassembler: Path
    version: str
    """Such as `19.1.7`."""


@dataclass(frozen=True)
class Price:
    """What one execution of a block costs in the long run."""

    cycles: float
    instructions: int
    """Those that the model knows; the others are left out of the cycles."""


def find_llvm_mca() -> LlvmMca | None:
    """The newest that is on the PATH or where Debian puts LLVM; None if there is none."""
    found = filter(None, map(_described, dict.fromkeys(_candidates())))
    return max(found, key=lambda llvm: version_numbers(llvm.version), default=None)


def _candidates() -> Iterator[Path]:
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        names = Path(folder).glob("llvm-mca*") if folder else ()
        yield from (path.resolve() for path in names if re.fullmatch(r"llvm-mca(-\d+)?", path.name))
    yield from (path.resolve() for path in Path(FOLDERS).glob("llvm-*/bin/llvm-mca"))


def _described(program: Path) -> LlvmMca | None:
    """The program with its version; None if it is too old, does not start or is alone."""
    disassembler = program.with_name(program.name.replace("llvm-mca", "llvm-mc"))
    if not os.access(disassembler, os.X_OK):
        return None
    try:
        said = run_command(NAME, [program, "--version"], _REMEDY)
    except TargetError:
        return None
    version = re.search(r"LLVM version (\d+(?:\.\d+)*)", said)
    if version is None or version_numbers(version[1])[0] < OLDEST_LLVM:
        return None
    return LlvmMca(program, disassembler, version[1])


def price_blocks(llvm: LlvmMca, core: ModelledCore, blocks: Sequence[Code]) -> dict[Code, Price]:
    """Prices blocks as loops: the cycles that one more iteration of each adds.

    What fills and empties the pipeline is in no price: an out-of-order core does that while it
    executes what comes before and after.

    Args:
      llvm: what prices them.
      core: whose model is used.
      blocks: the code; where the model knows nothing of a block, it has no price.

    Raises:
      TargetError: llvm-mca or its disassembler fails.
    """
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        source = Path(folder) / "blocks.s"
        opcodes = {opcode for code in blocks for opcode in code}
        lines = write_regions(blocks, _disassemble(llvm, sorted(opcodes), Path(folder)))
        source.write_text("\n".join(lines) + "\n", encoding="utf-8")
        few, many = (_analyse(llvm, core, source, count) for count in ITERATIONS)
    return prices_of(blocks, few, many)


def write_regions(blocks: Sequence[Code], texts: Mapping[int, str]) -> Iterator[str]:
    """The lines of a source in which every block is a region named by its place.

    Args:
      blocks: the code.
      texts: of every opcode its line; one that is no instruction is left out.
    """
    for place, code in enumerate(blocks):
        yield f"# LLVM-MCA-BEGIN {place}"
        yield from (texts[opcode] for opcode in code if opcode in texts)
        yield "# LLVM-MCA-END"


def prices_of(blocks: Sequence[Code], few: Any, many: Any) -> dict[Code, Price]:
    """The prices of blocks from two reports of llvm-mca as JSON, the second of more iterations."""
    first, second = _summaries(few), _summaries(many)
    found = {}
    for place in sorted(first.keys() & second.keys()):
        a, b = first[place], second[place]
        more = b["Iterations"] - a["Iterations"]
        cycles = (b["TotalCycles"] - a["TotalCycles"]) / more
        found[blocks[place]] = Price(cycles, b["Instructions"] // b["Iterations"])
    return found


def _summaries(report: Any) -> dict[int, dict[str, int]]:
    """What a report sums up of every region, by its place."""
    return {int(region["Name"]): region["SummaryView"] for region in report["CodeRegions"]}


def _analyse(llvm: LlvmMca, core: ModelledCore, source: Path, iterations: int) -> Any:
    """A report as JSON; an instruction that the model does not know is left out.

    The callee of a call is code of its own: the call itself takes a cycle.
    """
    said = run_command(
        NAME,
        [
            *(llvm.program, "-mtriple=aarch64", f"-mcpu={core}", *_TARGET[1:]),
            *OPTIONS.get(core, ()),
            *(f"-iterations={iterations}", "-call-latency=1", "-json"),
            *("-skip-unsupported-instructions=any", "-instruction-info=0", "-resource-pressure=0"),
            source,
        ],
        _REMEDY,
    )
    try:
        return json.loads(said)
    except ValueError as error:
        raise TargetError(
            f"{NAME}: expected JSON from {llvm.program}. Received: {said[:200]!r}. {_REMEDY}"
        ) from error


def _disassemble(llvm: LlvmMca, opcodes: Sequence[int], folder: Path) -> dict[int, str]:
    """The assembler line of every opcode that is an instruction."""
    source = folder / "opcodes.txt"
    rows = (" ".join(f"0x{byte:02x}" for byte in op.to_bytes(4, "little")) for op in opcodes)
    source.write_text("\n".join(rows) + "\n", encoding="utf-8")
    said = run_command(
        NAME, [llvm.disassembler, "-disassemble", *_TARGET, "-show-encoding", source], _REMEDY
    )
    return dict(read_disassembly(said.splitlines()))


def read_disassembly(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The opcode and the text of every line such as `nop // encoding: [0x1f,0x20,0x03,0xd5]`."""
    for line in lines:
        found = re.fullmatch(r"\s*(.+?)\s*// encoding: \[(0x..(?:,0x..){3})\]", line)
        if found is not None:
            code = bytes(int(byte, 16) for byte in found[2].split(","))
            yield int.from_bytes(code, "little"), found[1]
