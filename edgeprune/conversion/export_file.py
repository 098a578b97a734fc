"""Exports a .tflite file: rewritten and encoded for a device, in the number format that it has."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from edgeprune.conversion.check_written import check_written
from edgeprune.conversion.exported import Exported
from edgeprune.conversion.finish import encode_draft, slimming_for, with_rows, write_finished
from edgeprune.conversion.given import Given, as_given, other_subgraphs
from edgeprune.conversion.lift.floating import computes_in_steps
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.manifest import make_manifest, sha256_of, write_beside
from edgeprune.conversion.route_of_file import checked_numerics, on_route_of
from edgeprune.core.data import ChannelScale, Scale, scales_by_name, signature_name
from edgeprune.core.errors import ModelError
from edgeprune.core.files import describe_file, require_file
from edgeprune.core.plan import LayerSparsity, Plan
from edgeprune.core.terms import Numerics
from edgeprune.keras_model.interface import input_specs, output_names
from edgeprune.keras_model.layers import Model
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.targets.checks import numerics as numerics_of
from edgeprune.targets.host import missing_runtimes, not_proven_on
from edgeprune.tflite.decode.unpack import unpack_weights
from edgeprune.tflite.format.draft import Draft, load, reread, write_or_copy
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.format.signature import input_ports, output_ports, signature_specs
from edgeprune.tflite.metadata import (
    HALVES_NAME,
    MENDING_NAME,
    METADATA_NAME,
    drop_metadata,
    embed,
    read_mending,
)
from edgeprune.tflite.slim import Slimming, slim
from edgeprune.tflite.weights import weights_of

_FLOATS = ("float32", "float16")
"""Number formats of files that another one is made of."""
_OF_THE_CONVERTER = (METADATA_NAME, HALVES_NAME, "CONVERSION_METADATA", "min_runtime_version")
"""Metadata that says how a file was made, and is not carried over into one made otherwise."""


@dataclass(frozen=True)
class Asked:
    """What an export comes to."""

    file: Path | None
    """The .tflite file that is exported; None for a Keras model."""
    profile: DeviceProfile
    """On the route."""
    numerics: Numerics
    """The format of what is written."""
    keeps: bool
    """Whether that is the file's own; else the model is converted."""


def asked_of_file(
    path: Path,
    offered: DeviceProfile,
    route: str | None,
    numerics: Numerics | None,
    planned: str | None = None,
) -> Asked:
    """The route and number format in which a file is exported.

    Args:
      path: the file.
      offered: the device with all its routes.
      route: a route by its name; if None the planned one, that of the file's manifest, one in the
        file's number format, or the default.
      numerics: a number format of that route; the file's if None and no route is named.
      planned: the route that the file was pruned for, in its own format.

    Raises:
      TfliteError: not a sound file.
      ProfileError: as `DeviceProfile.on`.
      ModelError: a format that the route does not have, or one that is not made of this file's.
    """
    require_file(path)
    graph = read(path)
    # What islands make of quantized values may be real.
    found = "int8" if computes_in_steps(graph) else cast("Numerics", numerics_of(graph))
    profile = on_route_of(graph, offered, route or planned)
    wanted = checked_numerics(profile, numerics)
    named = route is not None or numerics is not None
    keeps = wanted == found or (found, wanted) == ("float16", "float32")
    if keeps or (found not in _FLOATS and not named):
        return Asked(path, profile, found, keeps=True)
    if found not in _FLOATS:
        raise ModelError(
            f"{path}: expected a float file, which {wanted} can be made of. Received: one in "
            f"{found}. Leave out --route and --numerics to keep its format, or convert the float "
            "model again."
        )
    _require_one_subgraph(graph, wanted)
    return Asked(path, profile, wanted, keeps=False)


def _require_one_subgraph(graph: Graph, wanted: Numerics) -> None:
    """Checks that nothing is lost when the main subgraph alone is converted.

    Raises:
      ModelError: there are others; names them.
    """
    others = other_subgraphs(graph)
    if others:
        raise ModelError(
            f"{graph.path}: expected a file of one subgraph, which {wanted} can be made of. "
            f"Received: {len(graph.subgraphs)}, with {others} beside the main one, which would be "
            "lost. Take a route or --numerics of the file's own format, which keeps all of them, "
            "or convert the original model."
        )


def to_convert(
    path: Path,
    offered: DeviceProfile,
    route: str | None,
    numerics: Numerics | None,
    planned: str | None,
) -> Given | None:
    """A file lifted, where it is to be converted; None where it is exported as it is.

    Raises:
      EdgepruneError: as `asked_of_file` and `as_given`.
    """
    asked = asked_of_file(path, offered, route, numerics, planned)
    return None if asked.keeps else as_given(path)


