"""Reading the event index: filters, what people ask of a trail, and SQL of their own. Nothing here can write."""

import json
import math
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedchest.audit.index import require_index, sqlite_faults, storable
from fedchest.audit.schema import KINDS, TABLES, UPDATE_HASHES, VIEWS, budget_select, rewards_select
from fedchest.errors import ConfigError, StoreError

Row = dict[str, Any]
"""One row by column; docs/index.md says what the columns mean. Lists and objects are values, not JSON text."""

EXPORTS = (*VIEWS, *(table.name for table in TABLES.values()))
"""What can be exported: the views, and each event's table."""

SQL_SECONDS = 30.0
SQL_ROWS = 100_000
"""What a query of the user's own may take and give."""

_LONGEST_VALUE = 1 << 24
_TICK_INSTRUCTIONS = 10_000
_HASH_PREFIX = re.compile(r"(0x)?([0-9a-f]{8,64})")
_ALLOWED_ACTIONS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_CONDITIONS = {
    "round": "round = :round",
    "institution": "institution = :institution",
    "kind": "kind = :kind",
    "since": "timestamp >= :since",
    "until": "timestamp < :until",
}


@dataclass(frozen=True)
class Selection:
    """What to look at, as far as it is given. Times are seconds since 1970: from `since` on, before `until`."""

    round: int | None = None
    institution: int | None = None
    kind: str | None = None
    since: int | None = None
    until: int | None = None

    @property
    def given(self) -> list[str]:
        """Names of what is given."""
        return [name for name, value in asdict(self).items() if value is not None]

    @property
    def parameters(self) -> dict[str, Any]:
        """Values for `condition`."""
        return {name: storable(value) for name, value in asdict(self).items()}

    def condition(self, *names: str) -> str:
        """An SQL condition for those of `names` that are given; TRUE for none."""
        return " AND ".join(_CONDITIONS[name] for name in names if name in self.given) or "TRUE"


EVERYTHING = Selection()


