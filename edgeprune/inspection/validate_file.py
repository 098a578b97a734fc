"""Validation: does an artifact load, compute what it should and fit the device?

Every check has a value, a limit and a message that says what to do. Runtimes run in child
processes, so one that crashes is a failed check.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeprune.conversion.route_of_file import on_route_of
from edgeprune.core.arrays import Array
from edgeprune.core.data import InputSpec, Ports, scales_by_name, with_scales
from edgeprune.core.errors import DataError, TargetError
from edgeprune.core.files import describe_file
from edgeprune.core.layer_noise import noise_in
from edgeprune.core.sources import AnySource, open_source
from edgeprune.inspection.accuracy import EMULATED_SAMPLES, accuracy
from edgeprune.inspection.packing_check import check_packing, check_readers
from edgeprune.inspection.pattern_check import check_pattern
from edgeprune.inspection.reference import is_other_file, run_reference
from edgeprune.profiles.encoding import runtimes_of
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.targets.checks import (
    GENERATED_SAMPLES,
    Case,
    Check,
    Reference,
    Verdict,
    numerics,
)
from edgeprune.targets.child import WorkerError
from edgeprune.targets.find import find_target, own_targets, runs_sparse_networks
from edgeprune.targets.host import HOST, plain_kernels
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.measurement import Settings
from edgeprune.targets.measuring import require_ready
from edgeprune.tflite.decode.plain_form import plain_form
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.file import Graph
from edgeprune.tflite.format.signature import input_ports, output_ports, signature_specs
from edgeprune.tflite.gate import asks_for_sparse, judge_file
from edgeprune.tflite.metadata import asks_for_halves, read_beside, read_embedded, read_manifest
from edgeprune.tflite.op_versions import version_misses
from edgeprune.tflite.remainder import find_remainder, without_remainder

CHECKED_SAMPLES = 32


def validate(
    model: str | Path,
    device: str | Path | DeviceProfile,
    *,
    reference: Any = None,
    x: Any = None,
    route: str | None = None,
    targets: Sequence[str] = (),
    settings: Settings | None = None,
    samples: int = EMULATED_SAMPLES,
) -> Verdict:
    """Checks a .tflite file for a device.

    Of an int8 file, the manifest beside it gives the signal-to-noise ratio of every layer. Of a
    file that computes in half precision, labelled samples give the accuracy too: an ARM64 core
    alone computes so, and the accuracy on this computer would be another file's.

    Args:
      model: the file.
      device: a profile, its name, or the path of a user's own `.toml` file.
      reference: a `.tflite` or `.keras` file, or a Keras model, that computes the right outputs;
        without one the file is only compared with itself run by plain kernels, without XNNPACK.
      x: samples of any kind that `open_source` takes, in the order of the signature or by its
        names; `CHECKED_SAMPLES` of them are run. Generated if None.
      route: one of the profile's routes by its name; if None as `on_route_of` finds it.
      targets: instruments to ask beside this computer and the device's own, such as a board.
      settings: how those are reached.
      samples: the most that the accuracy of a file in half precision is measured on.

    Raises:
      TfliteError: the file, or a `.tflite` reference, does not parse.
      InputError: the reference takes other inputs than the file, or cannot be run.
      TargetError: one of the targets is unknown or cannot be used.
    """
    require_ready(targets)
    graph = tflite_file.read(Path(model))
    profile = on_route_of(graph, load_profile(device), route)
    source = None if x is None else open_source(x, ports_of_file(graph, reference))
    inputs = _inputs(graph, source)
    with without_remainder(graph) as runnable, plain_form(runnable) as plain:
        wanted = None if reference is None else run_reference(reference, runnable, inputs, profile)
        case = Case(runnable, profile, inputs, wanted, settings or Settings())
        checks = (
            *_check_purpose(graph),
            *_check_remainder(graph),
            *check_packing(runnable, plain),
            _check_operators(plain, profile),
            _check_numerics(plain, profile),
            _check_static(graph),
            *_check_flash(graph, profile),
            *check_pattern(plain, profile),
            *_check_sparse_network(plain, profile),
            *_check_targets(case, plain, targets),
            *_check_accuracy(plain, profile, source, samples),
        )
    return Verdict(str(model), profile.name, checks, noise_in(read_beside(graph.path)))


def _inputs(graph: Graph, source: AnySource | None) -> list[Array]:
    """Some of the samples that were given, or generated ones: one array `[n, ...]` per input."""
    if source is None:
        return generated_inputs(graph, GENERATED_SAMPLES)
    return list(source.some(CHECKED_SAMPLES).x)


def ports_of_file(graph: Graph, reference: Any = None) -> Ports:
    """What samples a .tflite file takes; see `inputs_of_file`."""
    outputs = output_ports(graph)
    shapes = [port.shape for port in outputs]
    scores = shapes[0][1] if len(shapes) == 1 and len(shapes[0]) == 2 else None
    return Ports(inputs_of_file(graph, reference), tuple(port.name for port in outputs), scores)


def inputs_of_file(graph: Graph, reference: Any = None) -> tuple[InputSpec, ...]:
    """The inputs of a .tflite file, with the scales that it was made with.

    Its manifest says them; else a Keras model that it is compared with.

    Args:
      graph: the file.
      reference: as `validate` takes it.
    """
    specs = signature_specs(graph)
    scales = (read_embedded(graph.metadata) or {}).get("scale")
    if isinstance(scales, dict):
        return with_scales(specs, scales)
    if reference is None or is_other_file(reference):
        return specs
    from edgeprune.keras_model.files import as_model
    from edgeprune.keras_model.preprocessing import inputs_of

    return with_scales(specs, scales_by_name(inputs_of(as_model(reference)), "auto"))


def _check_targets(case: Case, plain: Graph, asked: Sequence[str]) -> Iterator[Check]:
    """What this computer and the device's own instruments say of a file.

    Instruments that do not unpack weights judge what they unpack to, the file `plain`.
    """
    unpacked = replace(case, graph=plain)
    if plain is not case.graph:
        yield from check_readers(case, HOST.runtimes(case.profile))
    yield from HOST.check(unpacked)
    named = (*own_targets(case.profile), *((name, find_target(name)) for name in asked))
    others = [target for target in dict(named).values() if target is not HOST]
    if others and case.wanted is None:
        wanted = _plain_outputs(unpacked)
        case, unpacked = (replace(each, wanted=wanted) for each in (case, unpacked))
    for target in others:
        yield from target.check(case if target.capabilities.unpacks else unpacked)


def _check_accuracy(
    graph: Graph, profile: DeviceProfile, source: AnySource | None, samples: int
) -> Iterator[Check]:
    """How often a file in half precision names the right class; nothing without labels."""
    if source is None or not asks_for_halves(graph.metadata):
        return
    chosen = source.some(samples)
    if not chosen.labelled:
        return
    name, ok, value = "accuracy (ARM64)", True, None
    try:
        found = accuracy(graph.path, profile, chosen, samples=samples)
    except (DataError, TargetError) as error:
        message = f"not given: {error}"
    except WorkerError as error:
        ok, message = False, f"it does not run there: {error}"
    else:
        name, value = f"accuracy ({found.runtime})", found.value
        message = f"of {found.samples} samples; half precision is computed on ARM64 alone"
    yield Check(name, ok, value, None, message, kind="accuracy")


def _plain_outputs(case: Case) -> Reference | None:
    """What plain kernels make of the file here, if a runtime is installed that runs it."""
    for runtime in HOST.runtimes(case.profile)[:1]:
        found = plain_kernels(case, runtime)
        return found if isinstance(found, Reference) else None
    return None


def _check_purpose(graph: Graph) -> Iterator[Check]:
    """Refuses a file that was made to compare the costs of routes."""
    manifest = read_manifest(graph)
    if manifest.get("measuring_only") is True:
        message = (
            "`edgeprune routes` made this file for measuring only: its weights were pruned or "
            "quantized without regard to what it computes. To get one for use: edgeprune prune "
            f"and export with --route {manifest.get('route')}."
        )
        yield Check("made for use", False, "measuring only", None, message, kind="purpose")


def _check_remainder(graph: Graph) -> Iterator[Check]:
    """Says what of a file is not run."""
    remainder = find_remainder(graph)
    if remainder is not None:
        count, known = len(remainder.operators), len(graph.operators)
        message = (
            f"no runtime has {', '.join(remainder.names)}: {count} of {known} operators are not "
            "run, and outputs are compared in front of them. Try the file on the device."
        )
        yield Check("remainder", True, count, None, message, kind="remainder")


def _check_operators(graph: Graph, profile: DeviceProfile) -> Check:
    misses = version_misses(graph, runtimes_of(profile))
    runtimes = ", ".join(map(str, runtimes_of(profile)))
    message = (
        f"not in the device's runtimes: {'; '.join(map(str, misses))}. Convert the model again "
        "with edgeprune export, or replace the layer."
        if misses
        else f"every operator version is known to {runtimes}"
    )
    return Check("operators", not misses, len(misses), 0, message, kind="operators")


def _check_numerics(graph: Graph, profile: DeviceProfile) -> Check:
    found = numerics(graph)
    known = (profile.numerics, *profile.other_numerics)
    message = (
        f"{profile.name} computes in {' or '.join(known)}"
        if found in known
        else f"{profile.name} wants {' or '.join(known)}. Export the model for this device."
    )
    wanted = " or ".join(known)
    return Check("numerics", found in known, found, wanted, message, kind="numerics")


def _check_static(graph: Graph) -> Check:
    shapes = {port.name: list(port.shape) for port in input_ports(graph)}
    fixed = all(size >= 0 for shape in shapes.values() for size in shape)
    message = (
        "all input sizes are fixed"
        if fixed
        else "devices plan their memory before they run: convert with a fixed size and a batch of 1"
    )
    written = "; ".join(f"{name} {shape}" for name, shape in shapes.items())
    return Check("static shapes", fixed, written, "no size left open", message, kind="shapes")


def _check_flash(graph: Graph, profile: DeviceProfile) -> Iterator[Check]:
    limit = profile.limits.flash_bytes
    size = describe_file(graph.path)
    sizes = f"{size.size_bytes} bytes, {size.gzip_bytes} after gzip"
    others = [name for name, target in own_targets(profile) if target.capabilities.says_flash]
    if limit.value is None or others:
        who = (
            f"what lies in flash is for {', '.join(sorted(others))} to say"
            if others
            else (f"{profile.name} sets no limit")
        )
        yield Check("size", True, size.size_bytes, None, f"{sizes}; {who}", kind="size")
        return
    fits = size.size_bytes <= limit.value
    remedy = "" if fits else "; prune more, or use a smaller model"
    message = f"{sizes} (limit: {limit.source}){remedy}"
    yield Check("size", fits, size.size_bytes, limit.value, message, kind="size")


def _check_sparse_network(graph: Graph, profile: DeviceProfile) -> Iterator[Check]:
    """Whether XNNPACK on ARM64 would run a float file that asks for sparse inference only partly.

    Such a file computes wrong numbers there and right ones on x86.
    """
    if not runs_sparse_networks(profile) or not asks_for_sparse(graph):
        return
    danger = judge_file(graph, runtimes_of(profile))
    if danger is None:
        message = "no operator cuts the network where XNNPACK's sparse mode would be on"
        yield Check("sparse network", True, "sound", "sound", message, kind="sparse-network")
        return
    name, rules = danger.runtime.name, danger.rules_from
    known = "" if rules == danger.runtime else f" (by the rules of {rules})"
    message = f"{name} on ARM64 computes wrong numbers{known}: {danger.reason}. {danger.remedy}"
    yield Check(
        "sparse network", False, "dangerous", "sound", message.strip(), kind="sparse-network"
    )
