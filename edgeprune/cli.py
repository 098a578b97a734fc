"""The command line: reads arguments, calls the verbs, prints what they return.

Commands that need Keras import it when they run, so that all others start at once.
"""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from edgeprune import errors, terminal
from edgeprune.artifact import require_folder, require_keras_name, write_file
from edgeprune.c_array import c_array_paths, write_c_array
from edgeprune.data import DEFAULT_SCALE, Data, read_data
from edgeprune.densify import densify_file
from edgeprune.encode import encode_file
from edgeprune.encode_plan import TensorPlan, rules_of
from edgeprune.errors import EdgepruneError, PlanError
from edgeprune.inspect import inspect as inspect_file
from edgeprune.layout import Array
from edgeprune.measure import Settings, measure_each
from edgeprune.measuring_options import board_python, measuring, named_targets
from edgeprune.plan import Plan, check_plan, read_plan
from edgeprune.plan import plan as plan_model
from edgeprune.profile import DEFAULT_CORE, Core, DeviceProfile, load_profile, profile_names
from edgeprune.rewrites import Applied
from edgeprune.schema import suggestion
from edgeprune.targets import TARGETS, find_target
from edgeprune.tflite import file as tflite_file
from edgeprune.tflite.signature import input_specs
from edgeprune.validate import validate as validate_file

Command = TypeVar("Command", bound=Callable[..., Any])

_GOALS = ("latency", "flash", "memory")
_NUMERICS = ("float32", "float16", "int8")


