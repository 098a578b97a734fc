"""Options of the commands that write .tflite files: what is left out to save flash."""

from __future__ import annotations

import click

from edgeprune.cli.options import together

max_arena = click.option(
    "--max-arena",
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="On a route that packs weights: the most bytes of arena, in place of the profile's limit. "
    "The weights are packed that make the file smallest within it.",
)
flash = together(
    click.option(
        "--strip-names",
        is_flag=True,
        help="Leave out the names of tensors; inputs and outputs keep theirs in the signature.",
    ),
    click.option(
        "--strip-manifest",
        is_flag=True,
        help="Leave the manifest out of the file itself.",
    ),
    max_arena,
)
