"""Draws figures into PNG and SVG files."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCH = 150
"""Pixels of a PNG."""
_TALLEST = 60_000
"""Pixels that matplotlib draws at most, with room to spare."""


def save_picture(draw: Callable[[Figure], None], path: Path, height: float) -> None:
    """Draws onto a new figure and writes it: as SVG where the name says so, else as PNG.

    Args:
      draw: adds axes and fills them.
      path: of the file.
      height: of the figure, which is 9 wide, in inches.

    Raises:
      OutputError: the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    form = "svg" if path.suffix.lower() == ".svg" else "png"
    # Names of layers are text, also those with a dollar sign, which would begin a formula.
    with mpl.rc_context(
        {
            "font.family": "sans-serif",
            "font.size": 9,
            "svg.fonttype": "none",
            "svg.hashsalt": "edgeprune",
            "text.parse_math": False,
        }
    ):
        figure = Figure(figsize=(9.0, height), layout="constrained")
        draw(figure)
        buffer = io.BytesIO()
        metadata = {"Date": None} if form == "svg" else None
        dots = min(_INCH, _TALLEST / height)
        figure.savefig(buffer, format=form, dpi=dots, facecolor="white", metadata=metadata)
    write_file(path, buffer.getvalue())
