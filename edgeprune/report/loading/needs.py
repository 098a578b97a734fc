"""What a file needs of the place that it runs in, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from edgeprune.profiles.profile import DeviceProfile
from edgeprune.report.loading.facts import FileFacts
from edgeprune.report.loading.ways import Chosen, Way


def needs_of(
    facts: FileFacts, profile: DeviceProfile, way: Way, runtime: Chosen | None
) -> tuple[str, ...]:
    """What has to be there for a file to run, and what it does by itself.

    Args:
      facts: of the file.
      profile: the device, on the route of the file.
      way: how it is loaded.
      runtime: what it is loaded in; None where the device lists none.
    """
    return (
        *_measuring_only(facts),
        *_runtime(runtime),
        *_weights(facts, way),
        *_accelerator(facts, profile),
        *_halves(facts, way),
    )


def _measuring_only(facts: FileFacts) -> Iterator[str]:
    if facts.measuring_only:
        yield "This file is for measuring only: its outputs are worth nothing. Do not ship it."


def _runtime(runtime: Chosen | None) -> Iterator[str]:
    if runtime is None:
        return
    if runtime.fitting:
        later = " or later" if runtime.library and len(runtime.fitting) > 1 else ""
        asked = " and ".join(each.version for each in runtime.fitting)
        yield (
            f"{runtime.name} {runtime.least}{later}, which has every operator of this file in its "
            f"version (asked of {asked})."
        )
    for miss in runtime.misses:
        yield f"{miss.runtime} does not run it: {miss}."


def _weights(facts: FileFacts, way: Way) -> Iterator[str]:
    if facts.sparse and way == "firmware":
        yield "Weights are stored sparsely, which firmware misreads; `edgeprune densify` undoes it."
    elif facts.sparse and any(each.restores_floats for each in facts.graph.subgraphs):
        yield (
            "Weights are stored sparsely: XNNPACK's sparse kernels skip the zeros. It is on unless "
            "it is switched off; no other flag is needed."
        )
    elif facts.sparse:
        yield "Weights are stored sparsely, and the runtime's own kernels skip the zeros."
    if facts.packed:
        yield (
            "Weights are packed: the operator DECODE of TensorFlow Lite Micro unpacks them at "
            "every inference."
        )


def _accelerator(facts: FileFacts, profile: DeviceProfile) -> Iterator[str]:
    delegate = profile.delegate
    if delegate is not None:
        yield f"The delegate {delegate.library}, and the file compiled for it."
        if delegate.operator not in facts.customs:
            made = delegate.compiled.replace("{stem}", facts.stem)
            yield f"This file is not compiled yet; the compiler writes {made}."
    if profile.vela is not None:
        yield "TensorFlow Lite Micro with the Ethos-U driver, and the file compiled for the NPU."


def _halves(facts: FileFacts, way: Way) -> Iterator[str]:
    if facts.halves and way != "firmware":
        yield (
            "The file allows half precision (reduced_precision_support in its metadata): "
            "XNNPACK computes in fp16 on cores that have it, in float32 elsewhere, by itself."
        )
