"""Tables of our own database, and how it is opened: SQLite files embedded, any SQLAlchemy URL in production.

In: a database URL. Out: an `Engine` whose tables exist. Two databases are opened: `state` (few, precious rows;
synchronous=FULL survives a power cut) and `predictions` (many rows; NORMAL survives kill -9). Queries are in the
other modules of this package, one a table family: they write inside `engine.begin()`, which takes SQLite's one write
lock at once, and read inside `reading(engine)`, which never waits for a writer nor makes one wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    event,
    inspect,
    select,
    text,
)

from components.workspace import one_at_a_time

VERSION = 1
CREATION_LOCK = 7_218_001  # any number that is ours: Postgres' advisory locks are named by numbers
metadata = MetaData()


class Utc(TypeDecorator[datetime]):
    """A time: stored in UTC without zone, since SQLite keeps none; comes back as aware UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.astimezone(UTC).replace(tzinfo=None) if value and value.tzinfo else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.replace(tzinfo=UTC) if value else None


schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

# One row a decision about the champion; the newest row's `version` serves. `seen` is the id of the row that the
# decider saw as newest: unique, so of two deciders who saw the same row one loses.
promotions = Table(
    "promotions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("seen", Integer, nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("digest", String(64), nullable=False),  # of the bundle in .visionloop/models
    Column("action", String(16), nullable=False),  # promote or rollback
    Column("actor", String(200), nullable=False),
    Column("verdict", JSON, nullable=False),
    Column("at", Utc, nullable=False),
    Column("announced_at", Utc),  # null until MLflow alias and mail have followed
)
# Every model that was judged, also the refused ones.
models = Table(
    "models",
    metadata,
    Column("version", Integer, primary_key=True),  # MLflow's number
    Column("digest", String(64), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("data_version", String(64), nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("engine", JSON, nullable=False),
    Column("verdict", JSON),  # null until the gate has judged
    Column("at", Utc, nullable=False),
)
alerts = Table(
    "alerts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("kind", String(32), nullable=False),  # drift, accuracy, volume, champion, schedule
    Column("key", String(200), nullable=False, unique=True),  # the same cause never alerts twice
    Column("signals", JSON, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("model_version", Integer),
    Column("state", String(16), nullable=False),  # open, retraining, asked, resolved
    Column("at", Utc, nullable=False),
    Column("handled_at", Utc),
    Column("flow_run_id", String(64)),
)
windows = Table(
    "windows",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("model_version", Integer, nullable=False),
    Column("first_prediction", Integer, nullable=False),
    Column("last_prediction", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("verdict", String(16), nullable=False),  # ok, warn, alert
    Column("signals", JSON, nullable=False),
    Column("report", Text),  # path of the evidence, relative to the state folder
    Column("at", Utc, nullable=False),
    UniqueConstraint("model_version", "last_prediction"),
)
outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", String(200), nullable=False, unique=True),
    Column("message", Text, nullable=False),  # RFC 5322
    Column("state", String(16), nullable=False),  # waiting, sent, dead
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
    Column("not_before", Utc, nullable=False),
    Column("at", Utc, nullable=False),
    Column("sent_at", Utc),
)
leases = Table(
    "leases",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("fence", Integer, nullable=False),  # grows by one with each owner
    Column("expires_at", Utc, nullable=False),
)
feedback = Table(
    "feedback",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("request_id", String(64), nullable=False),
    Column("item", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("author", String(200), nullable=False),
    Column("source", String(32), nullable=False),  # feedback or review
    Column("at", Utc, nullable=False),
    Column("merged_at", Utc),  # when it entered the dataset
    UniqueConstraint("request_id", "item", "author"),
)

predictions_metadata = MetaData()
predictions = Table(
    "predictions",
    predictions_metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("request_id", String(64), nullable=False),
    Column("item", Integer, nullable=False),  # place of the image in its request
    Column("image_id", String(64), nullable=False),  # sha256 of the bytes; the file is in .visionloop/images
    Column("name", Text),  # the client's file name, for people only
    Column("model_version", Integer, nullable=False),
    Column("engine_digest", String(64), nullable=False),
    Column("label", Text, nullable=False),
    Column("answer", Text),  # as a label text, where that is more than `label`
    Column("confidence", Float, nullable=False),
    Column("margin", Float, nullable=False),
    Column("probabilities", JSON, nullable=False),
    Column("format", String(16), nullable=False),
    Column("statistics", JSON, nullable=False),  # components.data.tables.STATISTICS
    Column("at", Utc, nullable=False),
    UniqueConstraint("request_id", "item"),
    Index("by_model", "model_version", "id"),
)


class StateError(RuntimeError):
    """The database belongs to a newer visionloop, or another process changed what was about to be changed."""


def open_state(url: str) -> Engine:
    """The control database at `url`, its tables made if need be."""
    return _opened(url, metadata, synchronous="FULL")


def open_predictions(url: str) -> Engine:
    """The prediction log at `url`, its tables made if need be."""
    return _opened(url, predictions_metadata, synchronous="NORMAL")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for queries alone: all of them see one moment of the database, and no writer waits for them."""
    with engine.connect().execution_options(reading=True) as connection:
        yield connection


def _opened(url: str, tables: MetaData, synchronous: str) -> Engine:
    engine = create_engine(url, pool_pre_ping=True)
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: _pragmas(connection, synchronous))
        event.listen(engine, "begin", _begin)
    # SQLite's busy_timeout does not cover the switch of a new file to WAL, hence a lock of our own.
    with one_at_a_time(Path(f"{file}.lock")) if file else nullcontext():
        _create_missing(engine, tables)
    return engine


def _pragmas(connection: Any, synchronous: str) -> None:
    connection.isolation_level = None  # BEGIN is ours (below), not sqlite3's, which comes too late
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    mode = "DEFERRED" if connection.get_execution_options().get("reading") else "IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN {mode}")


def _create_missing(engine: Engine, tables: MetaData) -> None:
    """Make the tables that are not there and note their version; raise StateError for a newer database."""
    with reading(engine) as connection:
        found = set(inspect(connection).get_table_names())
        version = connection.scalar(select(schema_version.c.version)) if schema_version.name in found else None
    if version is not None and version > VERSION:
        raise StateError(
            f"{engine.url} was written by a newer visionloop: its schema is {version}, this one knows {VERSION}. "
            "Install the newer version."
        )
    if set(tables.tables) <= found and not _missing_columns(engine, tables):
        return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": CREATION_LOCK})
        tables.create_all(connection, checkfirst=True)
        for column in _missing_columns(connection, tables):  # of a table that an older visionloop made
            kind = column.type.compile(engine.dialect)
            connection.execute(text(f"ALTER TABLE {column.table.name} ADD COLUMN {column.name} {kind}"))
        if schema_version.name in tables.tables and connection.scalar(select(schema_version.c.version)) is None:
            connection.execute(schema_version.insert().values(version=VERSION))


def _missing_columns(bind: Engine | Connection, tables: MetaData) -> list[Column[Any]]:
    """Columns that the tables in the database lack; all that were added since the first version may be null."""
    found = inspect(bind)
    present = set(found.get_table_names())
    return [
        column
        for table in tables.sorted_tables
        if table.name in present
        for column in table.columns
        if column.name not in {each["name"] for each in found.get_columns(table.name)}
    ]
