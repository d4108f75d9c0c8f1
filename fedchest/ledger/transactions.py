"""Sending: one transaction in flight per key, waited for within bounds."""

from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import TimeExhausted, Web3RPCError
from web3.types import TxReceipt

from fedchest.errors import ChainError
from fedchest.ledger.rpc import LOCAL_CHAIN_ID, command
from fedchest.ledger.wallet import Wallet

_POLL_SECONDS = 0.005
_WEDGED_SECONDS = 2.0
_MINED_SECONDS = 120.0


class Sender:
    """Sends one wallet's transactions to one chain."""

    def __init__(self, w3: Web3, wallet: Wallet) -> None:
        self._w3 = w3
        self._wallet = wallet
        self._address = Web3.to_checksum_address(wallet.address)
        self._chain_id = w3.eth.chain_id

    def send(self, to: str | None, data: str, gas: int) -> TxReceipt:
        """Sign, send and await one transaction; `to` None creates a contract.

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
            return self._deliver(raw)

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
