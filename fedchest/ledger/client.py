"""The ledger as its users see it: one method for each of the contract's actions and views."""

from collections.abc import Mapping, Sequence
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
from fedchest.ledger.patience import within
from fedchest.ledger.records import Event, Institution, Phase, Receipt, RoundState, Rules, Submission
from fedchest.ledger.rpc import LOCAL_CHAIN_ID, commands, connect, fetch, last_final
from fedchest.ledger.sent import SentTransactions
from fedchest.ledger.snapshot import Snapshot
from fedchest.ledger.transactions import ACTION_SECONDS, Sender
from fedchest.ledger.wallet import Wallet

# What a transaction may use at most: measured upper bounds (docs/ledger.md) with a margin. The node's estimate alone
# would be wrong, since the attestation that completes the quorum costs far more than the same one a moment before:
# for what others may do in between, each participant's share is added to it.
_GAS_DEPLOYMENT = 5_000_000
_GAS_BASE = 500_000
_GAS_PER_INSTITUTION = 60_000
_GAS_HEADROOM = 1.5


def deploy(
    rpc_url: str,
    wallet: Wallet,
    rules: Rules,
    initial_model: bytes,
    provenance: bytes,
    *,
    patience: float = 0.0,
    finality_depth: int = 0,
) -> str:
    """Create a study's ledger, with `wallet` as its coordinator, and return its address.

    `initial_model` and `provenance` are 32-byte hashes, `patience` and `finality_depth` as of `LedgerClient`. Raises
    LedgerRefusal (InvalidRules, EmptyModel) and ChainError.
    """
    w3 = connect(rpc_url, patience)
    factory = w3.eth.contract(abi=artifact().abi, bytecode=artifact().bytecode)
    data = HexStr(str(factory.constructor(astuple(rules), initial_model, provenance).data_in_transaction))
    estimate = _rehearse(w3, {"from": Web3.to_checksum_address(wallet.address), "data": data})
    sender = Sender(w3, wallet, w3.eth.chain_id, depth=finality_depth, patience=patience)
    receipt = sender.send(None, data, _gas_limit(estimate, 0, _GAS_DEPLOYMENT))
    address = receipt["contractAddress"]
    if receipt["status"] != 1 or address is None:
        raise ChainError("The ledger contract could not be created on this chain.")
    return str(address)


