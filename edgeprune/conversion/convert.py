"""Converts a Keras model to a .tflite file that the device's runtimes can load.

The TensorFlow converter does the conversion. This module ensures what it leaves open: a batch of 1,
input and output names in the signature, number formats, operator versions that the runtimes
support, and that every zero of the pruned kernels is still a zero in the file.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.conversion.check_written import check_written
from edgeprune.conversion.export_file import Asked, asked_of_file, export_file, with_names_of
from edgeprune.conversion.exported import Exported
from edgeprune.conversion.finish import (
    encode_draft,
    require_packing,
    slimming_for,
    with_rows,
    write_finished,
)
from edgeprune.conversion.fixed_batch import fixed_lengths, require_single_samples
from edgeprune.conversion.from_keras import (
    MAX_CALIBRATION_SAMPLES,
    calibration,
    convert,
    quantized,
)
from edgeprune.conversion.given import Given, as_given, exportable, file_of
from edgeprune.conversion.int8.tails import measure_tails
from edgeprune.conversion.labels import with_labels
from edgeprune.conversion.lift.lifted import require_whole
from edgeprune.conversion.manifest import make_manifest, write_beside
from edgeprune.conversion.obstacles import unrolled_notes
from edgeprune.conversion.route_of_file import checked_numerics
from edgeprune.conversion.table_ids import require_exact_ids
from edgeprune.conversion.to_int8 import Int8Maker, ready
from edgeprune.conversion.trained_ranges import (
    given_ranges,
    load_ranges,
    usable_ranges,
)
from edgeprune.core import device_matrix
from edgeprune.core.activation_tail import ActivationTail
from edgeprune.core.arrays import Array
from edgeprune.core.data import ChannelScale, Scale, scales_by_name
from edgeprune.core.errors import CheckError, DataError
from edgeprune.core.files import describe_file, require_folder
from edgeprune.core.plan import Plan
from edgeprune.core.sources import open_source
from edgeprune.core.terms import Numerics
from edgeprune.keras_model.layers import Model, map_layers
from edgeprune.keras_model.ports import ports_of
from edgeprune.keras_model.preprocessing import inputs_of
from edgeprune.keras_model.sparsity import layer_sparsities
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.targets.host import missing_runtimes, not_proven_on
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.metadata import embed
from edgeprune.tflite.slim import KEEP_ALL, Slimming, slim

CHECKED_SPARSITY = 0.1
"""Kernels with at least this fraction of zeros are checked in the file."""


def export(
    model: Any,
    device: str | Path | DeviceProfile,
    output: str | Path,
    *,
    x: Any = None,
    numerics: Numerics | None = None,
    plan: Plan | None = None,
    route: str | None = None,
    scale: Scale = "auto",
    isolated: bool = False,
    measuring_only: bool = False,
    slimming: Slimming = KEEP_ALL,
    max_arena: int | None = None,
    signature: str | None = None,
) -> Exported:
    """Writes a model as a .tflite file for a device, with a batch of 1.

    Weights are stored sparsely where the device's runtimes support it and it is smaller. Weights
    and biases of an int8 file are mended where that brings its outputs nearer to the model. A
    manifest is embedded in the file and written beside it. The file is checked, and run once in
    the device's runtimes that are installed, before it gets its name.

    A .tflite file keeps its number format, and is rewritten and encoded as it is. Another format is
    made of a float file only: it is lifted to Keras and converted, under the names, signature and
    metadata of the file; the manifest says so. A fixed batch is kept, except in int8, which takes
    one sample at a time: a warning and the manifest (`batch`) say so.

    Args:
      model: a built Keras model with fixed input sizes, the path of its file, of a .tflite
        file or of a SavedModel folder, or what `prune` made of one.
      device: a profile, its name, or the path of a user's own `.toml` file.
      output: the file to write.
      x: calibration data of any kind that `open_source` takes; required for int8, save for a model
        with the ranges of quantisation-aware training, which has those whether `x` is given or
        not. Up to `MAX_CALIBRATION_SAMPLES` are used. The names of its classes, where it has them,
        are put into the file.
      numerics: number format; that of the route if None.
      plan: the plan that the model was pruned by; recorded in the manifest.
      route: one of the profile's routes by its name; the plan's if None, else the default.
      scale: by what uint8 data was scaled to make `x`; recorded in the manifest, so that `validate`
        scales likewise.
      isolated: whether TensorFlow's converter runs in a process of its own, so that a model that
        crashes it ends in a ModelError; this imports TensorFlow once more.
      measuring_only: whether the file is made for its cost alone; `validate` refuses it then.
      slimming: what is left out of the file. Where the device runs TensorFlow Lite Micro, constants
        with equal bytes share them in any case.
      max_arena: the most bytes of arena, in place of the profile's limit, for a route that packs
        weights. It writes the plain file too, see `plain_path`.
      signature: of a SavedModel folder that has several, the one that is taken.

    Raises:
      DataError: int8 without calibration data or ranges of this very model.
      ProfileError: a route that the profile does not have, or whose needs its core does not meet.
      ModelError: a number format that the profile does not have, input sizes that are not fixed,
        recurrent layers that keep a state, a model that the TensorFlow converter or the device's
        runtimes do not support, or layers that would be float in an int8 file.
      CheckError: a zero of a pruned kernel was lost.
      OutputError: the file cannot be written.
      TfliteError: a .tflite file that is not sound, or has another number format than a float one
        and is asked for in one that it does not have.
      Unliftable: another format is asked for, and operators are in the way.
    """
    require_folder(Path(output))
    with exportable(model, signature) as ready:
        return _export(
            ready,
            load_profile(device),
            Path(output),
            x=x,
            numerics=numerics,
            plan=plan,
            route=route,
            scale=scale,
            isolated=isolated,
            measuring_only=measuring_only,
            slimming=slimming,
            max_arena=max_arena,
        )


def _export(
    model: Given | Model | Path,
    offered: DeviceProfile,
    path: Path,
    *,
    x: Any,
    numerics: Numerics | None,
    plan: Plan | None,
    route: str | None,
    scale: Scale,
    isolated: bool,
    measuring_only: bool,
    slimming: Slimming,
    max_arena: int | None,
) -> Exported:
    """`export` of what is a Keras model or lies on disk."""
    asked = _asked(model, offered, route, numerics, plan.route if plan else None)
    profile, chosen = asked.profile, asked.numerics
    require_packing(profile, max_arena)
    if asked.file is not None and asked.keeps:
        return export_file(
            asked.file,
            path,
            profile,
            chosen,
            plan=plan,
            scale=scale,
            measuring_only=measuring_only,
            slimming=slimming,
            max_arena=max_arena,
        )
    given = _opened(model)
    model = given.model
    ports = ports_of(model)
    source = None if x is None else open_source(x, ports, scale=scale)
    if chosen == "int8" and source is None and given_ranges(model) is None:
        raise DataError(_no_data(profile))
    lengths = fixed_lengths(given)
    batch = require_single_samples(given) if lengths and chosen == "int8" else 1
    kept = () if batch > 1 else lengths
    content = convert(model, profile, chosen, isolated=isolated, lengths=kept)
    samples = None
    trained, told = usable_ranges(model, given.sha256, content) if chosen == "int8" else (None, ())
    if trained is not None:
        content = quantized(model, profile, content, trained.ranges, isolated=isolated)
    elif chosen == "int8":
        if source is None:
            raise DataError(_no_data(profile, told))
        samples = calibration(model, source.some(MAX_CALIBRATION_SAMPLES).x)
    with tempfile.TemporaryDirectory() as folder:
        converted, mended = Path(folder, path.name), None
        tails: tuple[ActivationTail, ...] = ()
        if samples is None:
            draft = ready(content, converted)
        else:
            maker = Int8Maker(model, profile, content, samples, converted, isolated)
            draft, mended = maker.plain() if measuring_only else maker.nearest()
        size = len(draft.raw)
        unchecked = check_zeros(model, draft.graph)
        require_exact_ids(model, draft.graph)
        if given.lifted is not None:
            draft = with_names_of(given.lifted, model, draft)
        fitted, tensors = encode_draft(draft, profile, chosen)
        draft = fitted.draft
        manifest = make_manifest(
            model_sha256=given.sha256,
            profile=profile,
            numerics=chosen,
            plan=plan,
            layers=layer_sparsities(model),
            sizes={"converted": size},
            scale=scales_by_name(inputs_of(model), scale),
            preprocess=scale.name or None if isinstance(scale, ChannelScale) else None,
            measuring_only=measuring_only,
            int8=mended.to_json() if mended else None,
            ranges_sha256=trained.sha256 if trained else None,
            lifted=given.lifted is not None,
            batch=batch,
        )
        embed(draft.model, manifest)
        draft = with_labels(draft, source.classes if source is not None else (), ports, scale)
        slim(draft.model, slimming_for(profile, slimming))
        encoded = Path(folder, path.name)  # in place of what was read: a longer name may not fit
        tflite_draft.write(draft, encoded)
        notes = check_written(
            model.name,
            tuple(map_layers(model).layers),
            tflite_file.read(encoded),
            profile,
            chosen,
        )
        if mended is not None and samples is not None:
            tails = measure_tails(tflite_file.read(encoded), samples)
        packed = write_finished(encoded, path, profile, max_arena)
    artifact = describe_file(path)
    manifest = _with_tails(manifest, tails)
    if packed is not None:
        tensors = with_rows(tensors, packed)
        manifest = {**manifest, "packing": packed.to_json()}
    write_beside(artifact, manifest)
    single = (f"{given.name} takes {batch} samples at a time, this file one.",) if batch > 1 else ()
    said = (*told, *single, *unrolled_notes(model, chosen), *unchecked, *notes)
    unproven = tuple(map(not_proven_on, missing_runtimes(profile)))
    return Exported(artifact, chosen, tensors, fitted, said, unproven, trained, mended, packed)


def _asked(
    model: Any,
    offered: DeviceProfile,
    route: str | None,
    numerics: Numerics | None,
    planned: str | None,
) -> Asked:
    """The route and number format that are asked for, and whether a file has them already."""
    file = file_of(model)
    if file is not None:
        return asked_of_file(file, offered, route, numerics, planned)
    profile = offered.on(route or planned)
    return Asked(None, profile, checked_numerics(profile, numerics), keeps=False)


def _opened(model: Any) -> Given:
    """A model that can be converted, with the ranges that lie beside its file."""
    given = as_given(model)
    if given.lifted is not None:
        require_whole(given.lifted)
    if isinstance(model, str | Path):
        load_ranges(given.model, Path(model))
    return given


def _no_data(profile: DeviceProfile, told: tuple[str, ...] = ()) -> str:
    """What is said of an int8 file that has no ranges."""
    return (
        f"{profile.name}: int8 needs calibration data, to find the range of every activation. "
        "Give an .npz with --data (a few hundred samples do)." + "".join(f" {s}" for s in told)
    )


def _with_tails(manifest: dict[str, Any], tails: tuple[ActivationTail, ...]) -> dict[str, Any]:
    """The manifest with the ranges of activations and what nearly all of their values need."""
    if not tails:
        return manifest
    return {**manifest, "int8": {**manifest["int8"], "activations": list(map(asdict, tails))}}


def check_zeros(model: Model, graph: tflite_file.Graph) -> tuple[str, ...]:
    """Checks that the zeros of every pruned kernel are zeros in the converted file.

    Args:
      model: the pruned model.
      graph: the converted file.

    Returns:
      A sentence for every kernel without a tensor of its shape in the file (the converter may fold
      or split weights).

    Raises:
      CheckError: zeros are missing in every tensor of the kernel's shape.
    """
    stored = _stored_matrices(graph)
    notes = []
    mapped = map_layers(model)
    for path, variable in mapped.kernels.items():
        kind = type(mapped.layers[path]).__name__
        zeros = device_matrix.to_device(kind, np.asarray(variable)) == 0
        if zeros.mean() < CHECKED_SPARSITY:
            continue
        candidates = stored.get(zeros.shape, [])
        if not candidates:
            notes.append(f"{path}: no weight of its shape is in the file, its zeros are unchecked")
        elif not any(candidate[zeros].all() for candidate in candidates):
            raise CheckError(
                f"{path}: the {int(zeros.sum())} zeros of its kernel are not all zeros in the "
                "converted file. A layer that shares or rescales the kernel may have changed them; "
                "leave the layer out with --skip."
            )
    return tuple(notes)


def _stored_matrices(graph: tflite_file.Graph) -> dict[tuple[int, ...], list[Array]]:
    """For each shape, device matrices `[out, in]` of bool that are True where a weight is zero."""
    found: dict[tuple[int, ...], list[Array]] = {}
    for tensor in graph.tensors:
        values = tensor.values() if len(tensor.shape) > 1 else None
        if values is None:
            continue
        zero = values == (tensor.zero_points[0] if len(tensor.zero_points) == 1 else 0)
        for matrix in _as_device_matrices(zero):
            found.setdefault(matrix.shape, []).append(matrix)
    return found


def _as_device_matrices(weight: Array) -> list[Array]:
    """The device matrix of a TFLite weight; a second one if it may be a depthwise weight."""
    matrices = [weight.reshape(weight.shape[0], -1)]
    if weight.ndim == 4 and weight.shape[0] == 1:
        matrices.append(np.moveaxis(weight[0], -1, 0).reshape(weight.shape[-1], -1))
    return matrices
