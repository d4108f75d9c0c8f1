"""Steps on the journals: all tell one history, and none stops before what its owner did itself."""

from collections.abc import Iterator
from functools import partial

from fedchest.audit.case import Case
from fedchest.audit.journals import PartyJournal
from fedchest.audit.report import Fault
from fedchest.federation.directory import JOURNAL
from fedchest.ledger.journal import BlockRecord


def journals(case: Case) -> str:
    """Every journal is well formed, reproduces its block hashes and is the beginning of the same chain."""
    case.each(case.source.journals, partial(_agrees_with_chain, case))
    heights = sorted((journal.height for journal in case.source.journals if journal.height), reverse=True)
    if not heights:
        raise Fault("no party has a journal", expected="a journal", found="none that holds a block")
    return f"{len(heights)} journals tell one history of {heights[0]} blocks, {case.source.origin}"


def completeness(case: Case) -> str:
    """The journal of each party reaches its own last transaction on chain: its end was not cut off."""
    last_own = {event.sender: event.block for event in case.events}
    heights = {journal.name: journal.height for journal in case.source.journals}

    def check(owner: tuple[str, set[str]]) -> None:
        name, wallets = owner
        height, own = heights.get(name, 0), max(last_own.get(wallet, 0) for wallet in wallets)
        if height < own:
            raise Fault(
                f"ends at block {height}, before its owner's own transaction in block {own}",
                expected=f"block {own}",
                found=f"block {height}",
                file=name,
            )

    return f"{len(case.each(_owners(case), check))} parties' journals hold all of their own transactions"


def _agrees_with_chain(case: Case, journal: PartyJournal) -> None:
    if journal.fault is not None:
        raise Fault(
            journal.fault, expected="a journal as it is written", found="other bytes", file=journal.name
        )
    reason = case.source.unreproducible.get(journal.name)
    if reason is not None:
        raise Fault(reason, expected="the recorded hashes", found="others", file=journal.name)
    for recorded, found in zip(journal.records, case.source.blocks, strict=False):
        if recorded != found:
            raise Fault(
                f"block {recorded.number} is not the one of the chain ({case.source.origin})",
                expected=_summary(found),
                found=_summary(recorded),
                file=journal.name,
            )
    height = len(case.source.blocks)
    if journal.height > height:
        raise Fault(
            f"goes on to block {journal.height}, but the chain ends at {height}",
            expected=f"block {height}",
            found=f"block {journal.height}",
            file=journal.name,
        )


def _summary(block: BlockRecord) -> str:
    return f"0x{block.hash.hex()} with {len(block.transactions)} transactions at {block.timestamp}"


def _owners(case: Case) -> Iterator[tuple[str, set[str]]]:
    """Journals with the addresses that their owners have had; institutions are in the order of their folders."""
    yield case.name(case.directory.coordinator / JOURNAL), {case.ledger.coordinators()[0]}
    for number in case.institutions:
        yield case.name(case.directory.institution(number) / JOURNAL), case.wallets(number)
