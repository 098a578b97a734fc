"""Options that several commands share: what to prune and how, and with what to measure."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from edgeprune.cli.completion import (
    complete_device,
    complete_devices,
    complete_route,
    complete_targets,
)
from edgeprune.cli.option_values import (
    RuntimeChoice,
    read_affinity,
    read_losses,
    read_scale,
    read_targets,
)
from edgeprune.core.terms import Activation, Allocation, Goal
from edgeprune.targets.measurement import DEFAULT_PYTHON, Settings

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """One decorator that adds several options, in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


device = click.option(
    "--device",
    required=True,
    metavar="D",
    shell_complete=complete_device,
    help="A profile that `edgeprune devices` lists, a product such as 'pixel 8', or the path of "
    "your own .toml profile.",
)
route = click.option(
    "--route",
    metavar="NAME",
    shell_complete=complete_route,
    help="One of the device's routes, number format and pattern together; `edgeprune devices "
    "--json` lists them.",
)
route_or_auto = click.option(
    "--route",
    metavar="NAME|auto",
    shell_complete=complete_route,
    help="One of the device's routes, number format and pattern together; `edgeprune devices "
    "--json` lists them. `auto` is the one that the device's cost table expects to be fastest at "
    "its default sparsity, dense ones included; without such a table and with --goal flash, that "
    "with the fewest bytes.",
)
planned_runtime = click.option(
    "--runtime",
    metavar="NAME[==VERSION]",
    help="The runtime that the file will run in, one of those that the device lists; made for all "
    "of them if not given.",
)
aim = together(
    click.option(
        "--sparsity",
        type=float,
        metavar="F",
        help="Fraction of zeros in [0, 1) over the device's prunable weights; the profile's "
        "default.",
    ),
    click.option(
        "--cost",
        type=float,
        metavar="F",
        help="In place of --sparsity: the fraction of the dense model's cost in the same number "
        "format that may be left, such as 0.6, by the device's cost table or else the profile's "
        "channel costs. What is removed is spread so that the loss per cost saved is smallest.",
    ),
    click.option(
        "--goal",
        type=click.Choice(get_args(Goal)),
        help="What matters most, where a device has more than one pattern.",
    ),
)
_scale = together(
    click.option(
        "--scale",
        metavar="MEAN,STD|auto",
        default="auto",
        show_default=True,
        callback=read_scale,
        help="uint8 data becomes (x - MEAN) / STD; auto leaves it as it is where the model "
        "preprocesses by itself, else uses 127.5,127.5, and takes what an exported file was made "
        "with.",
    ),
    click.option(
        "--preprocess",
        metavar="NAME",
        help="In place of --scale: uint8 images become what the preprocess_input of this module "
        "makes of them, such as keras.applications.resnet50.",
    ),
)


