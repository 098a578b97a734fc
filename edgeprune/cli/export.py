"""`edgeprune export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeprune.cli import inputs, options, terminal
from edgeprune.cli.flash_options import flash
from edgeprune.cli.output import network_json, print_json, say_network, say_packing
from edgeprune.core.terms import Numerics

if TYPE_CHECKING:
    from edgeprune.conversion.exported import Exported
    from edgeprune.conversion.int8.mend import Mended
    from edgeprune.core.data import Scale
    from edgeprune.tflite.c_array import CArray


@click.command("export")
@click.argument("model", type=options.PATH, metavar="MODEL.keras|.tflite|FOLDER")
@options.device
@options.route
@options.planned_runtime
@options.data_options
@options.hold_out
@options.signature
@options.custom_objects
@click.option(
    "--numerics", type=click.Choice(get_args(Numerics)), help="Number format; the profile's."
)
@click.option(
    "--plan",
    "plan_path",
    type=options.PATH,
    metavar="PLAN.json",
    help="The plan that the model was pruned by; else the one that `prune` kept beside it.",
)
@flash
@click.option(
    "--c-array",
    is_flag=True,
    help="Also write the file as an array, OUT.cc with OUT.h, for a firmware project; for an "
    "Ethos-U, what Vela makes of it, which is kept as OUT_vela.tflite too. Where TFLite Micro runs "
    "the device, OUT.h has the size of the arena and a resolver's operators too.",
)
@click.option("-o", "--output", type=options.PATH, required=True, metavar="OUT.tflite")
@options.json_document
def export_command(
    model: Path,
    signature: str | None,
    device: str,
    route: str | None,
    runtime: str | None,
    data: Path | None,
    scale: Scale,
    hold_out: bool,
    numerics: Any,
    plan_path: Path | None,
    strip_names: bool,
    strip_manifest: bool,
    max_arena: int | None,
    c_array: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Write the model as a .tflite file in the device's number format, with a batch of 1.

    int8 needs --data: a few hundred samples, to find the range of every activation, and to correct
    biases where that brings outputs nearer to the model's. A model that `prune --epochs` trained
    for int8 has its ranges beside it, as MODEL.ranges.json; they are used with --data or without,
    and its biases stay as they were trained. Weights are stored sparsely where the
    device's runtimes read that. A manifest is put into the file and beside it, as
    OUT.manifest.json. Where --data names its classes, as a folder of images does, their names go
    into the file too, as labels.txt in its TFLite metadata.

    A .tflite file keeps its number format, and is rewritten and encoded as `encode` does. Another
    format is made of a float file, whose operators all have a counterpart in Keras.

    A SavedModel folder is converted to a float .tflite file first.

    A route that packs weights packs them last, and writes the plain file too, as OUT.plain.tflite.
    """
    from edgeprune.core.files import is_tflite, require_folder
    from edgeprune.core.plan import read_plan
    from edgeprune.tflite.c_array import c_array_paths
    from edgeprune.tflite.metadata import manifest_path
    from edgeprune.tflite.slim import Slimming

    profile = inputs.read_device(device, runtime)
    require_folder(output)
    c_files = c_array_paths(output) if c_array else ()
    for path in (manifest_path(output), *c_files):
        require_folder(path)
    found = read_plan(plan_path) if plan_path is not None else None
    from edgeprune.conversion.convert import export as export_model
    from edgeprune.conversion.export_file import to_convert
    from edgeprune.conversion.given import as_given
    from edgeprune.conversion.plan_beside import kept_plan
    from edgeprune.conversion.trained_ranges import load_ranges
    from edgeprune.keras_model.ports import ports_of
    from edgeprune.targets.firmware_array import write_firmware_array

    file = inputs.given_file(model, signature)
    given = None if is_tflite(file) else as_given(model)
    if found is None and route is None:
        found = kept_plan(given and given.model, file, profile.name)
    if given is None:
        given = to_convert(file, profile, route, numerics, found.route if found else None)
    if given is not None:
        load_ranges(given.model, file)
    x = None
    if given is not None:
        ports = ports_of(given.model)
        x = inputs.open_samples(data, ports, scale, without_held_out=hold_out)
    with inputs.telling_warnings(), terminal.progress_bar() as tell:
        tell(f"converting {model.name}", 0, 1)
        exported = export_model(
            given or file,
            profile,
            output,
            x=x,
            numerics=numerics,
            plan=found,
            route=route,
            scale=scale,
            slimming=Slimming(names=strip_names, manifest=strip_manifest),
            max_arena=max_arena,
        )
    written, unsaid = write_firmware_array(output, profile) if c_array else (None, ())
    warnings = (*exported.warnings, *exported.unproven, *unsaid)
    terminal.warn(warnings)
    if as_json:
        named = {"model": str(model), "device": profile.name, "output": str(output)}
        print_json({**named, **_export_json(exported, written), "warnings": list(warnings)})
    else:
        _say_export(output, exported, written)
        say_packing(exported.packed, profile.packing)


def _export_json(exported: Exported, written: CArray | None) -> dict[str, Any]:
    artifact = exported.artifact
    return {
        "numerics": exported.numerics,
        "size_bytes": artifact.size_bytes,
        "gzip_bytes": artifact.gzip_bytes,
        "sha256": artifact.sha256,
        "sparse_tensors": len(exported.sparse),
        "c_array": written.to_json() if written else None,
        "packing": exported.packed.to_json() if exported.packed else None,
        "int8": exported.mended.to_json() if exported.mended else None,
        **network_json(exported.network.applied, exported.network.reason),
    }


def _say_export(output: Path, exported: Exported, written: CArray | None) -> None:
    artifact = exported.artifact
    terminal.show(
        f"{output}: {exported.numerics}, {artifact.size_bytes} bytes, "
        f"{artifact.gzip_bytes} after gzip; {len(exported.sparse)} of {len(exported.tensors)} "
        "weights stored sparsely."
    )
    if exported.trained_ranges:
        terminal.show("The ranges of activations are those of quantisation-aware training.")
    if exported.mended:
        _say_int8(exported.mended)
    if written:
        compiled = f", which holds {written.compiled.name}" if written.compiled else ""
        terminal.show(f"{written.source} and {written.header}: {written.identifier}{compiled}")
        if written.has_resolver:
            terminal.show(
                f"{written.header.name} also has the arena and the operators that it needs"
            )
    say_network(exported.network.applied, exported.network.reason)


def _say_int8(done: Mended) -> None:
    terminal.show(str(done))
    rows = ", ".join(f"{row.layer} {row.snr_db:.1f} dB" for row in done.noisiest)
    if rows:
        terminal.show(f"Least signal to noise, with the errors of earlier layers: {rows}.")
