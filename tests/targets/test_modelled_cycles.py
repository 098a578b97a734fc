from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.targets.arm64_emulated import ARM64_EMULATED, cycles, llvm_mca, target
from edgeprune.targets.arm64_emulated.cycles import add_prices, hot_blocks, modelled_or_why
from edgeprune.targets.arm64_emulated.llvm_mca import (
    LlvmMca,
    Price,
    find_llvm_mca,
    price_blocks,
    prices_of,
    read_disassembly,
    write_regions,
)
from edgeprune.targets.arm64_emulated.plugin_log import Executed, read_executed
from edgeprune.targets.child import WorkerError
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.measurement import Measurement, Measurements, modelled_grid
from edgeprune.targets.measuring import measure
from edgeprune.targets.modelled_cycles import ModelledCycles, fewer_cycles_text
from edgeprune.tflite.format.file import read
from tests.support.tiny_tflite import fully_connected

assert sys.platform == "linux"

MISSES = {"l1": 30, "l2": 20, "l3": 10}
FMLA = 0x4E22CC20  # fmla v0.4s, v1.4s, v2.4s
ADD = 0x91000400  # add x0, x0, #1
LDADD = 0xF8210062  # ldadd x1, x2, [x3]
NOTHING = 0xFFFFFFFF  # no instruction


def executed(blocks: dict[tuple[int, ...], int]) -> Executed:
    return Executed(blocks, MISSES)


def test_code_that_was_translated_twice_is_one_block() -> None:
    log = (
        "misses l1=30 l2=20 l3=10\n"
        "block 5 4e22cc2091000400\n"
        "block 7 91000400\n"
        "block 2 4e22cc2091000400\n"
        "instructions loads_stores=0 vector=7 branches=0 other=14\n"
    )
    found = read_executed(log)
    assert found.blocks == {(FMLA, ADD): 7, (ADD,): 7}
    assert found.misses == MISSES
    assert found.instructions == 21


@pytest.mark.parametrize(
    "log",
    [
        "",
        "misses l1=3 l2=2 l3=1\n",
        "block 5 4e22cc20\n",
        "misses l1=3 l2=2 l3=1\nmisses l1=3 l2=2 l3=1\nblock 5 4e22cc20\n",
    ],
)
def test_a_log_that_is_not_of_one_inference_is_an_error(log: str) -> None:
    with pytest.raises(WorkerError, match="report blocks, and cache misses once"):
        read_executed(log)


BLOCKS = st.dictionaries(
    st.lists(st.integers(0, 9), min_size=1, max_size=5).map(tuple),
    st.integers(1, 50),
    min_size=1,
    max_size=6,
)


@given(BLOCKS, st.sampled_from([0.3, 0.5, 0.9, 0.99, 1.0]))
def test_hot_blocks_are_the_fewest_that_make_up_the_share(
    blocks: dict[tuple[int, ...], int], share: float
) -> None:
    found = hot_blocks(executed(blocks), share)
    work = {code: len(code) * times for code, times in blocks.items()}
    enough = share * sum(work.values())
    fewest = next(
        size
        for size in range(len(work) + 1)
        if any(sum(work[c] for c in some) >= enough for some in itertools.combinations(work, size))
    )
    assert len(found) == len(set(found)) == fewest
    assert sum(work[code] for code in found) >= enough


def test_code_without_a_price_costs_as_much_as_the_rest_on_average() -> None:
    """90 of 100 instructions take 45 cycles: two instructions per cycle, also in the other ten."""
    run = executed({(1, 2, 3): 30, (4,): 10})
    found = add_prices(run, {(1, 2, 3): Price(1.5, 3)})
    assert found == ModelledCycles(50, 0.9, MISSES)


def test_a_core_that_knows_too_little_of_the_code_has_no_cycles() -> None:
    run = executed({(1, 2, 3): 30, (4,): 11})
    assert add_prices(run, {(1, 2, 3): Price(1.5, 3)}) is None
    assert add_prices(run, {}) is None