class _Edgeprune(click.Group):
    """Turns edgeprune's errors into a message and an exit code, without a traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except EdgepruneError as error:
            terminal.fail(str(error))
            context.exit(error.exit_code)

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            near = suggestion(args[0], self.commands)
            raise click.UsageError(f"No such command '{args[0]}'.{near}", context)
        return super().resolve_command(context, args)


def _read_scale(_: click.Context, __: click.Parameter, value: str | None) -> tuple[float, float]:
    if value is None:
        return DEFAULT_SCALE
    try:
        mean, std = (float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"expected two numbers MEAN,STD. Received: {value!r}.") from error
    if not (math.isfinite(mean) and 0 < std < math.inf):
        raise click.BadParameter(f"expected finite numbers and STD > 0. Received: {value!r}.")
    return mean, std


class _Path(click.Path):
    def __init__(self) -> None:
        super().__init__(path_type=Path)


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def apply(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


_device = click.option(
    "--device",
    required=True,
    metavar="D",
    help="A name that `edgeprune devices` lists, or the path of your own .toml profile.",
)
_sparsity = click.option(
    "--sparsity",
    type=float,
    metavar="F",
    help="Fraction of zeros in [0, 1) over the device's prunable weights; the profile's default.",
)
_goal = click.option(
    "--goal",
    type=click.Choice(_GOALS),
    help="What matters most, where a device has more than one pattern.",
)
_chosen_layers = _options(
    click.option("--only", metavar="REGEX", help="Prune only layers in whose path REGEX is found."),
    click.option("--skip", metavar="REGEX", help="Leave out layers in whose path REGEX is found."),
)
_data = click.option(
    "--data",
    type=_Path(),
    metavar="DATA.npz",
    help="Array x [n, ...] (one array per input, by name, if there are several) and labels y [n].",
)
_scale = click.option(
    "--scale",
    metavar="MEAN,STD",
    callback=_read_scale,
    help="uint8 data becomes (x - MEAN) / STD.  [default: 127.5,127.5]",
)
_epochs = click.option(
    "--epochs",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Train so many epochs on x and y with masks; 0 prunes in one shot.",
)
_allocation = click.option(
    "--allocation",
    type=click.Choice(["uniform", "lamp", "reconstruction"]),
    help="How zeros are spread over layers: evenly, by the weights alone (LAMP), or by what each "
    "layer loses on --data.  [default: the profile's with --data, else uniform]",
)
_padding = click.option(
    "--padding",
    type=click.Choice(["keep", "symmetric"]),
    help="Make the padding of stride-2 convolutions symmetric, where the device's kernels want it; "
    "it changes the function a little.  [default: symmetric with --epochs, else keep]",
)
_training = _options(
    click.option(
        "--augment",
        type=click.Choice(["none", "flip-shift"]),
        default="none",
        show_default=True,
        help="While training: flip images at random and shift them by up to 4 pixels.",
    ),
    click.option(
        "--start",
        type=click.Choice(["auto", "one-shot", "gradual"]),
        default="auto",
        show_default=True,
        help="Train from the one-shot solution, or from the dense weights with rising sparsity.",
    ),
    click.option(
        "--distill",
        type=click.FloatRange(0, 1),
        metavar="W",
        help="Share of the loss that follows the dense model's outputs; 0 leaves it out.",
    ),
    click.option("--learning-rate", type=float, metavar="R", help="Its peak, while training."),
    click.option("--batch-size", type=click.IntRange(1), metavar="N", help="While training."),
    click.option(
        "--validation",
        type=float,
        default=0.0,
        metavar="F",
        help="Fraction of the samples to hold out of training, to find the best epoch by.",
    ),
    click.option(
        "--monitor",
        metavar="METRIC",
        help="What tells the best epoch, such as val_accuracy (or NAME:max, NAME:min).  [default: "
        "val_loss with --validation, else loss]",
    ),
    click.option(
        "--patience",
        type=click.IntRange(1),
        metavar="N",
        help="Stop when N epochs with final masks brought no better one.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Of training."),
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group(
    cls=_Edgeprune,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="edgeprune")
def cli() -> None:
    """Prune a Keras 3 model for a device and get a .tflite file that is measured on it.

    Zeros alone speed nothing up: every runtime skips them in a few kernels only, each with its own
    pattern. edgeprune knows the pattern that pays on each device, prunes to it, and measures.

    \b
    Start here:
      edgeprune devices                                       what pays where
      edgeprune demo -o demo                                  everything, on a small real model
    Your own model, step by step:
      edgeprune plan   model.keras --device xnnpack-arm64     what would be pruned, and why
      edgeprune prune  model.keras --device xnnpack-arm64 --data data.npz --epochs 4 -o pruned.keras
      edgeprune export pruned.keras --device xnnpack-arm64 -o pruned.tflite
      edgeprune validate pruned.tflite --device xnnpack-arm64 --reference pruned.keras
      edgeprune measure  dense.tflite pruned.tflite --device xnnpack-arm64
    A .tflite file that you have, whoever made it:
      edgeprune inspect model.tflite --device xnnpack-arm64   what is in it, and what is wrong
      edgeprune encode  model.tflite --device xnnpack-arm64 -o sparse.tflite
    Or all of it for several devices, with a report:
      edgeprune compare model.keras --devices xnnpack-arm64,edge-tpu --data data.npz -o report

    \b
    Exit codes: 0 good, 1 a check failed, 2 bad input or usage.
    Set EDGEPRUNE_LOG=1 to see what TensorFlow writes while it works.
    """


@cli.command()
@_json
def devices(as_json: bool) -> None:
    """List the devices: what each is and the pattern that pays there."""
    profiles = [load_profile(name) for name in profile_names()]
    if as_json:
        _print_json([_device_json(profile) for profile in profiles])
    else:
        terminal.show_devices(profiles)


def _device_json(profile: DeviceProfile) -> dict[str, Any]:
    return profile.model_dump(mode="json", by_alias=True)


@cli.command()
@click.argument("model", type=_Path(), metavar="MODEL.keras")
@_device
@_sparsity
@_goal
@_data
@_scale
@_chosen_layers
@_padding
@_allocation
@click.option("-o", "--output", type=_Path(), metavar="PLAN.json", help="Also write it to a file.")
@_json
def plan(
    model: Path,
    device: str,
    sparsity: float | None,
    goal: Any,
    data: Path | None,
    scale: tuple[float, float],
    only: str | None,
    skip: str | None,
    padding: Any,
    allocation: Any,
    output: Path | None,
    as_json: bool,
) -> None:
    """Say which layers would be pruned, in which pattern, and why not the others.

    With --data, every layer is pruned on trial: the plan tells the error to expect in each, and
    zeros are spread so that the sum of errors is smallest, where the profile wants that.

    The file that -o writes can be edited and given to `prune --plan`.
    """
    profile = load_profile(device)
    if output is not None:
        require_folder(output)
    from edgeprune import keras_model

    loaded = keras_model.load_model(model)
    samples = _samples(data, keras_model.input_specs(loaded), scale)
    with terminal.progress_bar() as tell:
        made = _make_plan(
            loaded,
            model,
            profile,
            sparsity=sparsity,
            goal=goal,
            only=only,
            skip=skip,
            padding=padding or "keep",
            allocation=allocation,
            x=samples,
            progress=tell,
        )
    if output is not None:
        write_file(output, (json.dumps(made.to_json(), indent=2) + "\n").encode())
    if as_json:
        _print_json(made.to_json())
    else:
        terminal.show_plan(made)
    terminal.warn(made.warnings())


@cli.command()
@click.argument("model", type=_Path(), metavar="MODEL.keras")
@_device
@click.option("--plan", "plan_path", type=_Path(), metavar="PLAN.json", help="As `plan -o` wrote.")
@_sparsity
@_goal
@_data
@_scale
@_epochs
@_training
@click.option(
    "--fit",
    is_flag=True,
    help="Remove channels until the exported file fits the device's limits, and no more.",
)
@click.option(
    "--checkpoint",
    type=_Path(),
    metavar="DIR",
    help="Keep the state of training here.  [default: OUT.keras.checkpoint, removed at the end]",
)
@click.option("--resume", is_flag=True, help="Go on with training that was interrupted.")
@click.option("--tensorboard", type=_Path(), metavar="DIR", help="Write logs of training here.")
@_chosen_layers
@_padding
@_allocation
@click.option("-o", "--output", type=_Path(), required=True, metavar="OUT.keras")
@_json
@click.pass_context
def prune(
    context: click.Context,
    /,
    model: Path,
    device: str,
    plan_path: Path | None,
    sparsity: float | None,
    goal: Any,
    data: Path | None,
    scale: tuple[float, float],
    epochs: int,
    fit: bool,
    checkpoint: Path | None,
    resume: bool,
    tensorboard: Path | None,
    only: str | None,
    skip: str | None,
    padding: Any,
    allocation: Any,
    output: Path,
    as_json: bool,
    **training: Any,
) -> None:
    """Put the zeros into a copy of the model: in one shot, or while training with --epochs.

    One shot needs no labels: with --data, every layer's mask and weights are chosen so that its
    outputs on the samples stay near those of the dense model. A few hundred samples suffice, and
    1024 are taken at most. Without data, the smallest weights go, and accuracy with them.

    Where the device's pattern is Channels, whole channels are removed, and OUT.keras is a smaller
    plain model. With --data those go that the others can stand in for best, and the layers behind
    are corrected. --fit removes as few as the limits of the device profile allow, with the least
    expected error; where they cannot be met it says how close it came, and ends with 1.

    With --epochs N the model then trains: masks move at first, and the weights left recover. The
    loss is the one the model was compiled with, else cross-entropy over classes, together with the
    distance to the dense model's outputs; without y that distance is the whole loss. The model of
    the best epoch is kept. Training that was interrupted goes on with --resume.
    """
    given = {
        "--sparsity": sparsity,
        "--goal": goal,
        "--only": only,
        "--skip": skip,
        "--padding": padding,
        "--allocation": allocation,
    }
    _require_no_clash(given, plan_path, fit)
    if epochs and data is None:
        raise click.UsageError("--epochs trains on samples: give --data with x, and y if known.")
    if resume and not epochs:
        raise click.UsageError("--resume goes on with training: give the --epochs of that run.")
    profile = load_profile(device)
    require_keras_name(output)
    found = read_plan(plan_path) if plan_path is not None else None
    from edgeprune import checkpoint as checkpoints
    from edgeprune import keras_model
    from edgeprune.padding import make_symmetric
    from edgeprune.prune import layer_sparsities, prune_one_shot, reached_sparsity
    from edgeprune.train import train_pruned

    loaded = keras_model.load_model(model)
    needs_labels = epochs > 0 and training["distill"] == 0
    samples = _samples(data, keras_model.input_specs(loaded), scale, labels=needs_labels)
    fitted = _fitted(loaded, profile, samples, goal, only, skip) if fit else None
    if fitted:
        found = fitted.plan.model_copy(update={"model": str(model)})
    if found is None:
        with terminal.progress_bar() as tell:
            found = _make_plan(
                loaded,
                model,
                profile,
                sparsity=sparsity,
                goal=goal,
                only=only,
                skip=skip,
                padding=padding or ("symmetric" if epochs else "keep"),
                allocation=allocation,
                x=samples,
                progress=tell,
            )
    _require_same_device(found, profile, plan_path)
    check_plan(found, keras_model.describe(loaded))
    folder = checkpoint or output.with_name(f"{output.name}.checkpoint")
    padded = make_symmetric(loaded, found.padding) if found.padding else loaded
    with errors.quality_warnings() as caught, terminal.progress_bar() as tell:
        if epochs and samples is not None and found.pruned:
            pruned = train_pruned(
                padded,
                found,
                samples,
                epochs=epochs,
                teacher=loaded,
                checkpoint=folder,
                resume=resume,
                tensorboard=tensorboard,
                progress=tell,
                **_given(training),
            )
        else:
            pruned = prune_one_shot(padded, found, samples, progress=tell)
    keras_model.save_model(pruned, output)
    if epochs and checkpoint is None:
        checkpoints.remove(folder)
    warnings = [*found.warnings(), *caught]
    terminal.warn(warnings)
    reached = reached_sparsity(pruned, found)
    if as_json:
        _print_json(
            {
                "model": str(model),
                "device": profile.name,
                "output": str(output),
                "sparsity": {"asked": found.asked, "reached": reached},
                "layers": [
                    {"path": row.path, "weights": row.weights, "sparsity": row.sparsity}
                    for row in layer_sparsities(pruned, found)
                ],
                "fit": fitted.to_json() if fitted else None,
                "warnings": warnings,
            }
        )
    else:
        click.echo(f"{output}: {reached:.3f} of the prunable weights are zero or gone.")
    if fitted:
        terminal.say(str(fitted))
        context.exit(0 if fitted.ok else 1)


def _require_no_clash(given: dict[str, Any], plan_path: Path | None, fit: bool) -> None:
    clash = [name for name, value in given.items() if value is not None]
    if plan_path is not None and clash:
        raise click.UsageError(f"{', '.join(clash)} cannot be combined with --plan: edit the plan.")
    if fit and (plan_path is not None or given["--sparsity"] is not None):
        raise click.UsageError("--fit finds the sparsity: leave out --sparsity and --plan.")


def _fitted(
    loaded: Any, profile: DeviceProfile, samples: Any, goal: Any, only: Any, skip: Any
) -> Any:
    from edgeprune.channels.fit import fit_plan

    with terminal.progress_bar() as tell:
        return fit_plan(
            loaded, profile, data=samples, goal=goal, only=only, skip=skip, progress=tell
        )


def _given(training: dict[str, Any]) -> dict[str, Any]:
    """The options of training that were given, as `train_pruned` takes them."""
    from edgeprune.distill import Distillation

    given = {name: value for name, value in training.items() if value is not None}
    if "distill" in given:
        given["distillation"] = Distillation(given.pop("distill"))
    return given


def _make_plan(loaded: Any, path: Path, profile: DeviceProfile, **options: Any) -> Plan:
    return plan_model(loaded, profile, **options).model_copy(update={"model": str(path)})


def _require_same_device(found: Plan, profile: DeviceProfile, path: Path | None) -> None:
    if found.device != profile.name:
        raise PlanError(
            f"{path}: this plan was made for '{found.device}'. Received: --device {profile.name}. "
            "Make a new plan for this device."
        )


def _samples(
    path: Path | None, specs: Any, scale: tuple[float, float], *, labels: bool = False
) -> Data | None:
    return None if path is None else read_data(path, specs, scale=scale, labels=labels)


def _calibration(path: Path | None, specs: Any, scale: tuple[float, float]) -> list[Array] | None:
    samples = _samples(path, specs, scale)
    return None if samples is None else list(samples.x)


@cli.command()
@click.argument("model", type=_Path(), metavar="MODEL.keras")
@_device
@_data
@_scale
@click.option("--numerics", type=click.Choice(_NUMERICS), help="Number format; the profile's.")
@click.option(
    "--plan",
    "plan_path",
    type=_Path(),
    metavar="PLAN.json",
    help="The plan that the model was pruned by, for the manifest.",
)
@click.option("--c-array", is_flag=True, help="Also write OUT.cc and OUT.h for a firmware project.")
@click.option("-o", "--output", type=_Path(), required=True, metavar="OUT.tflite")
@_json
def export(
    model: Path,
    device: str,
    data: Path | None,
    scale: tuple[float, float],
    numerics: Any,
    plan_path: Path | None,
    c_array: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Write the model as a .tflite file in the device's number format, with a batch of 1.

    int8 needs --data: a few hundred samples, to find the range of every activation. Weights are
    stored sparsely where the device's runtimes read that. A manifest is put into the file and
    beside it, as OUT.manifest.json.
    """
    profile = load_profile(device)
    require_folder(output)
    for path in c_array_paths(output) if c_array else ():
        require_folder(path)
    found = read_plan(plan_path) if plan_path is not None else None
    from edgeprune import keras_model
    from edgeprune.convert import export as export_model

    loaded = keras_model.load_model(model)
    x = _calibration(data, keras_model.input_specs(loaded), scale)
    with terminal.progress_bar() as tell:
        tell(f"converting {model.name}", 0, 1)
        exported = export_model(loaded, profile, output, x=x, numerics=numerics, plan=found)
    terminal.warn(exported.warnings)
    artifact = exported.artifact
    written = write_c_array(output) if c_array else None
    if as_json:
        _print_json(
            {
                "model": str(model),
                "device": profile.name,
                "output": str(output),
                "numerics": exported.numerics,
                "size_bytes": artifact.size_bytes,
                "gzip_bytes": artifact.gzip_bytes,
                "sha256": artifact.sha256,
                "sparse_tensors": len(exported.sparse),
                "c_array": written.to_json() if written else None,
                **_network_json(exported.network.applied, exported.network.reason),
                "warnings": list(exported.warnings),
            }
        )
    else:
        click.echo(
            f"{output}: {exported.numerics}, {artifact.size_bytes} bytes, "
            f"{artifact.gzip_bytes} after gzip; {len(exported.sparse)} of {len(exported.tensors)} "
            "weights stored sparsely."
        )
        if written:
            click.echo(f"{written.source} and {written.header}: {written.identifier}")
        _say_network(exported.network.applied, exported.network.reason)


