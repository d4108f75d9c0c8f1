"""Steps on the blocks themselves: hashed, linked, and the source of every event."""

import time
from itertools import zip_longest

from fedchest.audit.case import Case
from fedchest.audit.history import check_block, check_creation, creation
from fedchest.audit.report import Fault
from fedchest.audit.trail import event_line
from fedchest.ledger.blocks import Block
from fedchest.ledger.calls import decoded_rules
from fedchest.ledger.file.entry import Entry
from fedchest.ledger.file.replay import replayed
from fedchest.ledger.records import Event

_BEFORE_GENESIS = bytes(32)


def blocks(case: Case) -> str:
    """Headers hash and link, hold the roots of their transactions and receipts, and tell the events that were read.

    Of a file: its entries link and are signed, and what the rules make of them are the events that were read.
    """
    if case.in_file:
        return _entries(case)
    parents = [_BEFORE_GENESIS, *(block.header.hash for block in case.blocks)]

    def check(block_and_number: tuple[int, Block]) -> None:
        number, block = block_and_number
        check_block(block, number, parents[number])
        _has_the_hash_that_is_told(case, block)

    case.all(lambda: case.each(enumerate(case.blocks), check), lambda: case.each([case], _tell_the_events))
    transactions = sum(len(block.raw_transactions) for block in case.blocks)
    return (
        f"{len(case.blocks)} headers hash and link; {transactions} signed transactions and {len(case.events)} events "
        "are under their roots"
    )


def constructor(case: Case) -> str:
    """The contract was created by the shipped constructor, with the arguments that its first event tells."""
    (created,) = case.events_of("StudyCreated")
    if case.in_file:
        return _first_entry(case, created)
    number, transaction = creation(case.blocks, case.ledger.address)
    check_creation(transaction, dict(created.values))
    if created.transaction != "0x" + transaction.hash.hex():
        raise Fault(
            "the study's first event is not of the transaction that created the contract",
            expected=transaction.hash,
            found=created.transaction,
        )
    return f"created in block {number} by {transaction.sender}, by the shipped constructor"


def _entries(case: Case) -> str:
    lines = _lines(case)
    _same_events(replayed(lines, time.time()).events, case)
    return (
        f"{len(lines)} entries link and are each signed by their sender; the package's own rules, which no contract "
        f"holds it to, make {len(case.events)} events of them"
    )


def _first_entry(case: Case, created: Event) -> str:
    """A file runs no contract's code: its first entry is signed rules."""
    first = Entry.from_line(_lines(case)[0])
    signed = {"coordinator": first.sender, "rules": decoded_rules(bytes.fromhex(first.call[2:]))}
    if signed != created.values:
        raise Fault(
            "the ledger was created otherwise than its event tells",
            expected=signed,
            found=dict(created.values),
        )
    return f"created by entry 1, which {first.sender} signed; a file runs no contract's code"


def _lines(case: Case) -> list[bytes]:
    return [line.removesuffix(b"\n") for record in case.source.blocks for line in record.transactions]


def _has_the_hash_that_is_told(case: Case, block: Block) -> None:
    number, found = block.header.number, block.header.hash
    told = case.source.blocks[number - 1].hash if 1 <= number <= len(case.source.blocks) else found
    if told != found:
        raise Fault(f"block {number} does not hash to what the node tells", expected=found, found=told)


def _tell_the_events(case: Case) -> None:
    """A node could tell other events than its blocks hold; every later step reads those."""
    _same_events([event for block in case.blocks for event in block.events(case.ledger.address)], case)


def _same_events(held: list[Event], case: Case) -> None:
    for own, told in zip_longest(held, case.events):
        if own != told:
            event = own or told
            raise Fault(
                f"an event is told otherwise than the {'entries make' if case.in_file else 'receipts hold'} it",
                expected=event_line(own),
                found=event_line(told),
                round=event.round,
                institution=event.institution,
            )