def report(**regions: dict[str, int]) -> Any:
    return {
        "CodeRegions": [
            {"Name": name.removeprefix("block"), "Instructions": [], "SummaryView": summary}
            for name, summary in regions.items()
        ]
    }


def summary(iterations: int, cycles: int, instructions: int) -> dict[str, int]:
    return {"Iterations": iterations, "TotalCycles": cycles, "Instructions": instructions}


def test_a_price_is_what_one_more_iteration_adds() -> None:
    """The model knows two of three instructions of the second block, and nothing of the third."""
    blocks = [(1, 2), (1, 2, 3), (4,)]
    few = report(block0=summary(20, 113, 40), block1=summary(20, 30, 40))
    many = report(block0=summary(60, 313, 120), block1=summary(60, 80, 120))
    assert prices_of(blocks, few, many) == {(1, 2): Price(5, 2), (1, 2, 3): Price(1.25, 2)}


def test_a_disassembly_is_read_by_its_encodings() -> None:
    lines = [
        "\t.text",
        "\tfmla\tv0.4s, v1.4s, v2.4s           // encoding: [0x20,0xcc,0x22,0x4e]",
        "\tadd\tx0, x0, #1  // encoding: [0x00,0x04,0x00,0x91]",
    ]
    texts = dict(read_disassembly(lines))
    assert texts == {FMLA: "fmla\tv0.4s, v1.4s, v2.4s", ADD: "add\tx0, x0, #1"}
    assert list(write_regions([(ADD, NOTHING, ADD), (FMLA,)], texts)) == [
        "# LLVM-MCA-BEGIN 0",
        "add\tx0, x0, #1",
        "add\tx0, x0, #1",
        "# LLVM-MCA-END",
        "# LLVM-MCA-BEGIN 1",
        "fmla\tv0.4s, v1.4s, v2.4s",
        "# LLVM-MCA-END",
    ]