def _network_json(applied: Sequence[Applied], reason: str) -> dict[str, Any]:
    return {"rewrites": {change.name: change.places for change in applied}, "network": reason}


def _say_network(applied: Sequence[Applied], reason: str) -> None:
    """Says what came of the network where the device has a sparse mode."""
    if reason:
        changes = ", ".join(f"{change.name} ({change.places})" for change in applied)
        terminal.say(f"The network {reason}{f': {changes}' if changes else ''}.")


@cli.command()
@click.argument("model", type=_Path(), metavar="MODEL.tflite")
@_device
@click.option("-o", "--output", type=_Path(), required=True, metavar="OUT.tflite")
@_json
def encode(model: Path, device: str, output: Path, as_json: bool) -> None:
    """Store the weights of an existing file sparsely, where the device's runtimes read that.

    Only what was seen to compute right is stored sparsely, and only where it is smaller; where
    nothing can be gained the output is an equal file.
    """
    profile = load_profile(device)
    require_folder(output)
    with terminal.progress_bar() as tell:
        tell(f"encoding {model.name}", 0, 1)
        result = encode_file(model, rules_of(profile), output)
    if as_json:
        _print_json(
            {
                "model": str(model),
                "device": profile.name,
                "output": str(output),
                "bytes_before": result.bytes_before,
                "bytes_after": result.bytes_after,
                **_network_json(result.rewrites, result.network),
                "tensors": [_tensor_json(tensor) for tensor in result.tensors],
            }
        )
        return
    terminal.show_encoding(result)
    _say_network(result.rewrites, result.network)


