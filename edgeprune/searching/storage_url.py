"""The address of a search's storage: what SQLAlchemy is given, and what people may see of it.

A password in it appears in no file, log or error: everything that is printed goes through `hide`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from edgeprune.core.errors import InputError

HIDDEN = "***"
_SQLITE = "sqlite"
_POSTGRESQL = frozenset({"postgresql", "postgres"})
_DRIVER = "psycopg"
_FORMS = "sqlite:///FILE, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


@dataclass(frozen=True)
class StorageUrl:
    """A storage that workers share."""

    url: URL = field(repr=False)
    """With its password, if it has one."""
    place: str
    """The host and database, or the file, for people."""
    masked: str
    """As it was given, with `***` for each password."""
    local: bool
    """Whether it is a SQLite file."""
    secrets: tuple[str, ...] = field(repr=False)
    """The passwords, in every spelling."""

    @property
    def text(self) -> str:
        """The whole address, for SQLAlchemy alone."""
        return self.url.render_as_string(hide_password=False)

    def hide(self, text: str) -> str:
        """A text without the passwords."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text


def file_url(path: Path) -> StorageUrl:
    """The storage in a SQLite file."""
    url = URL.create(_SQLITE, database=str(path.resolve()))
    return StorageUrl(url, str(path), str(url), local=True, secrets=())


def read_url(text: str) -> StorageUrl:
    """Reads what `--storage` takes.

    Raises:
      InputError: it is no address of a storage that a search can have; no password is repeated.
    """
    try:
        url = make_url(text)
        port = url.port
    except (ArgumentError, ValueError):
        raise InputError(f"--storage: expected {_FORMS}. Received something else.") from None
    dialect, _, driver = url.drivername.partition("+")
    if dialect == _SQLITE:
        if not url.database or url.database == ":memory:":
            raise InputError(
                "--storage: expected the path of a file behind sqlite:///. Received none, and a "
                "search in memory cannot be continued."
            )
        return file_url(Path(url.database))
    if dialect not in _POSTGRESQL or driver not in ("", _DRIVER):
        raise InputError(f"--storage: expected {_FORMS}. Received: {url.drivername}://...")
    secrets = _secrets(url)
    shown = url.set(password=None) if url.password is None else url.set(password=HIDDEN)
    shown = shown.set(query={key: "" if _is_secret(key) else v for key, v in url.query.items()})
    host = f"{url.host or url.query.get('host') or 'localhost'}{f':{port}' if port else ''}"
    return StorageUrl(
        url.set(drivername=f"postgresql+{_DRIVER}"),
        f"database '{url.database or ''}' on {host}",
        shown.render_as_string(hide_password=True),
        local=False,
        secrets=secrets,
    )


def _is_secret(key: str) -> bool:
    return "pass" in key.lower()


def _secrets(url: URL) -> tuple[str, ...]:
    """The passwords as they are, and as they are written in addresses; the longest first."""
    found = [str(url.password)] if url.password else []
    for key, value in url.query.items():
        if _is_secret(key):
            found += [value] if isinstance(value, str) else value
    spelt = dict.fromkeys(each for word in found if word for each in _spellings(word))
    return tuple(sorted(spelt, key=len, reverse=True))


def _spellings(word: str) -> Iterable[str]:
    return (word, quote(word), quote(word, safe=""), quote_plus(word), repr(word)[1:-1])
