"""Sending: one transaction in flight per key, kept on disk before it leaves, waited for within bounds."""

import json
from pathlib import Path

from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import TimeExhausted, Web3RPCError
from web3.types import TxReceipt

from fedchest.errors import ChainError
from fedchest.files import OWNER_ONLY, append_durably
from fedchest.ledger.rpc import LOCAL_CHAIN_ID, command
from fedchest.ledger.wallet import Wallet

_POLL_SECONDS = 0.005
_WEDGED_SECONDS = 2.0
_MINED_SECONDS = 120.0


class Outbox:
    """The transactions that a party signed, flushed before they are sent (JSON lines, owner-only)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, nonce: int, raw: bytes) -> None:
        """Append one signed transaction."""
        line = json.dumps({"nonce": nonce, "raw": "0x" + raw.hex()})
        append_durably(self.path, line.encode(), mode=OWNER_ONLY)

    def transactions(self) -> dict[int, bytes]:
        """Raw transactions by nonce; of two with one nonce the later, since the node refused the earlier.

        A last line that was cut off while writing is left out: its transaction was never sent.
        """
        if not self.path.exists():
            return {}
        lines = self.path.read_bytes().splitlines(keepends=True)
        kept = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return {entry["nonce"]: bytes.fromhex(entry["raw"][2:]) for entry in kept}


class Sender:
    """Sends one wallet's transactions to one chain."""

    def __init__(self, w3: Web3, wallet: Wallet, outbox: Outbox | None = None) -> None:
        self._w3 = w3
        self._wallet = wallet
        self._outbox = outbox
        self._address = Web3.to_checksum_address(wallet.address)
        self._chain_id = w3.eth.chain_id

    def send(self, to: str | None, data: str, gas: int) -> TxReceipt:
        """Sign, keep, send and await one transaction; `to` None creates a contract.

        The fee is twice the block's base fee, and zero on a chain without one, where wallets need no balance.
        Raises ChainError when the node refuses the transaction or does not mine it.
        """
        with self._wallet.exclusive():
            nonce = self._w3.eth.get_transaction_count(self._address, "pending")
            fields = {
                "chainId": self._chain_id,
                "nonce": nonce,
                "gas": gas,
                "gasPrice": 2 * self._w3.eth.get_block("latest").get("baseFeePerGas", 0),
                "value": 0,
                "data": data,
            }
            raw = bytes(self._wallet.sign(fields if to is None else fields | {"to": to}).raw_transaction)
            if self._outbox is not None:
                self._outbox.keep(nonce, raw)
            return self._deliver(raw)

    def resend(self) -> int:
        """Deliver, in order, what the outbox holds and the chain has not seen; returns how many that were.

        For a start after a crash, and for a chain rebuilt from a journal that lacks the last blocks.
        """
        if self._outbox is None:
            return 0
        with self._wallet.exclusive():
            used = self._w3.eth.get_transaction_count(self._address)
            lost = [raw for nonce, raw in sorted(self._outbox.transactions().items()) if nonce >= used]
            for raw in lost:
                self._deliver(raw)
        return len(lost)

    def _deliver(self, raw: bytes) -> TxReceipt:
        try:
            return self._mined(self._w3.eth.send_raw_transaction(raw))
        except Web3RPCError as error:
            raise ChainError(f"The node refused a transaction of {self._address}: {error.message}.") from None

    def _mined(self, transaction: HexBytes) -> TxReceipt:
        try:
            return self._w3.eth.wait_for_transaction_receipt(transaction, _WEDGED_SECONDS, _POLL_SECONDS)
        except TimeExhausted:
            # Anvil's automining can stall with transactions pending; mining one block by hand frees it.
            if self._chain_id == LOCAL_CHAIN_ID:
                command(self._w3, "evm_mine")
        try:
            return self._w3.eth.wait_for_transaction_receipt(transaction, _MINED_SECONDS, _POLL_SECONDS)
        except TimeExhausted:
            raise ChainError(
                f"Transaction {Web3.to_hex(transaction)} was not mined within {_MINED_SECONDS:.0f} s."
            ) from None