def _tensor_json(tensor: TensorPlan) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "operator": tensor.operator,
        "stored": tensor.way,
        "sparsity": tensor.sparsity,
        "dense_bytes": tensor.dense_bytes,
        "sparse_bytes": tensor.sparse_bytes,
        "reason": tensor.reason,
    }


@cli.command()
@click.argument("model", type=_Path(), metavar="MODEL.tflite")
@click.option("-o", "--output", type=_Path(), required=True, metavar="OUT.tflite")
@_json
def densify(model: Path, output: Path, as_json: bool) -> None:
    """Store every sparse weight of a file densely again; it computes the same, bit for bit."""
    require_folder(output)
    with terminal.progress_bar() as tell:
        tell(f"densifying {model.name}", 0, 1)
        result = densify_file(model, output)
    content = {
        "model": str(model),
        "output": str(output),
        "bytes_before": result.bytes_before,
        "bytes_after": result.bytes_after,
        "tensors": list(result.tensors),
    }
    if as_json:
        _print_json(content)
    else:
        click.echo(
            f"{output}: {len(result.tensors)} weights made dense, {result.bytes_before} to "
            f"{result.bytes_after} bytes."
        )


@cli.command()
@click.argument("model", type=_Path(), metavar="MODEL.tflite")
@click.option("--device", metavar="D", help="Hold the file against this device's runtimes.")
@_json
def inspect(model: Path, device: str | None, as_json: bool) -> None:
    """Show what is in a .tflite file: operators, zeros, how they are stored, and what is wrong."""
    profile = load_profile(device) if device is not None else None
    inspection = inspect_file(model, profile)
    if as_json:
        _print_json(inspection.to_json())
    else:
        terminal.show_inspection(inspection)