def scale(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say how uint8 becomes floats; the command takes them as `scale`."""

    @functools.wraps(command)
    def with_scale(*arguments: Any, scale: Any, preprocess: str | None, **others: Any) -> Any:
        if preprocess is not None:
            source = click.get_current_context().get_parameter_source("scale")
            if source is not click.core.ParameterSource.DEFAULT:
                raise click.UsageError(
                    "--scale and --preprocess both say what becomes of uint8 data: give one."
                )
            from edgeprune.keras_model.applications import preprocessing_of

            scale = preprocessing_of(preprocess)
        return command(*arguments, scale=scale, **others)

    return _scale(with_scale)


_KINDS = (
    "an .npz, or a folder of .npy files, with x [n, ...] (one array per input, by name, if there "
    "are several) and labels y [n] (y_NAME for each output, if there are several); a folder of "
    "images with one sub-folder per class; or file.py:function or module:function, which runs "
    "that code and returns a tf.data.Dataset, a PyDataset, arrays, (x, y) or a dict."
)


devices = click.option(
    "--devices",
    required=True,
    metavar="D1,D2",
    shell_complete=complete_devices,
    help="Profiles, products such as pixel 8, or paths, with commas.",
)


max_drop = click.option(
    "--max-drop",
    type=float,
    metavar="F",
    help="The accuracy that may be lost against the dense float model: 0.01 is one point.",
)


def data_option(*, required: bool = False) -> Callable[[Command], Command]:
    """The option that names samples."""
    return click.option(
        "--data", type=PATH, required=required, metavar="DATA", help=f"Samples: {_KINDS}"
    )


def validation_data(use: str) -> Callable[[Command], Command]:
    """The option that names other samples.

    Args:
      use: what they are for.
    """
    return click.option(
        "--validation-data", type=PATH, metavar="DATA", help=f"{use} Of any kind that --data takes."
    )


signature = click.option(
    "--signature",
    metavar="NAME",
    help="Of a SavedModel folder: the signature that is taken, where it has several.",
)
_custom_objects = click.option(
    "--custom-objects",
    type=PATH,
    metavar="FILE.py",
    help="Runs the code of this file first: custom layers, losses and metrics that it defines or "
    "registers are found when the model is loaded.",
)


def custom_objects(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the option that names a file with custom layers, which is run before the command."""

    @functools.wraps(command)
    def with_objects(*arguments: Any, custom_objects: Path | None, **others: Any) -> Any:
        if custom_objects is not None:
            from edgeprune.keras_model.custom import register_code

            register_code(custom_objects)
        return command(*arguments, **others)

    return _custom_objects(with_objects)


data_options = together(data_option(), scale)
chosen_layers = together(
    click.option("--only", metavar="REGEX", help="Prune only layers in whose path REGEX is found."),
    click.option("--skip", metavar="REGEX", help="Leave out layers in whose path REGEX is found."),
)
hold_out = click.option(
    "--hold-out",
    is_flag=True,
    help="Leave out every fifth sample of --data: those that `search` and `compare` judge files by "
    "where there are no x_test and y_test.",
)
samples = click.option(
    "--samples",
    type=click.IntRange(1),
    metavar="N",
    help="Take at most so many samples of --data to plan and to prune in one shot, evenly spread. "
    "More are slower, and no longer joined by moved copies of small images.  [default: 1024]",
)
allocation_options = together(
    click.option(
        "--padding",
        type=click.Choice(["keep", "symmetric"]),
        help="Make the padding of stride-2 convolutions symmetric, where the device's kernels want "
        "it; it changes the function a little.  [default: symmetric with --epochs, else keep]",
    ),
    click.option(
        "--allocation",
        type=click.Choice(get_args(Allocation)),
        help="How zeros are spread over layers: evenly, by the weights alone (LAMP), or by what "
        "each layer loses on --data.  [default: the profile's with --data, else uniform]",
    ),
)
activation = click.option(
    "--activation",
    type=click.Choice(get_args(Activation)),
    help="Replace swish, GELU and the like on maps by a cheaper function; it changes what the "
    "model computes, so it wants --epochs.  [default: keep]",
)
epochs = click.option(
    "--epochs",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Train so many epochs on x and y with masks; 0 prunes in one shot.",
)
training = together(
    click.option(
        "--quantize-aware/--no-quantize-aware",
        default=None,
        help="Train with the rounding of the int8 file.  [default: on int8 routes]",
    ),
    click.option(
        "--loss",
        multiple=True,
        callback=read_losses,
        metavar="[OUTPUT=]NAME",
        help="A loss of Keras to train with, such as mean_squared_error; of several outputs for "
        "all, or once for each as OUTPUT=NAME.  [default: the compiled "
        "one; without one binary cross-entropy for a sigmoid and labels 0 and 1, else sparse "
        "categorical cross-entropy]",
    ),
    click.option(
        "--augment",
        type=click.Choice(["none", "flip-shift"]),
        default="none",
        show_default=True,
        help="While training, flip images at random and shift them by up to 4 pixels.",
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
    click.option(
        "--learning-rate", type=float, metavar="R", help="Peak learning rate of training."
    ),
    click.option(
        "--batch-size", type=click.IntRange(1), metavar="N", help="Batch size of training."
    ),
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
    click.option("--seed", type=int, default=0, show_default=True, help="Random seed of training."),
)
json_document = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
target_option = click.option(
    "--target",
    "targets",
    multiple=True,
    callback=read_targets,
    shell_complete=complete_targets,
    metavar="T[,T...]",
    help="An instrument that `edgeprune targets` lists, such as host, ssh:pi@board:22 or "
    "adb:SERIAL; several work, those on other machines at the same time.",
)
board_python = click.option(
    "--board-python",
    envvar="EDGEPRUNE_BOARD_PYTHON",
    default=DEFAULT_PYTHON,
    show_default=True,
    metavar="COMMAND",
    help="The Python of boards that ssh reaches (also EDGEPRUNE_BOARD_PYTHON).",
)
install_targets = click.option(
    "--install-targets",
    is_flag=True,
    help="First set up the instruments that the devices need and that are missing here, as "
    "`edgeprune targets install` does.",
)
force = click.option(
    "--force",
    is_flag=True,
    help="Do everything again, also what an earlier run left in DIR and nothing changed since.",
)
_measuring = together(
    target_option,
    click.option(
        "--runtime",
        type=RuntimeChoice(["tflite-runtime", "LiteRT", "TensorFlow"]),
        metavar="NAME[==VERSION]",
        help="tflite-runtime, LiteRT or TensorFlow, where there are several; the first that the "
        "device lists and that is installed if not given.",
    ),
    click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True),
    click.option(
        "--affinity",
        metavar="CPUS",
        callback=read_affinity,
        help="Processors to run on, as in 0,2-3; any if not given.",
    ),
    board_python,
    click.option(
        "--benchmark-binary",
        envvar="EDGEPRUNE_BENCHMARK_BINARY",
        type=PATH,
        metavar="PATH",
        help="TensorFlow's benchmark_model for devices that adb reaches (also "
        "EDGEPRUNE_BENCHMARK_BINARY).",
    ),
)


def measuring(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a measurement; the command takes them as `targets` and `settings`."""

    @functools.wraps(command)
    def with_settings(
        *arguments: Any,
        runtime: tuple[str, str | None] | None,
        threads: int,
        affinity: tuple[int, ...],
        board_python: str,
        benchmark_binary: Path | None,
        **others: Any,
    ) -> Any:
        name, version = runtime or (None, None)
        settings = Settings(
            runtime=name,
            runtime_version=version,
            threads=threads,
            affinity=affinity,
            python=board_python,
            benchmark_binary=benchmark_binary,
        )
        return command(*arguments, settings=settings, **others)

    return _measuring(with_settings)
