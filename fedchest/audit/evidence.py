"""What a party holds of the chain outside the run: its own index, journal, receipts or bundle, in one form."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from fedchest.audit.bundle import check_bundle, is_bundle
from fedchest.audit.journals import read_copy, read_journal
from fedchest.audit.queries import Row, open_index
from fedchest.audit.trail import plain
from fedchest.errors import ChainError, StoreError
from fedchest.ledger.events import decoded
from fedchest.ledger.records import Event
from fedchest.parsing import parse_json

_SQLITE = b"SQLite format 3\0"
_RECEIPT = "transactionHash"


class HeldTransaction(NamedTuple):
    """The number of a transaction's block, and its signed bytes where they are held."""

    block: int
    raw: bytes | None


@dataclass(frozen=True)
class Evidence:
    """Hashes (32 bytes) of blocks by number, transactions by hash (0x...), and events.

    Events are rows with transaction, block, kind, round, institution and values, as an index gives them, and contract
    where they may be of another than `contract`, which is None for evidence of a whole chain. `complete` is the
    block up to which they are all there are; None where they are only some.
    """

    name: str
    blocks: Mapping[int, bytes] = field(default_factory=dict)
    transactions: Mapping[str, HeldTransaction] = field(default_factory=dict)
    events: Sequence[Row] = ()
    complete: int | None = None
    contract: str | None = None


def read_evidence(path: Path) -> Evidence:
    """Read an event index, a journal, a copy of a file ledger, a bundle, or receipts.

    Receipts are JSON as `eth_getTransactionReceipt` gives it, one or several.
    Raises StoreError when the file can't be read or is none of these, ProofError for a bundle that does not hold.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_SQLITE))
        if start == _SQLITE:
            return _index(path)
        if is_bundle(path):
            return _bundle(path)
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}.") from None
    first = content.split(b"\n", 1)[0]
    if b'"previous"' in first:
        return _copy(path)
    return _journal(path) if b'"timestamp"' in first else _receipts(path, content)


def _index(path: Path) -> Evidence:
    with open_index(path) as reader:
        checkpoints = reader.select("SELECT block, hash FROM checkpoints ORDER BY block")
        (source,) = reader.select("SELECT contract FROM source") or [{"contract": None}]
        events = list(reader.events())
    return Evidence(
        str(path),
        blocks={row["block"]: bytes.fromhex(row["hash"][2:]) for row in checkpoints},
        events=events,
        complete=checkpoints[-1]["block"] if checkpoints else None,
        contract=source["contract"],
    )


def _bundle(path: Path) -> Evidence:
    bundle = check_bundle(path)
    return Evidence(
        str(path),
        blocks={block.header.number: block.header.hash for block in bundle.blocks},
        transactions=_transactions((block.header.number, block.raw_transactions) for block in bundle.blocks),
        events=[event_row(event) for event in bundle.events],
        complete=len(bundle.blocks) - 1,
        contract=bundle.contract,
    )


def event_row(event: Event) -> Row:
    """An event as evidence holds it."""
    values = {"round": event.round, "institution": event.institution, "values": plain(event.values)}
    return {"block": event.block, "transaction": event.transaction, "kind": event.name, **values}


def _journal(path: Path) -> Evidence:
    journal = read_journal(path, str(path))
    if journal.fault is not None:
        raise StoreError(f"{path} is no journal: {journal.fault}.")
    return Evidence(
        str(path),
        blocks={record.number: record.hash for record in journal.records},
        transactions=_transactions((record.number, record.transactions) for record in journal.records),
    )


def _copy(path: Path) -> Evidence:
    copy = read_copy(path, str(path))
    if copy.fault is not None:
        raise StoreError(f"{path} is no copy of a ledger: {copy.fault}.")
    return Evidence(str(path), blocks={record.number: record.hash for record in copy.records})


def _transactions(blocks: Iterable[tuple[int, Iterable[bytes]]]) -> dict[str, HeldTransaction]:
    return {"0x" + keccak(raw).hex(): HeldTransaction(number, raw) for number, raws in blocks for raw in raws}


def _receipts(path: Path, content: bytes) -> Evidence:
    try:
        receipts = [_receipt(one) for one in _parsed(content)]
    except (ValueError, TypeError, LookupError, AttributeError, ChainError):
        raise StoreError(f"{path} is no index, journal, bundle or list of receipts.") from None
    return Evidence(
        str(path),
        blocks={number: digest for number, digest, _, _ in receipts},
        transactions={transaction: HeldTransaction(number, None) for number, _, transaction, _ in receipts},
        events=[event for *_, events in receipts for event in events],
    )


def _parsed(content: bytes) -> list[Any]:
    """One JSON value, or one a line; at least one receipt."""
    try:
        whole = parse_json(content)
        found = whole if isinstance(whole, list) else [whole]
    except ValueError:
        found = [parse_json(line) for line in content.splitlines()]
    if not found:
        raise ValueError("no receipt")
    return found


def _receipt(receipt: Mapping[str, Any]) -> tuple[int, bytes, str, list[Row]]:
    """Block number and hash, transaction hash, and the events of ledgers; what is none of a ledger's is passed over."""
    number, transaction = int(receipt["blockNumber"], 16), str(receipt[_RECEIPT]).lower()
    events: list[Row] = []
    for log in receipt["logs"]:
        with suppress(ChainError):
            kind, values = decoded({**log, "blockNumber": receipt["blockNumber"]})
            where = {name: values.pop(name, None) for name in ("round", "institution")}
            events.append(
                {
                    "contract": to_checksum_address(log["address"]),
                    "block": number,
                    "transaction": transaction,
                    "kind": kind,
                    **where,
                    "values": plain(values),
                }
            )
    return number, bytes.fromhex(receipt["blockHash"][2:]), transaction, events