@cli.command()
@click.argument("model", type=_Path(), metavar="MODEL.tflite")
@_device
@click.option(
    "--reference",
    type=_Path(),
    metavar="REF",
    help="A .tflite or .keras file whose outputs are right; without it the file is only "
    "compared with itself run by plain kernels.",
)
@_data
@_scale
@named_targets
@board_python
@_json
@click.pass_context
def validate(
    context: click.Context,
    model: Path,
    device: str,
    reference: Path | None,
    data: Path | None,
    scale: tuple[float, float],
    targets: tuple[str, ...],
    board_python: str,
    as_json: bool,
) -> None:
    """Check that a file loads, computes what it should and fits the device.

    Runtimes run in child processes; one that crashes or hangs is a failed check (exit code 1). This
    computer and the device's own instruments are always asked, others with --target.
    """
    profile = load_profile(device)
    graph = tflite_file.read(model)
    x = _calibration(data, input_specs(graph), scale)
    settings = Settings(python=board_python)
    verdict = validate_file(
        model, profile, reference=reference, x=x, targets=targets, settings=settings
    )
    if as_json:
        _print_json(verdict.to_json())
    else:
        terminal.show_verdict(verdict)
    context.exit(0 if verdict.ok else 1)


@cli.command()
@click.argument("models", type=_Path(), nargs=-1, required=True, metavar="MODEL.tflite...")
@_device
@measuring
@_json
def measure(
    models: tuple[Path, ...],
    device: str,
    targets: tuple[str, ...],
    settings: Settings,
    as_json: bool,
) -> None:
    """Measure files, in turn with each other; with several, compare them with the first."""
    profile = load_profile(device)
    with terminal.progress_bars() as tell:
        outcomes = measure_each(models, profile, targets, settings, tell)
    found = [m for outcome in outcomes for m in outcome.measurements]
    stand_ins = dict.fromkeys(m.target for m in found if m.stand_in)
    terminal.warn(
        f"'{name}' is not {profile.name}: it stands in for the device, for which "
        f"{', '.join(profile.targets)} would speak."
        for name in stand_ins
    )
    if as_json and found:
        _print_json([measurement.to_json() for measurement in found])
    elif not as_json:
        for outcome in outcomes:
            if outcome.measurements:
                terminal.show_measurements(outcome.measurements)
    failed = [outcome.error for outcome in outcomes if outcome.error]
    for error in failed[1:]:
        terminal.fail(str(error))
    if failed:
        raise failed[0]


