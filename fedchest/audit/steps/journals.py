"""Steps on the journals: all tell one history, and none stops before what its owner did itself."""

from collections.abc import Iterator

from fedchest.audit.case import Case
from fedchest.audit.journals import PartyJournal
from fedchest.audit.report import Fault
from fedchest.federation.directory import JOURNAL


def journals(case: Case) -> str:
    """Every journal is well formed, reproduces its block hashes and is the beginning of the same chain."""
    for journal in case.source.journals:
        if journal.fault is not None:
            raise Fault(journal.fault, file=journal.name)
    for name, reason in case.source.unreproducible.items():
        raise Fault(reason, file=name)
    for journal in case.source.journals:
        _agrees_with_chain(case, journal)
    heights = sorted((journal.height for journal in case.source.journals if journal.height), reverse=True)
    if not heights:
        raise Fault("no party has a journal")
    return f"{len(heights)} journals tell one history of {heights[0]} blocks, {case.source.origin}"


def completeness(case: Case) -> str:
    """The journal of each party reaches its own last transaction on chain: its end was not cut off."""
    last_own = {event.sender: event.block for event in case.events}
    by_name = {journal.name: journal for journal in case.source.journals}
    checked = 0
    for name, wallet in _owners(case):
        own = last_own.get(wallet, 0)
        height = by_name[name].height if name in by_name else 0
        if height < own:
            raise Fault(
                f"ends at block {height}, before its owner's own transaction in block {own}", file=name
            )
        checked += 1
    return f"{checked} parties' journals hold all of their own transactions"


def _agrees_with_chain(case: Case, journal: PartyJournal) -> None:
    for recorded, found in zip(journal.records, case.source.blocks, strict=False):
        if recorded != found:
            raise Fault(
                f"block {recorded.number} is not the one of the chain ({case.source.origin})",
                file=journal.name,
            )
    if journal.height > len(case.source.blocks):
        raise Fault(
            f"goes on to block {journal.height}, but the chain ends at {len(case.source.blocks)}",
            file=journal.name,
        )


def _owners(case: Case) -> Iterator[tuple[str, str]]:
    """Journals with their owners' addresses; institutions are registered in the order of their folders."""
    yield case.name(case.directory.coordinator / JOURNAL), case.ledger.coordinators()[0]
    for number, institution in case.institutions.items():
        yield case.name(case.directory.institution(number) / JOURNAL), institution.wallet