def export_file(
    path: Path,
    output: Path,
    profile: DeviceProfile,
    numerics: Numerics,
    *,
    plan: Plan | None,
    scale: Scale,
    measuring_only: bool,
    slimming: Slimming,
    max_arena: int | None,
) -> Exported:
    """Rewrites and encodes a file as it is; everything else is as `convert.export` says.

    Args:
      path: the file.
      output: the file to write.
      profile: the device, narrowed to a route.
      numerics: the number format of the file.
      plan: as for `convert.export`, and so are the others.
      scale: see there.
      measuring_only: see there.
      slimming: see there.
      max_arena: see there.

    Raises:
      EdgepruneError: as `convert.export`.
    """
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        draft = load(path)
        if unpack_weights(draft):
            draft = reread(draft)
        given = draft.graph
        fitted, tensors = encode_draft(draft, profile, numerics)
        draft = fitted.draft
        manifest = make_manifest(
            model_sha256=sha256_of(None, path),
            profile=profile,
            numerics=numerics,
            plan=plan,
            layers=_weights_of(given),
            sizes={"converted": given.size_bytes},
            scale=scales_by_name(signature_specs(given), scale),
            preprocess=scale.name or None if isinstance(scale, ChannelScale) else None,
            measuring_only=measuring_only,
            int8=read_mending(given.metadata),
        )
        drop_metadata(draft.model, MENDING_NAME)
        embed(draft.model, manifest)
        slim(draft.model, slimming_for(profile, slimming))
        made = Path(folder, "encoded.tflite")
        write_or_copy(draft, made, changed=True)
        check_written(str(path), (), read(made), profile, None)
        packed = write_finished(made, output, profile, max_arena)
    if packed is not None:
        tensors = with_rows(tensors, packed)
        manifest = {**manifest, "packing": packed.to_json()}
    artifact = describe_file(output)
    write_beside(artifact, manifest)
    unproven = tuple(map(not_proven_on, missing_runtimes(profile)))
    return Exported(artifact, numerics, tensors, fitted, (), unproven, packed=packed)


def _weights_of(graph: Graph) -> tuple[LayerSparsity, ...]:
    """The zeros of every weight of a file, by the name of the tensor that is computed with it."""
    rows = {}
    for operator in graph.operators:
        weight, _ = weights_of(graph.subgraphs[0], operator)
        values = weight.values() if weight is not None else None
        if weight is not None and values is not None and values.size:
            zero = weight.zero_points[0] if weight.zero_points.size == 1 else 0
            zeros = values.size - int(np.count_nonzero(values != zero))
            name = graph.tensors[operator.outputs[0]].name
            rows[weight.index] = LayerSparsity(name, values.size, zeros)
    return tuple(rows.values())


def with_names_of(lifted: Lifted, model: Model, draft: Draft) -> Draft:
    """A file that was converted from a lifted model, under the names of the given file.

    Signatures, names of inputs and outputs, description, metadata and files appended are those of
    the given file, which has one subgraph.

    Args:
      lifted: the given file.
      model: its model, whose inputs and outputs come in the order of the file's signature.
      draft: what was converted; edited in place.
    """
    given = load(lifted.given)
    inputs = [signature_name(spec.name) for spec in input_specs(model)]
    outputs = [signature_name(name) for name in output_names(model)]
    new_inputs = dict(zip(inputs, input_ports(given.graph), strict=True))
    new_outputs = dict(zip(outputs, output_ports(given.graph), strict=True))
    tensors = draft.model.subgraphs[0].tensors
    places: dict[int, int] = {}
    for signature in draft.model.signatureDefs:
        sides = (signature.inputs, new_inputs), (signature.outputs, new_outputs)
        for entry, names in ((entry, names) for side, names in sides for entry in side):
            port = names[entry.name.decode()]
            entry.name = port.name.encode()
            tensors[entry.tensorIndex].name = given.model.subgraphs[0].tensors[port.tensor].name
            places[port.tensor] = entry.tensorIndex
    _carry_signatures(given, draft.model, places)
    _carry_metadata(given, draft.model)
    return replace(reread(draft), appended=given.appended)


def _carry_signatures(given: Draft, model: Any, places: Mapping[int, int]) -> None:
    """Replaces the signature of the converter by those of the given file, if it has any.

    Args:
      given: the file.
      model: what was converted; edited in place.
      places: by the index of an input or output in the given file: that in the new one.

    Raises:
      ModelError: a signature names a tensor inside the network.
    """
    for said in given.graph.signatures:
        for name, tensor in [*said.inputs.items(), *said.outputs.items()]:
            if tensor not in places:
                raise ModelError(
                    f"{given.graph.path}: expected signatures that name inputs and outputs of the "
                    f"file. Received: {said.key!r} with {name!r}, a tensor inside the network. "
                    "Keep the file's number format, or convert the original model."
                )
    for signature in given.model.signatureDefs:
        for entry in [*signature.inputs, *signature.outputs]:
            entry.tensorIndex = places[entry.tensorIndex]
    model.signatureDefs = given.model.signatureDefs or model.signatureDefs


def _carry_metadata(given: Draft, model: Any) -> None:
    """Adds the metadata of the given file that does not say how it was made."""
    carried = [
        item
        for item in given.model.metadata or []
        if item.name not in {name.encode() for name in _OF_THE_CONVERTER}
    ]
    model.metadata = [
        *(item for item in model.metadata or [] if item.name not in {c.name for c in carried}),
        *carried,
    ]
    for item in carried:
        model.buffers.append(given.model.buffers[item.buffer])
        item.buffer = len(model.buffers) - 1
    if given.model.description:
        model.description = given.model.description