@cli.command()
@click.argument("model", type=_Path(), metavar="MODEL.keras")
@click.option("--devices", required=True, metavar="D1,D2", help="Names or paths, with commas.")
@click.option("--data", type=_Path(), required=True, metavar="DATA.npz", help="x and labels y.")
@_scale
@_sparsity
@_goal
@_epochs
@_training
@_padding
@_allocation
@measuring
@click.option("-o", "--output", type=_Path(), required=True, metavar="DIR")
@_json
@click.pass_context
def compare(
    context: click.Context,
    /,
    model: Path,
    devices: str,
    data: Path,
    scale: tuple[float, float],
    sparsity: float | None,
    goal: Any,
    epochs: int,
    padding: Any,
    allocation: Any,
    targets: tuple[str, ...],
    settings: Settings,
    output: Path,
    as_json: bool,
    **training: Any,
) -> None:
    """Run the whole pipeline for several devices, and write a report.

    Accuracy is measured on x_test, y_test if the data has them, else on every fifth sample, which
    is then kept out of pruning and calibration.
    """
    options = {
        "scale": scale,
        "sparsity": sparsity,
        "goal": goal,
        "epochs": epochs,
        "padding": padding,
        "allocation": allocation,
        "targets": targets,
        "settings": settings,
        "training": _given(training),
    }
    _compare(context, model, devices.split(","), data, output, as_json, options)


