"""The ledger as a contract on a chain: actions are transactions, views are calls."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from eth_typing import HexStr
from web3 import Web3
from web3.exceptions import ContractCustomError, ContractLogicError, Web3Exception, Web3RPCError
from web3.types import TxParams, TxReceipt

from fedchest.errors import ChainError
from fedchest.ledger.artifact import artifact
from fedchest.ledger.contract import deployed, refusal
from fedchest.ledger.events import EventReader
from fedchest.ledger.journal import Journal, follow_patiently
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.patience import within
from fedchest.ledger.records import (
    Event,
    Institution,
    Receipt,
    Rules,
)
from fedchest.ledger.rpc import LOCAL_CHAIN_ID, commands, connect, fetch, last_final
from fedchest.ledger.sent import SentTransactions
from fedchest.ledger.snapshot import Snapshot
from fedchest.ledger.transactions import ACTION_SECONDS, Sender
from fedchest.ledger.views import institution_of
from fedchest.ledger.wallet import Wallet

# What a transaction may use at most: measured upper bounds (docs/ledger.md) with a margin. The node's estimate alone
# would be wrong, since the attestation that completes the quorum costs far more than the same one a moment before:
# for what others may do in between, each participant's share is added to it.
_GAS_DEPLOYMENT = 8_000_000
_GAS_BASE = 500_000
_GAS_PER_INSTITUTION = 60_000
_GAS_HEADROOM = 1.5


def deploy(
    rpc_url: str, wallet: Wallet, rules: Rules, *, patience: float = 0.0, finality_depth: int = 0
) -> str:
    """Create a study's ledger, with `wallet` as its coordinator, and return its address.

    `patience` and `finality_depth` as of `LedgerClient`. Raises LedgerRefusal (InvalidRules) and ChainError.
    """
    w3 = connect(rpc_url, patience)
    factory = w3.eth.contract(abi=artifact().abi, bytecode=artifact().bytecode)
    data = HexStr(str(factory.constructor(astuple(rules)).data_in_transaction))
    estimate = _rehearse(w3, {"from": Web3.to_checksum_address(wallet.address), "data": data})
    sender = Sender(w3, wallet, w3.eth.chain_id, depth=finality_depth, patience=patience)
    receipt = sender.send(None, data, _gas_limit(estimate, 0, _GAS_DEPLOYMENT))
    address = receipt["contractAddress"]
    if receipt["status"] != 1 or address is None:
        raise ChainError("The ledger contract could not be created on this chain.")
    return str(address)


class LedgerClient(Ledger):
    """One party's access to the contract on a chain.

    With a journal it records every block it sees after each own transaction
    and in `sync`. Opening it pins the chain id and the deployed code. Actions raise LedgerRefusal when the contract
    refuses, in a rehearsal before anything is sent where possible, and ChainError when the node fails.
    """

    def __init__(
        self,
        rpc_url: str,
        address: str,
        wallet: Wallet | None = None,
        journal: Journal | None = None,
        *,
        chain_id: int = LOCAL_CHAIN_ID,
        patience: float = 0.0,
        finality_depth: int = 0,
    ) -> None:
        self._w3 = connect(rpc_url, patience)
        self._patience = patience
        self._depth = finality_depth
        self.chain_id = self._w3.eth.chain_id
        if self.chain_id != chain_id:
            raise ChainError(f"The chain at {rpc_url} has id {self.chain_id}, not {chain_id}.")
        self._contract = deployed(self._w3, address)
        self.address = str(self._contract.address)
        self.wallet = wallet
        self._journal = journal
        self._reader = EventReader(self._w3, self._contract, finality_depth)
        self._sender = self._sender_of(wallet) if wallet is not None else None
        self.sync()
        if self._sender is not None:
            self._sender.catch_up()

    def sync(self) -> None:
        """Bring the journal up to the head. Raises ChainError when the chain was rolled back or replaced.

        A chain that lacks the journal's last block may be coming up again and is waited for.
        """
        if self._journal is not None:
            follow_patiently(self._journal, self._w3, self._depth, self._patience)

    def institutions(self) -> list[Institution]:
        """Every registered institution, in the order of ids."""
        ids = range(self._view("institutionCount"))
        entries = fetch(self._w3, self._contract.functions.institution, ids)
        return [institution_of(id, entry) for id, entry in zip(ids, entries, strict=True)]

    def head(self) -> tuple[int, bytes]:
        """Number and hash of the chain's last block."""
        block = self._w3.eth.get_block(last_final(self._w3, self._depth))
        return block["number"], bytes(block["hash"])

    def block_hashes(self, numbers: Sequence[int]) -> list[bytes | None]:
        """Hashes of the blocks `numbers`; None for one that the chain does not have."""
        blocks = commands(self._w3, "eth_getBlockByNumber", [(hex(number), False) for number in numbers])
        return [None if block is None else bytes.fromhex(block["hash"][2:]) for block in blocks]

    def events(self, from_block: int = 0, to_block: int | None = None) -> list[Event]:
        """Every event of this ledger from `from_block` to `to_block` (default: the last), in the chain's order.

        Raises ChainMoved when the chain is rewritten meanwhile.
        """
        return self._reader.events(from_block, to_block)

    def snapshot(self, block: int | None = None) -> Snapshot:
        """The contract's storage in a block (default: the last), to be proven to others. Raises as `Snapshot`."""
        return Snapshot(self._w3, self.address, block)

    def _values(self, name: str, from_block: int, *indexed: int) -> list[dict[str, Any]]:
        return self._reader.values(name, from_block, *indexed)

    def _view(self, name: str, *arguments: Any) -> Any:
        try:
            block = last_final(self._w3, self._depth)
            return self._contract.functions[name](*arguments).call(block_identifier=block)
        except ContractCustomError as error:
            raise refusal(str(error.data)) from None
        except Web3Exception as error:
            raise ChainError(f"The chain does not tell the ledger's {name}: {error}") from None

    def _act(self, name: str, *arguments: Any, participants: int = 0, rehearse: bool = True) -> Receipt:
        if self._sender is None or self.wallet is None:
            raise ChainError(f"{name} needs a wallet, and this ledger was opened for reading only.")
        data = self._contract.encode_abi(name, list(arguments))
        call: TxParams = {
            "from": Web3.to_checksum_address(self.wallet.address),
            "to": self._contract.address,
            "data": data,
        }
        bound = _GAS_BASE + participants * _GAS_PER_INSTITUTION
        with within(max(self._patience, ACTION_SECONDS)):
            self.sync()
            gas = _gas_limit(_rehearse(self._w3, call), participants, bound) if rehearse else bound
            receipt = self._sender.send(self.address, data, gas)
        if receipt["status"] != 1:
            raise self._lost_race(call, receipt)
        return Receipt(Web3.to_hex(receipt["transactionHash"]), receipt["blockNumber"], receipt["gasUsed"])

    def _sender_of(self, wallet: Wallet) -> Sender:
        sent = SentTransactions(wallet.path, self._reader.creation())
        return Sender(
            self._w3,
            wallet,
            self.chain_id,
            sent=sent,
            record=self.sync,
            depth=self._depth,
            patience=self._patience,
        )

    def _lost_race(self, call: TxParams, receipt: TxReceipt) -> ChainError:
        """Why a transaction failed although its rehearsal passed: another came in between."""
        try:
            _rehearse(self._w3, call)
        except ChainError as error:
            return error
        return ChainError(
            f"Transaction {Web3.to_hex(receipt['transactionHash'])} failed, for lack of gas perhaps."
        )


def _rehearse(w3: Web3, call: TxParams) -> int:
    """Let the node run the call without sending it; the gas it took. Raises LedgerRefusal when the contract refuses."""
    try:
        return _estimate(w3, call)
    except ContractCustomError as error:
        raise refusal(str(error.data)) from None
    except ContractLogicError as error:
        raise ChainError(f"The ledger contract failed: {error.message}.") from None
    except Web3RPCError as error:
        raise ChainError(f"The node refused a rehearsal: {error.message}.") from None


def _estimate(w3: Web3, call: TxParams) -> int:
    try:
        return w3.eth.estimate_gas(call)
    except ContractLogicError:
        w3.eth.call(call)  # which fails too, and says why on nodes whose estimates don't
        raise


def _gas_limit(estimate: int, participants: int, bound: int) -> int:
    """The estimate with headroom, up to `bound`: a node that is wrong, or lies, can't make a wallet pay for more."""
    if estimate > bound:
        raise ChainError(f"The node estimates {estimate} gas where {bound} is the most that can be needed.")
    return min(int(_GAS_HEADROOM * estimate) + participants * _GAS_PER_INSTITUTION, bound)
