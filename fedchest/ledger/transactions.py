"""Sending: one transaction in flight per key, its bytes on disk before they leave, waited for within bounds."""

import random
import time
from collections.abc import Callable

from web3 import Web3
from web3.exceptions import TransactionNotFound, Web3RPCError
from web3.types import BlockIdentifier, TxReceipt

from fedchest.errors import ChainError
from fedchest.ledger.patience import looks, time_left, within
from fedchest.ledger.rpc import LOCAL_CHAIN_ID, command, last_final
from fedchest.ledger.sent import SentTransaction, SentTransactions
from fedchest.ledger.wallet import Wallet

_WEDGED_SECONDS = 2.0
_GAS_SPREAD = 4096
ACTION_SECONDS = 120.0
"""The least that an action is given: a node that answers may take its time to mine."""


class _Overtaken(Exception):
    """Another holder of the key used the transaction's nonce for another one."""


class _Refused(ChainError):
    """The node did not take a transaction, and it is in no block and no pool."""


class Sender:
    """Sends one wallet's transactions to one chain.

    `sent` is where they are kept until the chain has them; None sends without a memory. `record` is called while a
    receipt is in hand, and the receipt holds only if it is still there afterwards, below `depth` blocks.
    """

    def __init__(
        self,
        w3: Web3,
        wallet: Wallet,
        chain_id: int,
        *,
        sent: SentTransactions | None = None,
        record: Callable[[], None] = lambda: None,
        depth: int = 0,
        patience: float = 0.0,
    ) -> None:
        self._w3 = w3
        self._wallet = wallet
        self._address = Web3.to_checksum_address(wallet.address)
        self._chain_id = chain_id
        self._sent = sent
        self._record = record
        self._depth = depth
        self._seconds = max(patience, ACTION_SECONDS)

    def send(self, to: str | None, data: str, gas: int) -> TxReceipt:
        """Sign, keep, send and await one transaction; `to` None creates a contract.

        The fee is twice the block's base fee, and zero on a chain without one, where wallets need no balance.
        What an earlier process kept and the chain lacks is sent first. Raises ChainError when the node refuses the
        transaction or the chain does not take it in time, StoreError when another process keeps the wallet.
        """
        with within(self._seconds), self._wallet.exclusive(time_left()):
            self._catch_up()
            for _ in looks():
                transaction = self._signed(to, data, gas)
                try:
                    return self._deliver(transaction)
                except _Overtaken:
                    self._forget(transaction)
                except _Refused:
                    self._forget(transaction)  # the caller knows that it was not sent, and may act otherwise
                    raise
        raise ChainError(
            f"Another process sends as {self._address} all the time: no transaction of this one was taken within "
            f"{self._seconds:.0f} s."
        )

    def catch_up(self) -> None:
        """Send again, unchanged, what was kept and the chain lacks. Raises as `send`."""
        with within(self._seconds), self._wallet.exclusive(time_left()):
            self._catch_up()

    def _catch_up(self) -> None:
        nonce = self._nonce("latest")
        for transaction in self._sent.since(nonce) if self._sent is not None else ():
            if transaction.nonce > nonce:
                raise ChainError(
                    f"The chain lacks transactions of {self._address} that this party did not keep: it was rolled "
                    "back, and only its journal can bring it back."
                )
            try:
                self._deliver(transaction)
            except _Overtaken:
                self._forget(transaction)
            nonce = transaction.nonce + 1

    def _signed(self, to: str | None, data: str, gas: int) -> SentTransaction:
        nonce = self._nonce("pending")
        fields = {
            "chainId": self._chain_id,
            "nonce": nonce,
            # Two holders of one key who do the same would otherwise sign the same bytes, and both think they did it.
            "gas": gas + random.randrange(_GAS_SPREAD),
            "gasPrice": 2 * self._w3.eth.get_block("latest").get("baseFeePerGas", 0),
            "value": 0,
            "data": data,
        }
        raw = bytes(self._wallet.sign(fields if to is None else fields | {"to": to}).raw_transaction)
        return SentTransaction(b"", nonce, raw) if self._sent is None else self._sent.add(nonce, raw)

    def _forget(self, transaction: SentTransaction) -> None:
        if self._sent is not None:
            self._sent.drop(transaction)

    def _deliver(self, transaction: SentTransaction) -> TxReceipt:
        """Push the same bytes until their receipt stays: a chain that restarts or reorganises may lose them."""
        for _ in looks():
            self._push(transaction)
            receipt = self._final_receipt(transaction)
            if receipt is None:
                self._unwedge(transaction)
                continue
            self._record()
            found = self._receipt(transaction)
            if found is not None and found["blockHash"] == receipt["blockHash"]:
                return receipt
        raise ChainError(
            f"Transaction {Web3.to_hex(Web3.keccak(transaction.raw))} was not mined within {self._seconds:.0f} s."
        )

    def _push(self, transaction: SentTransaction) -> None:
        try:
            self._w3.eth.send_raw_transaction(transaction.raw)
        except Web3RPCError as error:
            # Known already, mined already, nonce in use: nodes say it in many words, so go and look.
            self._require_not_overtaken(transaction)
            if self._nonce("pending") <= transaction.nonce:
                raise _Refused(
                    f"The node refused a transaction of {self._address}: {error.message}."
                ) from None

    def _final_receipt(self, transaction: SentTransaction) -> TxReceipt | None:
        """The receipt once it is deep enough; None when the transaction is in no block after a while."""
        while_absent = time.monotonic() + _WEDGED_SECONDS
        for _ in looks():
            receipt = self._receipt(transaction)
            if receipt is None and time.monotonic() > while_absent:
                break
            if receipt is not None and self._is_final(receipt):
                return receipt
        return None

    def _is_final(self, receipt: TxReceipt) -> bool:
        return self._depth == 0 or receipt["blockNumber"] + self._depth <= self._w3.eth.block_number

    def _unwedge(self, transaction: SentTransaction) -> None:
        self._require_not_overtaken(transaction)
        if self._chain_id == LOCAL_CHAIN_ID and self._receipt(transaction) is None:
            # Anvil's automining can stall with transactions pending; mining one block by hand frees it.
            command(self._w3, "evm_mine")

    def _require_not_overtaken(self, transaction: SentTransaction) -> None:
        used = self._nonce(last_final(self._w3, self._depth)) > transaction.nonce
        if used and self._receipt(transaction) is None:
            raise _Overtaken

    def _receipt(self, transaction: SentTransaction) -> TxReceipt | None:
        try:
            return self._w3.eth.get_transaction_receipt(Web3.keccak(transaction.raw))
        except TransactionNotFound:
            return None

    def _nonce(self, block: BlockIdentifier) -> int:
        return self._w3.eth.get_transaction_count(self._address, block)
