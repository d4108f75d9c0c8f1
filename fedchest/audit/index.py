"""Writing the event index: the contract's events from the chain into an SQLite file, range by range.

The index is a view of the chain and never evidence: `verify` does not read it. Whatever is in doubt is built again.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from fedchest.audit.schema import (
    APPLICATION_ID,
    COMMON,
    LOG_BITS,
    SCHEMA_VERSION,
    TABLES,
    column_name,
    schema_script,
)
from fedchest.audit.trail import plain
from fedchest.errors import StoreError
from fedchest.ledger.events import ChainMoved
from fedchest.ledger.records import Event

RANGE_BLOCKS = 1000
"""How many blocks are read at once, and written in one transaction."""

_ATTEMPTS = 10
_LARGEST_INTEGER = 2**63 - 1
_WAIT_SECONDS = 30.0
_CACHE_KIB = 65_536  # of a large file's indexes; SQLite's own 2 MB cost a third more time at 300,000 events

Progress = Callable[[int, int], None]
"""Hears the last block indexed and the chain's height."""


class EventSource(Protocol):
    """What an index follows: one contract on one chain, as a `Ledger` reads it."""

    @property
    def chain_id(self) -> int: ...
    @property
    def address(self) -> str: ...
    def head(self) -> tuple[int, bytes]: ...
    def block_hashes(self, numbers: Sequence[int]) -> Sequence[bytes | None]: ...
    def events(self, from_block: int, to_block: int) -> list[Event]: ...


@dataclass(frozen=True)
class _Checkpoint:
    """The last block of a range that was indexed."""

    block: int
    hash: bytes


_BEFORE_GENESIS = _Checkpoint(-1, b"")