class LedgerClient:
    """One party's access to a study's ledger.

    Without a wallet it only reads. With a journal it records every block it sees after each own transaction
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

    # The coordinator's actions.

    def register_institution(self, wallet: str, weight_class: int, epsilon_budget: int) -> int:
        """Register an address; returns the institution's id. The budget is in micro-units of epsilon."""
        self._act("registerInstitution", wallet, weight_class, epsilon_budget)
        return self.institution_id(wallet)

    def open_round(self, config: bytes) -> int:
        """Open the next round under the configuration of that hash; returns the round's number."""
        rules = self.rules()
        self._act("openRound", config, participants=rules.cohort_size or self._view("institutionCount"))
        return self.current_round()

    def propose(
        self,
        round: int,
        new_model: bytes,
        accepted: Sequence[int],
        refusals: Mapping[int, int],
        record: bytes,
    ) -> Receipt:
        """Propose the aggregate of the `accepted` institutions; `refusals` maps institutions to reasons."""
        listed = sorted(refusals.items())
        participants = len(accepted) + len(listed)
        return self._act(
            "proposeAggregate", round, new_model, sorted(accepted), listed, record, participants=participants
        )

    def abandon(self, round: int, refusals: Mapping[int, int]) -> Receipt:
        """Give up an open round, with the refusals on record."""
        return self._act("abandonRound", round, sorted(refusals.items()), participants=len(refusals))

    # The institutions' actions.

    def submit_update(
        self,
        round: int,
        base_model: bytes,
        sealed_hash: bytes,
        plaintext_hash: bytes,
        manifest_hash: bytes,
        weight_class: int,
        epsilon: int,
    ) -> Receipt:
        """Commit to an update. `epsilon` is the cohort's cumulative spend after it, in micro-units."""
        hashes = (base_model, sealed_hash, plaintext_hash, manifest_hash)
        return self._act("submitUpdate", round, *hashes, weight_class, epsilon)

    def attest(self, round: int, recomputed_model: bytes, checks: int) -> Receipt:
        """Vote with the model hash that was computed here; `checks` is a mask of `Check`s that passed."""
        members = self.round(round).members
        return self._act("attest", round, recomputed_model, checks, participants=members)

    # Anyone's.

    def expire(self, round: int) -> Receipt:
        """Void a live round whose deadline has passed. Raises LedgerRefusal (DeadlineNotReached).

        Sent without a rehearsal, which an idle development chain would run at the time of its last block.
        """
        return self._act("expireRound", round, rehearse=False)

    def sync(self) -> None:
        """Bring the journal up to the head. Raises ChainError when the chain was rolled back or replaced.

        A chain that lacks the journal's last block may be coming up again and is waited for.
        """
        if self._journal is not None:
            follow_patiently(self._journal, self._w3, self._depth, self._patience)

    # Views.

    def rules(self) -> Rules:
        """The study's rules."""
        return Rules(*self._view("rules"))

    def coordinator(self) -> str:
        """The coordinator's address."""
        return str(self._view("coordinator"))

    def global_model(self) -> bytes:
        """Hash of the present global model."""
        return bytes(self._view("globalModel"))

    def current_round(self) -> int:
        """Number of the last round opened; 0 before the first."""
        return int(self._view("currentRound"))

    def round(self, number: int) -> RoundState:
        """The round of that number; phase NONE if it never opened."""
        phase, *fields = self._view("round", number)
        return RoundState(number, Phase(phase), *fields)

    def finalized_before(self, number: int) -> int:
        """How many of the rounds below `number` were finalized: what a round starts from is that many steps old."""
        return sum(self.round(earlier).phase is Phase.FINALIZED for earlier in range(1, number))

    def institution_id(self, wallet: str) -> int:
        """The id registered for an address. Raises LedgerRefusal (UnknownInstitution)."""
        return int(self._view("idOf", wallet))

    def institution(self, id: int) -> Institution:
        """One registered institution."""
        return Institution(id, *self._view("institution", id))

    def institutions(self) -> list[Institution]:
        """Every registered institution, in the order of ids."""
        ids = range(self._view("institutionCount"))
        entries = fetch(self._w3, self._contract.functions.institution, ids)
        return [Institution(id, *entry) for id, entry in zip(ids, entries, strict=True)]

    def members(self, round: int) -> tuple[int, ...]:
        """Ids of the round's members, in increasing order."""
        opened = self._reader.values("RoundOpened", self.round(round).opened_block, round)
        return tuple(sorted(opened[0]["members"])) if opened else ()

    def accepted(self, round: int) -> tuple[int, ...]:
        """Ids of the institutions whose updates the round's proposal rests on."""
        return tuple(self._view("accepted", round))

    def submission(self, round: int, institution: int) -> Submission | None:
        """What the institution committed to in the round, or None."""
        return self._submissions(round, institution).get(institution)

    def submissions(self, round: int) -> dict[int, Submission]:
        """Every submission of the round by institution, in the order of arrival."""
        return self._submissions(round)

    def has_attested(self, round: int, institution: int) -> bool:
        """Whether the institution's attestation of the round is on chain."""
        return bool(self._view("hasAttested", round, institution))

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

    def _submissions(self, round: int, *institution: int) -> dict[int, Submission]:
        found = self._reader.values("UpdateSubmitted", self.round(round).opened_block, round, *institution)
        return {
            fields["institution"]: Submission(**{key: fields[key] for key in Submission.__annotations__})
            for fields in found
        }

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
