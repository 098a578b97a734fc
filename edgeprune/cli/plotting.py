"""The option `--plot`, of commands that can draw what they did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from edgeprune.cli.options import PATH, Command

_FORMS = (".png", ".svg")


def plot(shows: str) -> Callable[[Command], Command]:
    """Adds `--plot`, the picture's path; what cannot be written there is refused at once.

    Args:
      shows: what the picture shows, for the help.
    """
    return click.option(
        "--plot",
        "picture",
        type=PATH,
        metavar="OUT.png|.svg",
        callback=_require_place,
        help=f"Also draw {shows}.",
    )


def _require_place(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    if path is None or context.resilient_parsing:
        return path
    if path.suffix.lower() not in _FORMS:
        raise click.BadParameter(
            f"expected a name that ends in .png or .svg. Received: {path}.", param_hint="--plot"
        )
    from edgeprune.core.files import require_folder

    require_folder(path)
    return path
