"""Addresses of storages, and the passwords in them, which nobody gets to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.core.errors import InputError
from edgeprune.searching.storage_url import file_url, read_url


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_is_spoken_to_by_psycopg_whatever_the_scheme_is_called(scheme: str) -> None:
    found = read_url(f"{scheme}://ann:secret@db.example:5433/search")
    assert found.text == "postgresql+psycopg://ann:secret@db.example:5433/search"
    assert found.place == "database 'search' on db.example:5433"
    assert not found.local


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("postgresql://ann:s3cret@db/search", ["s3cret"]),
        ("postgresql://ann:p%40ss%2Fword@db/search", ["p@ss/word", "p%40ss%2Fword"]),
        ("postgresql://db/search?user=ann&password=s3cret", ["s3cret"]),
        ("postgresql://ann:s3cret@db/search?sslpassword=t0psecret", ["s3cret", "t0psecret"]),
    ],
)
def test_a_password_is_neither_in_what_is_shown_nor_in_any_text_that_went_through_hide(
    url: str, secrets: list[str]
) -> None:
    found = read_url(url)
    hidden = found.hide(f"cannot connect to {url} or {found.text} with {secrets}")
    for text in (hidden, found.place, found.masked, repr(found), str(found)):
        assert not [secret for secret in secrets if secret in text]
    assert "ann" in found.masked


def test_an_address_without_a_password_is_shown_as_it_is() -> None:
    assert read_url("postgresql://ann@db/search").masked == "postgresql://ann@db/search"


def test_a_file_is_named_by_its_path(tmp_path: Path) -> None:
    given = read_url(f"sqlite:///{tmp_path}/a.db")
    assert given == file_url(tmp_path / "a.db")
    assert given.local
    assert given.place == str(tmp_path / "a.db")


@pytest.mark.parametrize(
    "text",
    [
        "mysql://ann:s3cret@db/search",
        "postgresql+psycopg2://ann:s3cret@db/search",
        "postgresql://ann:s3cret@db:port/search",
        "s3cret",
        "sqlite://",
        "sqlite:///:memory:",
        "",
    ],
)
def test_what_is_no_storage_is_refused_without_repeating_a_password(text: str) -> None:
    with pytest.raises(InputError, match="--storage: expected") as error:
        read_url(text)
    assert "s3cret" not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None
