"""Tables of a search beside Optuna's, in the same database: what was agreed on, and files.

Whoever writes first is right; a row never changes. That needs no lock on any database.
"""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, MetaData, String, Table, Text, insert, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError

_TABLES = MetaData()
_AGREED = Table(
    "edgeprune_agreed",
    _TABLES,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
_FILES = Table(
    "edgeprune_files",
    _TABLES,
    Column("sha256", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)


def make_tables(engine: Engine) -> None:
    """Makes the tables where they are not there yet."""
    _TABLES.create_all(engine)


def agree(engine: Engine, name: str, value: str) -> str:
    """Writes a value if nobody wrote one by this name; returns the one that is there."""
    _add(engine, _AGREED, name=name, value=value)
    with engine.connect() as connection:
        return str(
            connection.execute(select(_AGREED.c.value).where(_AGREED.c.name == name)).scalar_one()
        )


def put_file(engine: Engine, sha256: str, content: bytes) -> None:
    """Stores a file, if it is not there yet."""
    if get_file(engine, sha256) is None:
        _add(engine, _FILES, sha256=sha256, content=content)


def get_file(engine: Engine, sha256: str) -> bytes | None:
    """The content of a file; None if it is not there."""
    with engine.connect() as connection:
        found = connection.execute(
            select(_FILES.c.content).where(_FILES.c.sha256 == sha256)
        ).scalar_one_or_none()
    return None if found is None else bytes(found)


def _add(engine: Engine, table: Table, **row: object) -> None:
    try:
        with engine.begin() as connection:
            connection.execute(insert(table).values(**row))
    except IntegrityError:
        return  # another worker was first
