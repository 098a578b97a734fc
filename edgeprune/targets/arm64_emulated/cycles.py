"""Modelled cycles of one inference: its hot blocks priced as loops, and its cache misses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgeprune.core.errors import TargetError
from edgeprune.core.terms import CORE_FEATURES, MODELLED_CORES, Core, ModelledCore
from edgeprune.targets.arm64_emulated.llvm_mca import LlvmMca, Price, price_blocks
from edgeprune.targets.arm64_emulated.plugin_log import Code, Executed
from edgeprune.targets.modelled_cycles import ModelledCycles

HOT = 0.99
"""Fraction of the executed instructions whose blocks are priced, the hottest first; what is left
are thousands of blocks that are executed a few times each."""
LEAST_PRICED = 0.9
"""Fraction of the executed instructions below which a core's cycles are not told: its model does
not know the instructions of a hot block, and what it knows is no sample of the rest."""


def hot_blocks(executed: Executed, share: float = HOT) -> tuple[Code, ...]:
    """The fewest blocks that make up a share of the executed instructions, the hottest first."""
    work = {code: len(code) * times for code, times in executed.blocks.items()}
    enough = share * executed.instructions
    found, done = [], 0
    for code in sorted(work, key=lambda code: (-work[code], code)):
        if done >= enough:
            break
        found.append(code)
        done += work[code]
    return tuple(found)


def add_prices(executed: Executed, prices: Mapping[Code, Price]) -> ModelledCycles | None:
    """The cycles of all that was executed; None where too little of it has a price.

    Instructions without a price are taken to cost as much as those with one on average.
    """
    times = executed.blocks
    cycles = sum(times[code] * price.cycles for code, price in prices.items())
    priced = sum(times[code] * price.instructions for code, price in prices.items())
    share = priced / executed.instructions
    if share < LEAST_PRICED:
        return None
    return ModelledCycles(round(cycles / share), share, dict(executed.misses))


def modelled_or_why(
    llvm: LlvmMca | None, executed: Executed | None, core: Core
) -> tuple[dict[ModelledCore, ModelledCycles] | None, tuple[str, ...]]:
    """The cycles of one inference on every core whose model knows its instructions.

    Args:
      llvm: what models them; nothing does if None.
      executed: by one inference; None where nothing models it.
      core: that was emulated.

    Returns:
      None where there are none, and the reasons, unless nothing was to model them.
    """
    if llvm is None or executed is None:
        return None, ()
    hot = hot_blocks(executed)
    try:
        every = {each: price_blocks(llvm, each, hot) for each in MODELLED_CORES}
    except TargetError as error:
        return None, (f"No modelled cycles: {error}",)
    added = {each: add_prices(executed, prices) for each, prices in every.items()}
    found = {each: cycles for each, cycles in added.items() if cycles is not None}
    return found or None, tuple(_doubts(core, [each for each in added if each not in found]))


def _doubts(core: Core, left_out: Sequence[ModelledCore]) -> Iterator[str]:
    """What modelled cycles of code for a core do not hold for.

    Args:
      core: that was emulated.
      left_out: cores whose models do not know enough of the code.
    """
    if left_out:
        yield (
            f"No modelled cycles of {' and '.join(left_out)}: LLVM's model does not know enough of "
            f"what {core} executed."
        )
    features = CORE_FEATURES.get(core, frozenset()) - CORE_FEATURES["neoverse-n1"]
    if features and len(left_out) < len(MODELLED_CORES):
        yield (
            f"The modelled cores do not have {' and '.join(sorted(features))}, which {core} has: "
            "their models price such instructions as they do other vector instructions."
        )
