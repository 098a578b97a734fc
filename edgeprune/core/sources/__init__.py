"""Where samples come from: files, folders, functions and values, opened as one kind of thing.

`open_source` takes all that `--data` takes and all that the verbs take in Python. What it gives is
read as it is used (`core.data.Source`): a `Table` knows its length and reads any rows, a `Stream`
is read from its beginning.
"""

from edgeprune.core.sources.open import (
    AnySource,
    hold_out,
    open_source,
    open_split,
    open_with_test,
    read_data,
    read_split,
    samples_of,
)
from edgeprune.core.sources.stream import Stream
from edgeprune.core.sources.table import Table

__all__ = [
    "AnySource",
    "Stream",
    "Table",
    "hold_out",
    "open_source",
    "open_split",
    "open_with_test",
    "read_data",
    "read_split",
    "samples_of",
]