class IndexReader:
    """An event index, open for reading."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def institution_number(self, text: str) -> int:
        """The institution that `text` names: by number or by any wallet it has or had. Raises ConfigError."""
        known = list(
            self._rows(
                "SELECT institution, wallet FROM institution_registered "
                "UNION SELECT institution, new_wallet FROM key_rotated ORDER BY institution"
            )
        )
        for row in known:
            if text.lower() in (str(row["institution"]), row["wallet"].lower()):
                return int(row["institution"])
        raise ConfigError(
            f"institution {text}: the run has institutions 0 to {known[-1]['institution']}, or give a wallet's address."
            if known
            else f"institution {text}: no institution is registered."
        )

    def events(self, selection: Selection = EVERYTHING) -> Iterator[Row]:
        """Every event in the chain's order: block, time, transaction, sender, gas, kind, round, institution, values."""
        return self._rows(
            'SELECT block, time, transaction_hash AS "transaction", sender, gas, kind, round, institution, "values" '
            f"FROM events WHERE {selection.condition(*_CONDITIONS)} ORDER BY position",
            selection,
        )

    def rounds(self, selection: Selection = EVERYTHING) -> list[Row]:
        """The timeline: one row a round, by the time it opened; of an institution, the rounds it is a member of."""
        condition = selection.condition("round", "since", "until")
        if selection.institution is not None:
            condition += (
                " AND round IN (SELECT round FROM round_opened_members WHERE institution = :institution)"
            )
        return list(self._rows(f"SELECT * FROM rounds WHERE {condition} ORDER BY round", selection))

    def participation(self, selection: Selection) -> list[Row]:
        """One row for each member of each round: what it sent, what became of it, its vote, its credits."""
        condition = selection.condition("round", "institution", "since", "until")
        return list(
            self._rows(
                f"SELECT * FROM participation WHERE {condition} ORDER BY round, institution", selection
            )
        )

    def updates(self, digest: str) -> list[Row]:
        """The updates one of whose hashes is `digest` or begins with it; several where bytes were sent again.

        Raises ConfigError for what is no beginning of a hash, or of none.
        """
        matched = _HASH_PREFIX.fullmatch(digest.lower())
        if matched is None:
            raise ConfigError(
                f"update {digest}: allowed are 8 to 64 hexadecimal digits of one of its hashes."
            )
        condition = " OR ".join(f"{name} BETWEEN :first AND :last" for name in UPDATE_HASHES)
        first = f"0x{matched[2]}"
        found = list(
            self._query(f"SELECT * FROM updates WHERE {condition}", {"first": first, "last": first + "g"})
        )
        if not found:
            raise ConfigError(
                f"update {digest}: no update on this chain has a hash ({', '.join(UPDATE_HASHES)}) like it."
            )
        return found

    def budget(self, selection: Selection = EVERYTHING) -> list[Row]:
        """Each institution's epsilon, in micro-units, as its last selected update states it, and its budget."""
        return self._by_institution(budget_select(selection.condition("round", "since", "until")), selection)

    def rewards(self, selection: Selection = EVERYTHING) -> list[Row]:
        """Each institution's credits from the selected rounds."""
        return self._by_institution(rewards_select(selection.condition("round", "since", "until")), selection)

    def export(self, table: str, selection: Selection = EVERYTHING) -> Iterator[Row]:
        """Every row of a table or view in EXPORTS. Raises ConfigError for a filter that it has no column for."""
        columns = self.columns(table)
        for name in selection.given:
            column = "timestamp" if name in ("since", "until") else name
            if column not in columns:
                raise ConfigError(
                    f"--{name} {getattr(selection, name)}: {table} has no {column} to filter by."
                )
        return self._rows(
            f"SELECT * FROM {table} WHERE {selection.condition(*_CONDITIONS)} ORDER BY 1, 2", selection
        )

    def columns(self, table: str) -> list[str]:
        """Names of the columns of a table or view in EXPORTS."""
        with sqlite_faults(self._path):
            return _names(self._connection.execute(f"SELECT * FROM {table} LIMIT 0"))

    def select(self, sql: str, *, seconds: float = SQL_SECONDS, rows: int = SQL_ROWS) -> list[Row]:
        """The rows of one SELECT of the user's own.

        Raises ConfigError when SQLite refuses it, when it would write or reach outside the file, when it takes
        longer or gives more rows than allowed, or names two columns alike.
        """
        with self._bounded(seconds):
            cursor = self._connection.execute(sql)
            names = _names(cursor)
            found = cursor.fetchmany(rows + 1)
        if len(found) > rows:
            raise ConfigError(
                f"The query gives more than {rows:,} rows: narrow it, or use fedchest audit export."
            )
        if len(set(names)) < len(names):
            raise ConfigError(
                f"The query gives two columns one name ({', '.join(names)}): name them with AS."
            )
        return [dict(zip(names, map(_portable, row), strict=True)) for row in found]

    def _by_institution(self, select: str, selection: Selection) -> list[Row]:
        condition = selection.condition("institution")
        return list(self._rows(f"SELECT * FROM ({select}) WHERE {condition} ORDER BY institution", selection))

    def _rows(self, sql: str, selection: Selection = EVERYTHING) -> Iterator[Row]:
        return self._query(sql, selection.parameters)

    def _query(self, sql: str, parameters: dict[str, Any]) -> Iterator[Row]:
        with sqlite_faults(self._path):
            cursor = self._connection.execute(sql, parameters)
            names = _names(cursor)
            for row in cursor:
                yield dict(zip(names, map(_parsed, row), strict=True))

    @contextmanager
    def _bounded(self, seconds: float) -> Iterator[None]:
        end = time.monotonic() + seconds
        self._connection.set_progress_handler(lambda: time.monotonic() > end, _TICK_INSTRUCTIONS)
        try:
            yield
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorname", None) != "SQLITE_INTERRUPT":
                raise _refused(error) from None
            if time.monotonic() <= end:  # Ctrl-C, which SQLite hears of from the handler and calls the same
                raise KeyboardInterrupt from None
            raise ConfigError(f"The query took longer than {seconds:g} seconds: narrow it.") from None
        except (sqlite3.Error, sqlite3.Warning, UnicodeError) as error:
            raise _refused(error) from None
        finally:
            self._connection.set_progress_handler(None, 0)


@contextmanager
def open_index(path: Path) -> Iterator[IndexReader]:
    """Open an index for reading only. Raises StoreError when it is absent, none, or of another schema."""
    if not path.is_file():
        raise StoreError(f"{path} does not exist: it should be an event index.")
    with sqlite_faults(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        with sqlite_faults(path):
            require_index(connection, path)
            connection.execute("PRAGMA query_only = ON")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
            connection.set_authorizer(_authorize)
        yield IndexReader(connection, path)
    finally:
        connection.close()


def kind_named(text: str) -> str:
    """The name of a kind of event, whatever its capitals. Raises ConfigError."""
    for kind in KINDS:
        if kind.lower() == text.lower():
            return kind
    raise ConfigError(f"--kind {text}: allowed are {', '.join(KINDS)}.")


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    allowed = action in _ALLOWED_ACTIONS and second != "load_extension"
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _refused(error: Exception) -> ConfigError:
    return ConfigError(
        f"The query was refused: {error}. Allowed is one SELECT on the tables of docs/index.md."
    )


def _names(cursor: sqlite3.Cursor) -> list[str]:
    return [column[0] for column in cursor.description or ()]


def _parsed(value: Any) -> Any:
    """Lists and objects from their JSON; no other text in an index begins like one."""
    return json.loads(value) if isinstance(value, str) and value[:1] in ("[", "{") else value


def _portable(value: Any) -> Any:
    """A value of a user's query as JSON can hold it."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
