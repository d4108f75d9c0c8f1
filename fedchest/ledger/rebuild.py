"""Repeating a journal's blocks in a development node, and nothing but them: a block that differs is named."""

import time
from collections.abc import Iterator, Sequence

from web3 import HTTPProvider, Web3

from fedchest.errors import ChainError, TamperError
from fedchest.ledger.direct import Call, results
from fedchest.ledger.journal import BlockRecord, Journal, hash_of
from fedchest.ledger.rpc import LOCAL_CHAIN_ID, command, connect


def rebuild(w3: Web3, records: Sequence[BlockRecord], source: str = "the journal") -> None:
    """Repeat blocks of `source` on a development node that stands before them and does not mine by itself.

    Raises TamperError, naming the block, at the first that does not come out with its recorded hash.
    """
    assert isinstance(w3.provider, HTTPProvider)
    calls = [(index, call) for index, record in enumerate(records) for call in _calls(record)]
    done = 0
    try:
        for _ in results(str(w3.provider.endpoint_uri), [call for _, call in calls]):
            done += 1
    except ChainError as error:
        index = calls[done][0]
        _check_hashes(w3, records[:index], source)
        raise TamperError(f"Block {records[index].number} of {source} can't be repeated: {error}") from None
    _check_hashes(w3, records, source)


def bring_back(rpc_url: str, journal: Journal) -> None:
    """Repeat the journal's blocks that a development node, restarted from an older state, lacks.

    Does nothing where none is lacking, or on another chain than a development one, which can't repeat a block. Raises
    ChainError as `rebuild`, and when the node's chain is another one.
    """
    w3 = connect(rpc_url)
    height, records = w3.eth.block_number, journal.records()
    if w3.eth.chain_id != LOCAL_CHAIN_ID or height >= len(records):
        return
    _check_hashes(w3, records[:height], "the journal")
    mines = command(w3, "anvil_getAutomine")
    command(w3, "evm_setAutomine", False)
    try:
        rebuild(w3, records[height:])
        command(w3, "evm_setTime", next_time(w3))
    finally:
        command(w3, "evm_setAutomine", mines)


def next_time(w3: Web3) -> int:
    """The clock's time, or the head's and a second: the clock may have been set back, a chain's never goes back."""
    return max(int(time.time()), w3.eth.get_block("latest")["timestamp"] + 1)


def _calls(record: BlockRecord) -> Iterator[Call]:
    """What repeats the block."""
    for raw in record.transactions:
        yield "eth_sendRawTransaction", ["0x" + raw.hex()]
    yield "evm_mine", [{"timestamp": record.timestamp}]


def _check_hashes(w3: Web3, records: Sequence[BlockRecord], source: str) -> None:
    """Each block's hash covers its parent's, so that the last one speaks for all before it."""
    if not records or hash_of(w3, records[-1].number) == records[-1].hash:
        return
    wrong = next(record.number for record in records if hash_of(w3, record.number) != record.hash)
    raise TamperError(f"Block {wrong} of {source} does not reproduce its recorded hash.")
