"""What every printed value must hold to, as text and in a notebook."""

from __future__ import annotations

import re
from html import unescape

from edgeprune.core.grid import WIDTH, Printable

HOSTILE = "block/<script>alert('&')</script>\x1b[31m"
"""A layer name that would run in a page and colour a terminal."""


def check_printed(value: Printable, *facts: str) -> None:
    """Checks that text and HTML hold the facts, and that neither lets a hostile name through.

    Line breaks of the text and tags of the HTML count as spaces.
    """
    text, page = str(value), value._repr_html_()
    assert max(map(len, text.split("\n"))) <= WIDTH
    assert "\x1b" not in text + page
    assert "<script" not in page
    for shown in (text, unescape(re.sub("<[^>]*>", " ", page))):
        missing = [fact for fact in facts if fact not in " ".join(shown.split())]
        assert not missing, shown
    assert repr(value).startswith((type(value).__name__, "("))
