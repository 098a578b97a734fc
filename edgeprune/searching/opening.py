"""Opening the storage of a search: its tables, and whether it holds this search."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from edgeprune.core import digest
from edgeprune.core.errors import InputError
from edgeprune.core.lock import held
from edgeprune.searching import shared_tables
from edgeprune.searching.space import SPACE_SCHEMA, Space
from edgeprune.searching.storage_url import StorageUrl

NAME = "edgeprune search"
"""Name of the study; a database holds one search."""
CONNECT_S = 10
_TRIES = 4
_PAUSE_S = 0.5
_BUSY_S = 60
"""Seconds for which a locked SQLite file is waited for."""

T = TypeVar("T")


@dataclass(frozen=True)
class Heart:
    """How workers show that they live; whole seconds."""

    interval_s: int = 15
    grace_s: int = 180
    """After which a silent worker is dead: conversion may keep every thread waiting for minutes."""


def persistently(work: Callable[[], T]) -> T:
    """Does something in a storage; again after a pause if it is away, some seconds in all."""
    for number in range(1, _TRIES):
        try:
            return work()
        except (SQLAlchemyError, StorageInternalError):
            time.sleep(_PAUSE_S * 2**number)
    return work()


@contextmanager
def told(url: StorageUrl) -> Iterator[None]:
    """Says without passwords what is wrong with a storage."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = getattr(cause, "orig", None) or cause or error
        words = " ".join(url.hide(str(reason)).split())
        raise InputError(
            f"{url.place}: expected a storage that can be reached and written to. "
            f"Received: {words}. Start the database, or name another one with --storage."
        ) from None


def require_reached(url: StorageUrl) -> None:
    """Connects once, so that a wrong address is told at once."""
    if url.local and not Path(url.url.database or "").parent.is_dir():
        raise InputError(f"{url.place}: expected a file in a folder that exists. Make it first.")
    try:
        engine = create_engine(url.url, poolclass=NullPool, connect_args=_connect_args(url))
    except ImportError:
        raise InputError(
            f"{url.place}: PostgreSQL needs its client. Install it with: "
            "pip install 'edgeprune[postgresql]'"
        ) from None
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def _connect_args(url: StorageUrl) -> dict[str, Any]:
    if url.local:
        return {"timeout": _BUSY_S}
    # A database that was made without an encoding would give bytes.
    return {"connect_timeout": CONNECT_S, "client_encoding": "utf8"}


def make_storage(url: StorageUrl, heart: Heart) -> RDBStorage:
    """Optuna's storage with our tables; two workers may make them at the same time."""

    def make() -> RDBStorage:
        with quietly():
            storage = RDBStorage(
                url.text,
                engine_kwargs={"connect_args": _connect_args(url), "pool_pre_ping": True},
                heartbeat_interval=heart.interval_s,
                grace_period=heart.grace_s,
                skip_compatibility_check=True,
            )
        if storage.get_current_version() not in storage.get_all_versions():
            raise InputError(
                f"{url.place}: was made by a newer Optuna than {optuna.__version__}, which is "
                "installed here. Install that: pip install --upgrade optuna"
            )
        if url.local:
            _write_alone(storage.engine)
        shared_tables.make_tables(storage.engine)
        return storage

    if not url.local:
        return persistently(make)
    path = Path(url.url.database or "")
    with held(path.with_name(f".{path.name}.lock"), lambda: None):
        return make()


def _write_alone(engine: Engine) -> None:
    """Lets a SQLite transaction lock the file before it reads: else two may take one trial."""

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # of connections that were made before


def require_same(
    url: StorageUrl, storage: RDBStorage, identity: Mapping[str, str], space: Space
) -> Mapping[str, str]:
    """Checks that a storage holds this search, or none yet.

    Returns:
      What identifies it.

    Raises:
      InputError: it holds another one; names what differs.
    """
    here = {**identity, **_identity_of(space)}
    text = json.dumps(here, sort_keys=True)
    there = json.loads(shared_tables.agree(storage.engine, "identity", text))
    differs = [
        f"{name} (there {_short(there.get(name))}, here {_short(here.get(name))})"
        for name in dict.fromkeys((*here, *there))
        if there.get(name) != here.get(name)
    ]
    if differs:
        raise InputError(
            f"{url.place}: holds another search. Expected the same "
            f"{' and the same '.join(differs)}. Repeat the command that began it, or name "
            "another output folder or storage."
        )
    return here


def open_study(storage: RDBStorage, space: Space, identity: Mapping[str, str]) -> optuna.Study:
    """Optuna's study, with the names and attributes that its dashboard shows."""
    better = StudyDirection.MINIMIZE if space.minimize else StudyDirection.MAXIMIZE
    with quietly():
        study = optuna.create_study(
            storage=storage,
            study_name=NAME,
            directions=[StudyDirection.MINIMIZE, better],
            sampler=optuna.samplers.RandomSampler(space.seed),
            load_if_exists=True,
        )
        study.set_metric_names(["cost", "accuracy"])
    for name in identity.keys() - study.user_attrs.keys():
        study.set_user_attr(name, identity[name])
    return study


def _identity_of(space: Space) -> dict[str, str]:
    fronts = (f"{f.target or 'cost table'}, {f.core or 'this one'}, {f.unit}" for f in space.fronts)
    return {
        "instruments": "; ".join(fronts),
        "space": digest.of_json([SPACE_SCHEMA, asdict(space)]),
    }


def _short(value: str | None) -> str:
    return "nothing" if value is None else value if len(value) <= 60 else f"{value[:12]}..."


@contextmanager
def quietly() -> Iterator[None]:
    """Without Optuna's warnings that heartbeats and names of metrics are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
