"""The step on the anchors: the chain is the one that others than its operator hold."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_abi_to_4byte_selector, get_abi_input_names, get_abi_input_types

from fedchest.audit.case import Case
from fedchest.audit.evidence import Evidence, HeldTransaction, event_row
from fedchest.audit.queries import Row
from fedchest.audit.report import Fault, NotChecked
from fedchest.errors import ChainError
from fedchest.federation.directory import JOURNAL
from fedchest.ledger.artifact import artifact
from fedchest.ledger.blocks import Transaction


def anchors(case: Case) -> str:
    """Institutions' own journals hold the chain, and what parties hold outside the run agrees with it."""
    case.each(case.evidence, partial(_agrees, case))
    own = {case.name(case.directory.institution(number) / JOURNAL) for number in case.institutions}
    heights = [journal.height for journal in case.source.journals if journal.name in own and journal.height]
    if not heights and not case.evidence:
        raise NotChecked(
            "no institution has a journal: nothing but its operator's word anchors the chain; give --against"
        )
    last = len(case.block_hashes) - 1
    held = f"{len(heights)} institutions hold its blocks up to {max(heights, default=0)} of {last}"
    outside = (
        f"{len(case.evidence)} files from outside the run agree"
        if case.evidence
        else "none was given from outside"
    )
    return f"{held}; {outside}"


def _agrees(case: Case, evidence: Evidence) -> None:
    """The evidence's events, transactions and blocks are on the chain. The first that tells most is named first."""
    if evidence.contract not in (None, case.ledger.address):
        raise Fault(
            "is of another contract",
            expected=case.ledger.address,
            found=evidence.contract,
            file=evidence.name,
        )
    case.all(
        partial(_events_stand, case, evidence),
        partial(_transactions_stand, case, evidence),
        partial(_blocks_stand, case, evidence),
    )


def _events_stand(case: Case, evidence: Evidence) -> None:
    told = {_key(row): row for row in map(event_row, case.events)}
    own = (None, case.ledger.address)
    held = {_key(row): row for row in evidence.events if row.get("contract") in own}

    def gone(row: Row) -> None:
        now = [other for key, other in told.items() if key not in held and _same_place(other, row)]
        raise Fault(
            f"{row['kind']} of block {row['block']} was {'rewritten' if now else 'dropped'}",
            expected=_line(row),
            found=_line(now[0]) if now else "no such event",
            file=evidence.name,
            round=row["round"],
            institution=row["institution"],
        )

    def made_up(row: Row) -> None:
        raise Fault(
            f"{row['kind']} of block {row['block']} was not there",
            expected="no such event",
            found=_line(row),
            file=evidence.name,
            round=row["round"],
            institution=row["institution"],
        )

    case.each((row for key, row in held.items() if key not in told), gone)
    if evidence.complete is not None:
        new = (row for key, row in told.items() if key not in held and row["block"] <= evidence.complete)
        case.each(new, made_up)


def _transactions_stand(case: Case, evidence: Evidence) -> None:
    on_chain = case.transactions

    def check(entry: tuple[str, HeldTransaction]) -> None:
        digest, held = entry
        if on_chain.get(digest) != held.block:
            what, where = _call(case, held.raw)
            raise Fault(
                f"{what} {digest} was {'moved' if digest in on_chain else 'dropped'}",
                expected=f"in block {held.block}",
                found=f"in block {on_chain[digest]}" if digest in on_chain else "on no block of the chain",
                file=evidence.name,
                **where,
            )

    case.each(evidence.transactions.items(), check)


def _blocks_stand(case: Case, evidence: Evidence) -> None:
    def check(entry: tuple[int, bytes]) -> None:
        number, digest = entry
        found = case.block_hashes[number] if number < len(case.block_hashes) else "no such block"
        if found != digest:
            raise Fault(f"block {number} is another", expected=digest, found=found, file=evidence.name)

    case.each(sorted(evidence.blocks.items()), check)


def _key(row: Row) -> str:
    names = ("block", "transaction", "kind", "round", "institution", "values")
    return json.dumps([row[name] for name in names], sort_keys=True)


def _same_place(row: Row, other: Row) -> bool:
    return all(row[name] == other[name] for name in ("kind", "round", "institution"))


def _line(row: Row) -> str:
    return f"{row['kind']} in block {row['block']} by {row['transaction']}: {json.dumps(row['values'])}"


def _call(case: Case, raw: bytes | None) -> tuple[str, Mapping[str, Any]]:
    """What a transaction called, and the round and institution that it was about."""
    if raw is None:
        return "transaction", {}
    try:
        transaction = Transaction.from_bytes(raw)
    except ChainError:
        return "transaction", {}
    wallets = {wallet: number for number in case.institutions for wallet in case.wallets(number)}
    where = {"institution": wallets.get(transaction.sender)}
    for entry in _functions():
        if transaction.data[:4] == function_abi_to_4byte_selector(entry):
            try:
                values = decode(get_abi_input_types(entry), transaction.data[4:])
            except DecodingError:
                break
            arguments = dict(zip(get_abi_input_names(entry), values, strict=True))
            return str(entry["name"]), where | {"round": arguments.get("number", arguments.get("round"))}
    return "transaction", where


def _functions() -> Iterator[Any]:
    return (entry for entry in artifact().abi if entry["type"] == "function")