@cli.command()
@click.option(
    "-o",
    "--output",
    type=_Path(),
    default=Path("edgeprune-demo"),
    show_default=True,
    metavar="DIR",
)
@_json
@click.pass_context
def demo(context: click.Context, output: Path, as_json: bool) -> None:
    """Train a small network on handwritten digits, then compare three devices.

    A model that an earlier demo left in DIR is used again.
    """
    require_folder(output / "report.json" if output.is_dir() else output)
    output.mkdir(exist_ok=True)
    from edgeprune.demo import DEVICES, PRUNING_EPOCHS, prepare

    with terminal.progress_bar() as tell:
        model, data = prepare(output, tell)
    options = {"epochs": PRUNING_EPOCHS}
    _compare(context, model, list(DEVICES), data, output, as_json, options)


def _compare(
    context: click.Context,
    model: Path,
    names: list[str],
    data: Path,
    output: Path,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    profiles = [load_profile(name.strip()) for name in names]
    from edgeprune.pipeline import compare as compare_devices

    with terminal.progress_bar() as tell:
        report = compare_devices(model, profiles, data, output, progress=tell, **options)
    if as_json:
        _print_json(report.to_json())
    else:
        terminal.show_report(report)
    terminal.say(f"Report: {output / 'report.html'} and {output / 'report.json'}")
    context.exit(0 if report.ok else 1)


@cli.group(invoke_without_command=True)
@_json
@click.pass_context
def targets(context: click.Context, as_json: bool) -> None:
    """List the instruments: which are ready, and what installs the others."""
    if context.invoked_subcommand:
        return
    states = {name: find_target(name).readiness() for name in TARGETS}
    if as_json:
        _print_json([{"target": name, **asdict(state)} for name, state in states.items()])
    else:
        terminal.show_targets(states)


@targets.command()
@click.argument("name")
def install(name: str) -> None:
    """Install what an instrument needs, or say how.

    `arm64-emulated` goes into the cache folder (XDG_CACHE_HOME, else ~/.cache); removing that
    folder removes it.
    """
    target = find_target(name)
    with terminal.progress_bar() as tell:
        target.install(tell)
    click.echo(f"{name} is ready: {target.readiness().detail}.")


@targets.command()
@click.argument("name", type=click.Choice(["arm64-emulated"]))
@click.option("--core", type=click.Choice(get_args(Core)), default=DEFAULT_CORE, show_default=True)
@click.option("-o", "--output", type=_Path(), required=True, metavar="COSTS.toml")
def calibrate(name: str, core: Any, output: Path) -> None:
    """Measure anew what each kernel costs there, for the plan's choice of patterns.

    Counts some 200 small networks in both runtimes, which takes minutes. A device profile of your
    own takes the file as costs = "PATH.toml".
    """
    require_folder(output)
    from edgeprune.cost import to_toml
    from edgeprune.targets.arm64_emulated.calibrate import calibrate as measure_costs

    with terminal.progress_bar() as tell:
        table = measure_costs(core, tell)
    write_file(output, to_toml(table).encode())
    errors = ", ".join(f"{runtime.name} {runtime.error:.1%}" for runtime in table.runtimes)
    click.echo(f"{output}: costs on {core} by {name}; they explain every network to {errors}.")


def _print_json(content: Any) -> None:
    click.echo(json.dumps(content, indent=2, allow_nan=False))


def main() -> None:
    """The program `edgeprune`."""
    terminal.silence_libraries()
    signal.signal(signal.SIGTERM, _stop)
    cli()


def _stop(number: int, _: object) -> None:
    """Ends in order, so that nothing stays behind here or on a device."""
    sys.exit(128 + number)
