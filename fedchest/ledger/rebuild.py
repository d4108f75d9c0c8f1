"""Repeating a journal's blocks in a development node, and nothing but them: a block that differs is named."""

import time
from collections.abc import Sequence

from web3 import Web3

from fedchest.errors import ChainError
from fedchest.ledger.journal import BlockRecord, Journal, hash_of
from fedchest.ledger.rpc import LOCAL_CHAIN_ID, command, connect


def rebuild(w3: Web3, records: Sequence[BlockRecord]) -> None:
    """Repeat the recorded blocks on a fresh development node that does not mine by itself.

    Raises ChainError, naming the block, at the first that does not come out with its recorded hash.
    """
    for index, record in enumerate(records):
        try:
            for raw in record.transactions:
                command(w3, "eth_sendRawTransaction", "0x" + raw.hex())
            command(w3, "evm_mine", {"timestamp": record.timestamp})
        except ChainError as error:
            _check_hashes(w3, records[:index])
            raise ChainError(f"Block {record.number} of the journal can't be repeated: {error}") from None
    _check_hashes(w3, records)
    command(w3, "evm_setTime", next_time(w3))


def bring_back(rpc_url: str, journal: Journal) -> None:
    """Repeat the journal's blocks that a development node, restarted from an older state, lacks.

    Does nothing where none is lacking, or on another chain than a development one, which can't repeat a block. Raises
    ChainError as `rebuild`, and when the node's chain is another one.
    """
    w3 = connect(rpc_url)
    height, records = w3.eth.block_number, journal.records()
    if w3.eth.chain_id != LOCAL_CHAIN_ID or height >= len(records):
        return
    _check_hashes(w3, records[:height])
    mines = command(w3, "anvil_getAutomine")
    command(w3, "evm_setAutomine", False)
    try:
        rebuild(w3, records[height:])
    finally:
        command(w3, "evm_setAutomine", mines)


def next_time(w3: Web3) -> int:
    """The clock's time, or the head's and a second: the clock may have been set back, a chain's never goes back."""
    return max(int(time.time()), w3.eth.get_block("latest")["timestamp"] + 1)


def _check_hashes(w3: Web3, records: Sequence[BlockRecord]) -> None:
    """Each block's hash covers its parent's, so that the last one speaks for all before it."""
    if not records or hash_of(w3, records[-1].number) == records[-1].hash:
        return
    wrong = next(record.number for record in records if hash_of(w3, record.number) != record.hash)
    raise ChainError(f"Block {wrong} of the journal does not reproduce its recorded hash.")
