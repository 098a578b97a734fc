"""`edgeprune prune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import inputs, options, terminal
from edgeprune.cli.output import print_json
from edgeprune.cli.plotting import plot
from edgeprune.cli.stopping import resumable
from edgeprune.core import errors

if TYPE_CHECKING:
    from edgeprune.conversion.given import Given
    from edgeprune.conversion.lift.write_back.write import WrittenBack
    from edgeprune.core.data import Scale
    from edgeprune.core.plan import Plan
    from edgeprune.planning.fit import Fitted
    from edgeprune.profiles.profile import DeviceProfile
    from edgeprune.pruning.training.epoch_record import EpochRecord
    from edgeprune.pruning.training.settings import Training


_FOLDED = (
    "In a .tflite file batch normalisation is folded into the weights: they were trained, and no "
    "statistics with them."
)


@click.command("prune")
@click.argument("model", type=options.PATH, metavar="MODEL.keras|.tflite|FOLDER")
@options.device
@click.option(
    "--plan", "plan_path", type=options.PATH, metavar="PLAN.json", help="As `plan -o` wrote."
)
@options.route_or_auto
@options.planned_runtime
@options.aim
@options.data_options
@options.samples
@options.hold_out
@options.validation_data("Training: find the best epoch by these samples.")
@options.signature
@options.custom_objects
@options.epochs
@options.training
@click.option(
    "--fit",
    is_flag=True,
    help="Remove channels until the exported file fits the device's limits, and no more; with "
    "--cost that is a limit too.",
)
@click.option(
    "--checkpoint",
    type=options.PATH,
    metavar="DIR",
    help="Keep the state of training here.  [default: OUT.keras.checkpoint, removed at the end]",
)
@click.option("--resume", is_flag=True, help="Go on with training that was interrupted.")
@click.option(
    "--tensorboard",
    type=options.PATH,
    metavar="DIR",
    help="Write logs of training here (pip install tensorboard).",
)
@plot("the curves of training (needs --epochs): losses, metrics, zeros and changes of the masks")
@options.chosen_layers
@options.allocation_options
@options.activation
@click.option("-o", "--output", type=options.PATH, required=True, metavar="OUT.keras|.tflite")
@options.json_document
@click.pass_context
def prune_command(
    context: click.Context,
    /,
    model: Path,
    signature: str | None,
    device: str,
    runtime: str | None,
    plan_path: Path | None,
    route: str | None,
    sparsity: float | None,
    cost: float | None,
    goal: Any,
    data: Path | None,
    samples: int | None,
    hold_out: bool,
    validation_data: Path | None,
    scale: Scale,
    epochs: int,
    fit: bool,
    checkpoint: Path | None,
    resume: bool,
    tensorboard: Path | None,
    picture: Path | None,
    only: str | None,
    skip: str | None,
    padding: Any,
    activation: Any,
    allocation: Any,
    output: Path,
    as_json: bool,
    **training: Any,
) -> None:
    """Put the zeros into a copy of the model: in one shot, or while training with --epochs.

    One shot needs no labels: with --data, every layer's mask and weights are chosen so that its
    outputs on the samples stay near those of the dense model. A few hundred samples suffice, and
    1024 are taken at most, or --samples. From 128 samples on, the weights that are left are then
    fine-tuned on what the dense model makes of them, where that takes no more than a few minutes.
    Without data, the smallest weights go, and accuracy with them.

    Where the device's pattern is Channels, whole channels are removed, and OUT.keras is a smaller
    plain model. With --data those go that the others can replace best, and the layers behind
    are corrected. --fit removes as few as the limits of the device profile allow, with the least
    expected error; where they cannot be met it says how close it came, and ends with 1.

    With --epochs N the model then trains: masks move at first, and the weights left recover. The
    loss is --loss or the one the model was compiled with, else cross-entropy, together with the
    distance to the dense model's outputs; without y that distance is the whole loss. The model of
    the best epoch is kept. Training that was interrupted goes on with --resume.

    On an int8 route training is quantisation-aware: weights and activations are rounded as the
    file will round them, and the best epoch is judged so. OUT.keras is a plain model; the ranges of
    its activations lie beside it, as OUT.ranges.json, where `export` finds them.

    The plan is kept beside the model, as OUT.plan.json, where `export` finds it.

    MODEL may be a .tflite file: what is pruned of it is written back into the file, as OUT.tflite,
    dense and not rewritten; `export` finishes it for the device. Everything that weights do not
    touch stays as it is. A file with int8 or uint8 activations keeps them, and is pruned on the
    device's int8 routes; --data holds real values as its inputs stand for, or images with --scale.
    With 64 samples or more, its scales, biases and rounding are mended where that brings its
    outputs nearer to those of MODEL. With --epochs it trains on the scales that it has.

    MODEL may be a SavedModel folder: one signature of it is converted to a float .tflite file, once
    for its content, and OUT.tflite is made of that.
    """
    asked = {
        "route": route,
        "sparsity": sparsity,
        "cost": cost,
        "goal": goal,
        "only": only,
        "skip": skip,
        "padding": padding,
        "activation": activation,
        "allocation": allocation,
    }
    inputs.require_one_aim(sparsity, cost)
    _require_no_clash(asked, plan_path, fit)
    inputs.require_data_of_samples(data, samples)
    if fit and route == "auto":
        raise click.UsageError("--fit fits one number format: name a route in place of auto.")
    inputs.require_epochs(epochs, training["quantize_aware"])
    _require_what_training_needs(epochs, data, resume, picture)
    _require_one_validation(epochs, validation_data, training["validation"])
    from edgeprune.core.files import require_output_folder, require_output_name
    from edgeprune.core.plan import read_plan

    profile = inputs.read_device(device, runtime)
    require_output_name(model, output)
    _require_place_for_plan(output)
    folder = checkpoint or output.with_name(f"{output.name}.checkpoint")
    if epochs:
        require_output_folder(folder)
    given = read_plan(plan_path) if plan_path is not None else None
    from edgeprune.conversion.given import keras_model_of, save_pruned
    from edgeprune.conversion.routes_of_given import routes_for
    from edgeprune.keras_model.ports import ports_of

    loaded = _load(model, signature)
    profile = routes_for(loaded, profile, [route])
    needs_labels = epochs > 0 and training["distill"] == 0
    ports = ports_of(loaded.model)
    source = inputs.open_samples(data, ports, scale, labels=needs_labels, without_held_out=hold_out)
    if validation_data is not None:
        training["validation"] = inputs.open_samples(validation_data, ports, scale)
    records: list[EpochRecord] = []
    tell = None if picture is None else records.append
    how = inputs.training_of(
        epochs, training, checkpoint=folder, resume=resume, tensorboard=tensorboard, tell_epoch=tell
    )
    if how is not None:
        _check_training(loaded.model, source, how)
    fitted = _fitted(loaded, profile, source, samples, asked) if fit else None
    if fitted:
        given = fitted.plan.model_copy(update={"model": str(model)})
    asked["padding"] = padding or ("symmetric" if epochs and loaded.lifted is None else "keep")
    asked["activation"] = activation or "keep"
    found = given or _planned(loaded, profile, source, asked | {"samples": samples})
    _require_same_device(found, profile, plan_path)
    how = _aware_where_dense(how, found, loaded.model)
    made, caught = _carried_out(loaded, found, profile, source, samples, how)
    file = save_pruned(made, output)
    pruned = keras_model_of(made)
    _keep_plan(found, pruned, output)
    if epochs and checkpoint is None:
        _remove_checkpoint(folder)
    _draw(picture, records, f"{model}: trained for {found.device}")
    terminal.warn(found.warnings())
    warnings = [*found.warnings(), *caught]
    if as_json:
        result = {"model": str(model), "device": profile.name, "output": str(output)}
        told = _result_json(pruned, found, fitted, warnings)
        print_json(result | told | _file_json(file))
    else:
        _say_result(output, pruned, found)
        if epochs and loaded.lifted is not None:
            terminal.show(_FOLDED)
    _say_what_was_not_kept(file)
    if fitted:
        terminal.say(str(fitted))
        context.exit(0 if fitted.ok else 1)


def _say_what_was_not_kept(file: WrittenBack | None) -> None:
    """What a file could not keep, and what samples made better in it."""
    if file is None:
        return
    if file.new_scales:
        terminal.say(
            f"{file.new_scales} scales of weights are new: the old ones do not fit the values."
        )
    if file.untied:
        terminal.say(
            "Kernels stored once more, as layers that shared one have each its own now: "
            f"{file.untied}."
        )
    if file.mended and file.mended.applied:
        terminal.say(str(file.mended))


def _file_json(file: WrittenBack | None) -> dict[str, Any]:
    mended = file.mended if file else None
    return {
        "new_scales": file.new_scales if file else None,
        "int8": mended.to_json() if mended else None,
    }


def _draw(picture: Path | None, records: list[EpochRecord], title: str) -> None:
    """Writes the curves of training, where they are asked for and an epoch was done."""
    if picture is None or not records:
        return
    from edgeprune.report.training_chart import plot_training

    plot_training(title, records, picture)
    terminal.say(f"{picture}: losses and masks of {len(records)} epochs.")


def _load(model: Path, signature: str | None) -> Given:
    """The model, as `loaded_model`; what its file warns of is said."""
    with inputs.telling_warnings():
        return inputs.loaded_model(model, signature)


def _require_what_training_needs(
    epochs: int, data: Path | None, resume: bool, picture: Path | None
) -> None:
    if epochs and data is None:
        raise click.UsageError("--epochs trains on samples: give --data with x, and y if known.")
    if picture is not None and not epochs:
        raise click.UsageError("--plot draws the curves of training: give --epochs.")
    if resume and not epochs:
        raise click.UsageError("--resume goes on with training: give the --epochs of that run.")


def _require_one_validation(epochs: int, samples: Path | None, fraction: float) -> None:
    if samples is not None and not epochs:
        raise click.UsageError("--validation-data finds the best epoch: give --epochs.")
    if samples is not None and fraction:
        raise click.UsageError("--validation-data and --validation cannot be combined: give one.")


def _require_place_for_plan(output: Path) -> None:
    from edgeprune.conversion.plan_beside import plan_beside
    from edgeprune.core.files import require_folder

    place = plan_beside(output)
    if place is not None:
        require_folder(place)


def _keep_plan(found: Plan, pruned: Any, output: Path) -> None:
    from edgeprune.conversion.plan_beside import keep_plan

    keep_plan(found, pruned, output)


def _check_training(loaded: Any, samples: Any, how: Training) -> None:
    from edgeprune.pruning.training.labels import check_training

    check_training(loaded, samples, how)


def _planned(loaded: Given, profile: DeviceProfile, source: Any, asked: dict[str, Any]) -> Plan:
    with inputs.telling_warnings(), terminal.progress_bar() as tell:
        return inputs.plan_as_asked(
            loaded, profile, x=source, look_around=False, progress=tell, **asked
        )


def _aware_where_dense(how: Training | None, found: Plan, model: Any) -> Training | None:
    from edgeprune.pruning.carry_out import aware_where_dense

    return how and aware_where_dense(how, found, model)


def _carried_out(
    loaded: Given,
    found: Plan,
    profile: DeviceProfile,
    source: Any,
    samples: int | None,
    training: Training | None,
) -> tuple[Any, list[str]]:
    """The pruned model, and what was warned of on the way."""
    from edgeprune.pruning.carry_out import prune as carry_out

    caught: list[str] = []

    def warn(message: str) -> None:
        caught.append(message)
        terminal.warn([message])

    with resumable(training), errors.told_quality_warnings(warn), terminal.progress_bar() as tell:
        pruned = carry_out(
            loaded, found, source, training, device=profile, samples=samples, progress=tell
        )
    return pruned, caught


def _remove_checkpoint(folder: Path) -> None:
    from edgeprune.pruning.training import checkpoint

    checkpoint.remove_checkpoint(folder)


def _say_result(output: Path, pruned: Any, found: Plan) -> None:
    from edgeprune.cli import tables
    from edgeprune.keras_model.sparsity import reached_sparsity

    tables.show_islands(found)
    reached = reached_sparsity(pruned, found)
    terminal.show(f"{output}: {reached:.3f} of the prunable weights are zeroed or removed.")


def _require_no_clash(asked: dict[str, Any], plan_path: Path | None, fit: bool) -> None:
    clash = [f"--{name}" for name, value in asked.items() if value is not None]
    if plan_path is not None and clash:
        raise click.UsageError(f"{', '.join(clash)} cannot be combined with --plan: edit the plan.")
    if fit and asked["activation"] not in (None, "keep"):
        raise click.UsageError("--fit removes channels and nothing else: leave out --activation.")
    if fit and (plan_path is not None or asked["sparsity"] is not None):
        raise click.UsageError("--fit finds the sparsity: leave out --sparsity and --plan.")


def _fitted(
    loaded: Given,
    profile: DeviceProfile,
    source: Any,
    samples: int | None,
    asked: dict[str, Any],
) -> Fitted:
    from edgeprune.planning.fit import fit_plan
    from edgeprune.pruning.reconstruct.samples import most_samples

    wanted = {name: asked[name] for name in ("cost", "goal", "only", "skip")}
    with inputs.telling_warnings(), terminal.progress_bar() as tell:
        chosen = profile.on(asked["route"], asked["goal"]) if asked["route"] else profile
        some = None if source is None else source.some(most_samples(samples))
        return fit_plan(loaded, chosen, data=some, progress=tell, **wanted)


def _require_same_device(found: Plan, profile: DeviceProfile, path: Path | None) -> None:
    if found.device != profile.name:
        raise errors.PlanError(
            f"{path}: this plan was made for '{found.device}'. Received: --device {profile.name}. "
            "Make a new plan for this device."
        )


def _result_json(
    pruned: Any, found: Plan, fitted: Fitted | None, warnings: list[str]
) -> dict[str, Any]:
    from edgeprune.keras_model.sparsity import layer_sparsities, reached_sparsity

    return {
        "sparsity": {"asked": found.asked, "reached": reached_sparsity(pruned, found)},
        "layers": [
            {"path": row.path, "weights": row.weights, "sparsity": row.sparsity}
            for row in layer_sparsities(pruned, found)
        ],
        "fit": fitted.to_json() if fitted else None,
        "warnings": warnings,
    }
