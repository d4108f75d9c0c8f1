"""Steps on the blocks themselves: hashed, linked, and the source of every event."""

from itertools import zip_longest

from fedchest.audit.case import Case
from fedchest.audit.history import check_block, check_creation, creation
from fedchest.audit.report import Fault
from fedchest.audit.trail import event_line
from fedchest.ledger.blocks import Block

_BEFORE_GENESIS = bytes(32)


def blocks(case: Case) -> str:
    """Headers hash and link, hold the roots of their transactions and receipts, and tell the events that were read."""
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
    number, transaction = creation(case.blocks, case.ledger.address)
    check_creation(transaction, dict(created.values))
    if created.transaction != "0x" + transaction.hash.hex():
        raise Fault(
            "the study's first event is not of the transaction that created the contract",
            expected=transaction.hash,
            found=created.transaction,
        )
    return f"created in block {number} by {transaction.sender}, by the shipped constructor"


def _has_the_hash_that_is_told(case: Case, block: Block) -> None:
    number, found = block.header.number, block.header.hash
    told = case.source.blocks[number - 1].hash if 1 <= number <= len(case.source.blocks) else found
    if told != found:
        raise Fault(f"block {number} does not hash to what the node tells", expected=found, found=told)


def _tell_the_events(case: Case) -> None:
    """A node could tell other events than its blocks hold; every later step reads those."""
    held = [event for block in case.blocks for event in block.events(case.ledger.address)]
    for own, told in zip_longest(held, case.events):
        if own != told:
            event = own or told
            raise Fault(
                "an event is told otherwise than the receipts hold it",
                expected=event_line(own),
                found=event_line(told),
                round=event.round,
                institution=event.institution,
            )