class EventIndex:
    """An index file, and the ledger that it follows; for one thread."""

    def __init__(self, path: Path, ledger: EventSource) -> None:
        """Open the index at `path`, or begin one there.

        Raises StoreError when the file is no index, is of another schema, or of another chain or contract.
        """
        self.path = path
        self._ledger = ledger
        with sqlite_faults(path):
            self._connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
            self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> "EventIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def sync(self, on_progress: Progress | None = None, *, range_blocks: int = RANGE_BLOCKS) -> int:
        """Take in what the chain has and the index lacks, drop what the chain no longer has; the height reached.

        Each range of blocks is one transaction: whenever this ends early, the next call goes on from the last
        range. Raises ChainError when the node fails or the chain does not hold still, StoreError when the file
        can't be written.
        """
        attempts = 0
        with sqlite_faults(self.path):
            while True:
                try:
                    checkpoint = self._common_block()
                    height, _ = self._ledger.head()
                    if on_progress is not None:
                        on_progress(checkpoint.block, height)
                    if checkpoint.block >= height:
                        return checkpoint.block
                    self._extend(checkpoint, min(checkpoint.block + range_blocks, height))
                    attempts = 0
                except ChainMoved:
                    attempts += 1
                    if attempts == _ATTEMPTS:
                        raise

    def _prepare(self) -> None:
        (changes,) = self._connection.execute("PRAGMA schema_version").fetchone()
        if changes == 0:  # a file without content
            self._connection.executescript(schema_script())
        require_index(self._connection, self.path)
        (genesis,) = self._ledger.block_hashes([0])
        own = (self._ledger.chain_id, _hex(genesis or b""), self._ledger.address)
        self._connection.execute(
            "INSERT INTO source SELECT ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM source)", own
        )
        found = self._connection.execute("SELECT chain_id, genesis, contract FROM source").fetchone()
        for name, wanted, there in zip(("chain", "genesis", "contract"), own, found, strict=True):
            if wanted != there:
                raise StoreError(
                    f"{self.path} is an index of {name} {there}, not {wanted}: "
                    "choose another file, or remove it and build it again."
                )

    def _common_block(self) -> _Checkpoint:
        """The last checkpoint that is on the chain; what was indexed after it is dropped."""
        latest = self._latest()
        if self._on_chain(latest):
            return latest
        known = [_BEFORE_GENESIS, *self._checkpoints("ORDER BY block")]
        common, gone = 0, len(known) - 1
        while gone - common > 1:  # a block's hash covers its forebears': those on the chain come first
            middle = (common + gone) // 2
            common, gone = (middle, gone) if self._on_chain(known[middle]) else (common, middle)
        self._drop_after(known[common].block)
        return known[common]

    def _extend(self, checkpoint: _Checkpoint, last: int) -> None:
        """Index the blocks after `checkpoint` up to `last`. Raises ChainMoved when they change meanwhile."""
        (before,) = self._ledger.block_hashes([last])
        events = self._ledger.events(checkpoint.block + 1, last)
        (after,) = self._ledger.block_hashes([last])
        if before != after or after is None or not self._on_chain(checkpoint):
            raise ChainMoved("The chain was rewritten while it was indexed; try again.")
        with self._transaction():
            if self._latest() == checkpoint:  # unless another process was faster
                self._insert(events)
                self._connection.execute("INSERT INTO checkpoints VALUES (?, ?)", (last, _hex(after)))

    def _insert(self, events: Sequence[Event]) -> None:
        for kind, own in groupby(sorted(events, key=lambda event: event.name), key=lambda event: event.name):
            table = TABLES[kind]
            places = ", ".join("?" * (len(COMMON) + len(table.columns)))
            rows = (_row(event, table.columns) for event in own)
            self._connection.executemany(f"INSERT INTO {table.name} VALUES ({places})", rows)

    def _drop_after(self, block: int) -> None:
        with self._transaction():
            for table in TABLES.values():
                self._connection.execute(
                    f"DELETE FROM {table.name} WHERE position >= ?", ((block + 1) << LOG_BITS,)
                )
            self._connection.execute("DELETE FROM checkpoints WHERE block > ?", (block,))

    def _latest(self) -> _Checkpoint:
        found = self._checkpoints("ORDER BY block DESC LIMIT 1")
        return found[0] if found else _BEFORE_GENESIS

    def _checkpoints(self, order: str) -> list[_Checkpoint]:
        rows = self._connection.execute(f"SELECT block, hash FROM checkpoints {order}")
        return [_Checkpoint(block, bytes.fromhex(digest[2:])) for block, digest in rows]

    def _on_chain(self, checkpoint: _Checkpoint) -> bool:
        return checkpoint.block < 0 or self._ledger.block_hashes([checkpoint.block])[0] == checkpoint.hash

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            yield


def require_index(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StoreError unless the open file is an event index of this version's schema."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreError(f"{path} is not an event index.")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {version}, this version of FedChest reads {SCHEMA_VERSION}: "
            "remove it and build it again."
        )


@contextmanager
def sqlite_faults(path: Path) -> Iterator[None]:
    """Turn what a damaged or unwritable file causes into StoreError naming it."""
    try:
        yield
    except (sqlite3.Error, json.JSONDecodeError) as error:
        raise StoreError(
            f"{path} can't be used as an event index: {error}. "
            "If it is one, continue it by fedchest audit index, or remove it and build it again."
        ) from None


def storable(value: Any) -> Any:
    """`value` as SQLite can hold it exactly: lists as JSON, integers beyond 64 bits with sign as decimal text."""
    if isinstance(value, list):
        return json.dumps(value)
    if isinstance(value, int) and value > _LARGEST_INTEGER:
        return str(value)
    return value


def _row(event: Event, columns: Mapping[str, str]) -> list[Any]:
    values = plain(event.values)
    fields = {"round": event.round, "institution": event.institution, **values, **values.get("rules", {})}
    own = {column_name(name): value for name, value in fields.items()}
    common = (
        (event.block << LOG_BITS) + event.index,
        event.block,
        event.timestamp,
        event.transaction,
        event.sender,
        event.gas,
    )
    return [storable(value) for value in (*common, *(own[name] for name in columns))]


def _hex(digest: bytes) -> str:
    return "0x" + digest.hex()
