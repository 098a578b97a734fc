"""The command line: reads arguments, calls the verbs, prints what they return.

Every command is a function `NAME_command` in a module NAME here, which is imported when it is asked
for. Beside click and the shared options such a module imports what it works with inside its
functions. So help is there at once, and a command waits only for what it needs.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import click

from edgeprune.cli import stopping, streams, terminal, watched
from edgeprune.cli.output import print_error
from edgeprune.core.errors import CheckError, EdgepruneError, kind_of
from edgeprune.core.spelling import suggestion

_COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "compare": "Run the whole pipeline for several devices, and write a report.",
        "demo": (
            "Train a small network on handwritten digits, then compare three devices, and search."
        ),
        "densify": (
            "Store every sparse weight of a file densely again; it computes the same, bit for bit."
        ),
        "devices": "List the devices: what each is and the pattern that pays there.",
        "doctor": "Print what a report of a fault needs: versions, instruments, memory, caches.",
        "encode": (
            "Store the weights of an existing file sparsely, where the device's runtimes read that."
        ),
        "export": (
            "Write the model as a .tflite file in the device's number format, with a batch of 1."
        ),
        "inspect": (
            "Show what is in a .tflite file: operators, zeros, how they are stored, and what "
            "is wrong."
        ),
        "measure": (
            "Measure files, in turn with each other; with several, compare them with the first."
        ),
        "plan": "Say which layers would be pruned, in which pattern, and why not the others.",
        "prune": (
            "Put the zeros into a copy of the model: in one shot, or while training with --epochs."
        ),
        "routes": (
            "Measure every route of a device, dense and pruned, to see which pays before training."
        ),
        "search": (
            "Search routes, sparsities and training for the fastest file that keeps the accuracy."
        ),
        "snippet": (
            "Show the code that loads a .tflite file on a device, fills its inputs and reads its "
            "outputs."
        ),
        "targets": "List the instruments: which are ready, and what installs the others.",
        "validate": "Check that a file loads, computes what it should and fits the device.",
    }
)
"""The first sentence of each command's help, for the help of the program."""


class _Edgeprune(click.Group):
    """Loads commands when they are asked for, and ends edgeprune's errors without a traceback."""

    def list_commands(self, _: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"edgeprune.cli.{name}")
        command: click.Command = getattr(module, f"{name}_command")
        return command

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, with the sentences above in place of the commands themselves."""
        width = formatter.width - 6 - max(map(len, _COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, click.Command(name, help=_COMMANDS[name]).get_short_help_str(width))
                    for name in sorted(_COMMANDS)
                ]
            )

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        unknown = args and not args[0].startswith("-") and args[0] not in _COMMANDS
        if unknown and not context.resilient_parsing:
            near = suggestion(args[0], _COMMANDS)
            raise click.UsageError(f"No such command '{args[0]}'.{near}", context)
        return super().resolve_command(context, args)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        as_json = _asks_for_json(args)
        with _explained(as_json):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[_AS_JSON] = as_json
        return context

    def invoke(self, context: click.Context) -> Any:
        as_json = context.meta[_AS_JSON]
        try:
            with _explained(as_json):
                return super().invoke(context)
        except EdgepruneError as error:
            terminal.fail(str(error))
            terminal.point_to_help(kind_of(error))
            if as_json:
                print_error(type(error).__name__, str(error))
            context.exit(error.exit_code)
        except click.exceptions.Exit as end:
            if end.exit_code == CheckError.exit_code:
                terminal.point_to_help(CheckError.__name__)
            raise


_AS_JSON = "edgeprune.as_json"


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether a document is asked for, as far as that can be told of arguments not yet read."""
    ends = [*arguments, "--"].index("--")
    return "--json" in arguments[:ends]


@contextlib.contextmanager
def _explained(as_json: bool) -> Iterator[None]:
    """Has errors of usage printed as JSON, if asked for, and without what steers a terminal."""
    try:
        yield
    except click.UsageError as error:
        if as_json:
            print_error("UsageError", error.format_message())
        message = terminal.printable(error.format_message(), sys.stderr.encoding)
        raise click.UsageError(message, error.ctx) from error


def _print_versions(context: click.Context, _: click.Parameter, asked: bool) -> None:
    """Ends the program with its version and those of the runtimes, none of which is imported."""
    if not asked or context.resilient_parsing:
        return
    from importlib.metadata import version

    from edgeprune.targets.surroundings import found_runtimes

    terminal.show(f"edgeprune, version {version('edgeprune')}")
    for runtime in found_runtimes():
        terminal.show(str(runtime))
    context.exit()


@click.group(
    cls=_Edgeprune,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Show the versions of edgeprune and of the runtimes, and exit.",
)
def cli() -> None:
    """Prune a Keras 3 model for a device and get a .tflite file that is measured on it.

    Zeros alone speed nothing up: every runtime skips them in a few kernels only, each with its own
    pattern. edgeprune knows the pattern that pays on each device, prunes to it, and measures.

    \b
    Start here:
      edgeprune devices                                       what pays where
      edgeprune demo -o demo                                  everything, on a small real model
      edgeprune routes model.keras --device arm-neon-int8     which route is fastest, untrained
    Your own model, step by step:
      edgeprune plan   model.keras --device xnnpack-arm64     what would be pruned, and why
      edgeprune prune  model.keras --device xnnpack-arm64 --data data.npz --epochs 4 -o pruned.keras
      edgeprune export pruned.keras --device xnnpack-arm64 -o pruned.tflite
      edgeprune validate pruned.tflite --device xnnpack-arm64 --reference pruned.keras
      edgeprune measure  dense.tflite pruned.tflite --device xnnpack-arm64
    A .tflite file that you have, whoever made it:
      edgeprune inspect model.tflite --device xnnpack-arm64   what is in it, and what is wrong
      edgeprune encode  model.tflite --device xnnpack-arm64 -o sparse.tflite
    Or have the fastest file found that keeps the accuracy:
      edgeprune search model.keras --devices android-phone --data data.npz --max-drop 0.01 -o found
    What you ship, in your program:
      edgeprune snippet model.tflite --device android-phone   how an app loads it, in Kotlin
    Or all of it for several devices, with a report:
      edgeprune compare model.keras --devices xnnpack-arm64,edge-tpu --data data.npz -o report

    \b
    Exit codes: 0 good, 1 a check failed, 2 bad input or usage.
    Set EDGEPRUNE_LOG=1 to see what TensorFlow writes while it works.
    """


def main() -> None:
    """The program `edgeprune`."""
    streams.open_streams()
    if sys.platform != "win32" and watched.needs_child(sys.argv[1:]):
        from edgeprune.cli.guard import run_in_child

        sys.exit(run_in_child(sys.argv[1:]))
    terminal.silence_libraries()
    stopping.end_in_order_on_signals()
    watched.watch_parent()
    try:
        streams.flushed(cli)
    except stopping.Stopped as stopped:
        stopping.leave(stopped)
