"""Options of the command line that say with what and how to measure."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgeprune.measure import DEFAULT_PYTHON, Settings


def read_targets(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Names of instruments: the option may stand several times, and hold several with commas."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def read_affinity(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Numbers of processors, written as `0,2-3`."""
    if value is None:
        return ()
    found: list[int] = []
    for part in value.split(","):
        ends = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)
        if ends is None or int(ends[2] or ends[1]) < int(ends[1]):
            raise click.BadParameter(f"expected processors as in 0,2-3. Received: {value!r}.")
        found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    return tuple(sorted(set(found)))


def named_targets(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--target`, which may stand several times."""
    return click.option(
        "--target",
        "targets",
        multiple=True,
        callback=read_targets,
        metavar="T[,T...]",
        help="An instrument that `edgeprune targets` lists, such as host, ssh:pi@board:22 or "
        "adb:SERIAL; several work, those on other machines at the same time.",
    )(command)


board_python = click.option(
    "--board-python",
    envvar="EDGEPRUNE_BOARD_PYTHON",
    default=DEFAULT_PYTHON,
    show_default=True,
    metavar="COMMAND",
    help="The Python of boards that ssh reaches (also EDGEPRUNE_BOARD_PYTHON).",
)
_OPTIONS = (
    click.option(
        "--runtime",
        type=click.Choice(["tflite-runtime", "LiteRT", "TensorFlow"]),
        help="Where there are several; the first of these that the device names if not given.",
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
        type=click.Path(path_type=Path),
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
        runtime: str | None,
        threads: int,
        affinity: tuple[int, ...],
        board_python: str,
        benchmark_binary: Path | None,
        **others: Any,
    ) -> Any:
        settings = Settings(
            runtime=runtime,
            threads=threads,
            affinity=affinity,
            python=board_python,
            benchmark_binary=benchmark_binary,
        )
        return command(*arguments, settings=settings, **others)

    wrapped: Callable[..., Any] = with_settings
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return named_targets(wrapped)