def pretend_llvm(folder: Path, version: str, *, suffix: str = "", alone: bool = False) -> Path:
    """Puts what says that it is llvm-mca into a folder, with a disassembler unless it is alone."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"llvm-mca{suffix}"
    program.write_text(f'#!/bin/sh\necho "Debian LLVM version {version}"\n')
    program.chmod(0o755)
    if not alone:
        (folder / f"llvm-mc{suffix}").write_bytes(program.read_bytes())
        (folder / f"llvm-mc{suffix}").chmod(0o755)
    return program


@pytest.fixture
def no_llvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder on the PATH, and one in place of /usr/lib."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin-that-is-not-there")
    monkeypatch.setattr(llvm_mca, "FOLDERS", str(tmp_path / "lib"))
    return tmp_path


def test_the_newest_llvm_of_the_path_and_of_debian_is_taken(no_llvm: Path) -> None:
    assert find_llvm_mca() is None
    pretend_llvm(no_llvm / "bin", "14.0.6")
    assert find_llvm_mca() is None
    first = pretend_llvm(no_llvm / "bin", "19.1.7", suffix="-19")
    assert find_llvm_mca() == LlvmMca(first, no_llvm / "bin/llvm-mc-19", "19.1.7")
    newest = pretend_llvm(no_llvm / "lib/llvm-100/bin", "100.0.1")
    pretend_llvm(no_llvm / "lib/llvm-22/bin", "22.1.0")
    pretend_llvm(no_llvm / "lib/llvm-101/bin", "101.0.0", alone=True)
    found = find_llvm_mca()
    assert found is not None
    assert (found.program, found.version) == (newest, "100.0.1")


def test_a_program_that_does_not_start_is_not_taken(no_llvm: Path) -> None:
    pretend_llvm(no_llvm / "bin", "19.1.7").write_text("#!/bin/sh\nexit 1\n")
    assert find_llvm_mca() is None


def test_an_llvm_that_fails_leaves_the_count_and_says_why(no_llvm: Path) -> None:
    program = pretend_llvm(no_llvm / "bin", "19.1.7")
    llvm = find_llvm_mca()
    assert llvm is not None
    run = executed({(ADD,): 1})
    found, (why,) = modelled_or_why(llvm, run, "cortex-a76")
    assert found is None
    assert why.startswith("No modelled cycles: arm64-emulated: expected JSON from")
    assert "apt-get install --no-install-recommends llvm-19" in why
    program.write_text("#!/bin/sh\nexit 3\n")
    found, (why,) = modelled_or_why(llvm, run, "cortex-a76")
    assert found is None
    assert "exit code 3" in why
    assert modelled_or_why(None, run, "cortex-a76") == (None, ())


def test_what_the_cycles_do_not_hold_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    run, llvm = executed({(FMLA,): 10}), LlvmMca(Path("x"), Path("y"), "19.1.7")

    def known_to(*cores: str) -> None:
        monkeypatch.setattr(
            cycles,
            "price_blocks",
            lambda _, core, blocks: {code: Price(2, 1) for code in blocks if core in cores},
        )

    known_to("neoverse-n1", "cortex-a55")
    assert modelled_or_why(llvm, run, "cortex-a53")[1] == ()
    (doubt,) = modelled_or_why(llvm, run, "cortex-a710")[1]
    assert "do not have bfloat16 and int8-matrix, which cortex-a710 has" in doubt
    known_to("cortex-a55")
    found, (doubt,) = modelled_or_why(llvm, run, "cortex-a76")
    assert found == {"cortex-a55": ModelledCycles(20, 1.0, MISSES)}
    assert doubt.startswith("No modelled cycles of neoverse-n1: ")
    known_to()
    found, (doubt,) = modelled_or_why(llvm, run, "cortex-a710")
    assert found is None
    assert "neoverse-n1 and cortex-a55" in doubt


def modelled(big: int, little: int) -> dict[Any, ModelledCycles]:
    return {
        "neoverse-n1": ModelledCycles(big, 0.99, MISSES),
        "cortex-a55": ModelledCycles(little, 0.985, MISSES),
    }


def measured(name: str, cycles: dict[Any, ModelledCycles] | None) -> Measurement:
    return Measurement(
        *(name, "d", "arm64-emulated", "r", True, 1, 1),
        instructions=1_000_000,
        modelled_cycles=cycles,
    )


def test_a_gain_by_modelled_cycles_is_named_so() -> None:
    dense, pruned = modelled(5_000_000, 9_000_000), modelled(2_000_000, 6_000_000)
    assert fewer_cycles_text(dense, pruned) == (
        "2.50x by modelled cycles of neoverse-n1, 1.50x of cortex-a55"
    )
    assert fewer_cycles_text(dense, None) == fewer_cycles_text(None, pruned) == ""


def test_modelled_cycles_have_a_table_of_their_own_below_the_counts() -> None:
    found = Measurements(
        [
            measured("dense", modelled(5_000_000, 9_000_000)),
            measured("pruned", modelled(2_000_000, 6_000_000)),
        ]
    )
    counts, table = found.grids()
    assert counts.title == "d: simulated by arm64-emulated, r"
    assert table == modelled_grid(found)
    assert "modelled cycles of one inference" in table.title
    assert [[str(cell) for cell in row] for row in table.rows] == [
        ["dense", "neoverse-n1", "5.000", "99.0%", "0.000030", "0.000020", "0.000010", "-"],
        ["dense", "cortex-a55", "9.000", "98.5%", "0.000030", "0.000020", "0.000010", "-"],
        *(
            [
                "pruned",
                core,
                cycles,
                share,
                "0.000030",
                "0.000020",
                "0.000010",
                f"{gain}x by modelled cycles",
            ]
            for core, cycles, share, gain in (
                ("neoverse-n1", "2.000", "99.0%", "2.50"),
                ("cortex-a55", "6.000", "98.5%", "1.50"),
            )
        ),
    ]
    assert len(Measurements([measured("dense", None)]).grids()) == 1
    assert found[0].to_json()["modelled_cycles"]["cortex-a55"] == {
        "cycles": 9_000_000,
        "priced": 0.985,
        "misses": MISSES,
    }


@pytest.mark.slow
def test_llvm_prices_a_chain_by_latency_and_independent_code_by_throughput() -> None:
    """Multiply-adds into one register wait for each other; into eight they fill both pipes of
    neoverse-n1, and on cortex-a55, which has one of 128 bits for them, take a cycle each.
    """
    llvm = find_llvm_mca()
    assert llvm is not None
    chain, wide = (FMLA,) * 8, tuple(FMLA + register for register in range(3, 11))
    big = price_blocks(llvm, "neoverse-n1", [chain, wide])
    assert (big[chain].instructions, big[wide].instructions) == (8, 8)
    assert big[wide].cycles == pytest.approx(4, abs=0.3)
    assert big[chain].cycles >= 2 * 8
    little = price_blocks(llvm, "cortex-a55", [chain, wide])
    assert little[chain].cycles > little[wide].cycles >= big[wide].cycles


@pytest.mark.slow
def test_llvm_leaves_out_what_it_does_not_know() -> None:
    llvm = find_llvm_mca()
    assert llvm is not None
    mixed, unknown = (ADD, LDADD, NOTHING, ADD), (NOTHING,)
    prices = price_blocks(llvm, "neoverse-n1", [mixed, unknown, (ADD,)])
    assert prices[mixed].instructions == 2
    assert unknown not in prices
    assert prices[mixed].cycles == pytest.approx(2 * prices[ADD,].cycles, rel=0.01)


@pytest.mark.slow
@pytest.mark.usefixtures("emulator")
class TestEmulated:
    def test_cycles_grow_with_the_work_and_weights_miss_the_caches_they_do_not_fit(
        self, tmp_path: Path
    ) -> None:
        """Weights of 1 MB are read once: more than two levels hold, and less than the third."""
        small = fully_connected(tmp_path / "small.tflite", np.ones((256, 256)))
        large = fully_connected(tmp_path / "large.tflite", np.ones((512, 512)))
        found = measure([small, large], "xnnpack-arm64", runtime="LiteRT")
        assert [list(m.modelled_cycles or {}) for m in found] == [["neoverse-n1", "cortex-a55"]] * 2
        first, second = (m.modelled_cycles or {} for m in found)
        for core in first:
            assert 2 < second[core].cycles / first[core].cycles < 6
            assert second[core].priced > 0.95
        assert first["neoverse-n1"].cycles < first["cortex-a55"].cycles
        misses = second["neoverse-n1"].misses
        lines = 512 * 512 * 4 // 64
        assert misses["l1"] == pytest.approx(lines, rel=0.05)
        assert misses["l2"] == pytest.approx(lines, rel=0.05)
        assert misses["l3"] < lines / 20
        assert found[0].cycles_core == "neoverse-n1"
        assert all("llvm-mca" in m.conditions and m.warnings == () for m in found)

    def test_blocks_are_what_is_counted_and_do_not_change_it(self, tmp_path: Path) -> None:
        graph = read(fully_connected(tmp_path / "m.tflite", np.ones((512, 512))))
        inputs = generated_inputs(graph, 1)
        plain = ARM64_EMULATED.count(graph, inputs, "LiteRT").facts
        facts = ARM64_EMULATED.count(graph, inputs, "LiteRT", blocks=True).facts
        assert facts["instructions"] == pytest.approx(plain["instructions"], rel=1e-5)
        executed = facts["executed"].instructions
        assert executed == pytest.approx(facts["instructions"], rel=0.01)

    def test_without_llvm_or_with_several_threads_none_are_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = fully_connected(tmp_path / "m.tflite", np.ones((64, 64)))
        (found,) = measure([path], "xnnpack-arm64", runtime="LiteRT", threads=2)
        assert found.modelled_cycles is None
        monkeypatch.setattr(target, "find_llvm_mca", lambda: None)
        (found,) = measure([path], "xnnpack-arm64", runtime="LiteRT")
        assert found.modelled_cycles is None
        assert "modelled" not in found.conditions
        assert found.to_json()["modelled_cycles"] is None
