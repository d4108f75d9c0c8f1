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
from fedchest.ledger.records import (
    Attestation,
    Event,
    Institution,
    Phase,
    Proposal,
    Receipt,
    RoundState,
    Rules,
    Status,
    Submission,
    UpdateCommitment,
)
from fedchest.ledger.rpc import LOCAL_CHAIN_ID, commands, connect, fetch, last_final
from fedchest.ledger.sent import SentTransactions
from fedchest.ledger.snapshot import Snapshot
from fedchest.ledger.transactions import ACTION_SECONDS, Sender
from fedchest.ledger.wallet import Wallet
from fedchest.protection.commitment import commitment
from fedchest.protection.context import UpdateContext

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

    def register_founder(self, wallet: str, weight_class: int, epsilon_budget: int) -> int:
        """List a founding institution; returns its id. The budget is in micro-units of epsilon."""
        self._act("registerFounder", wallet, weight_class, epsilon_budget)
        return self.institution_id(wallet)

    def open_round(self, config: bytes) -> int:
        """Open the next round under the configuration of that hash; returns the round's number."""
        rules = self.rules()
        self._act("openRound", config, participants=rules.cohort_size or self._view("activeCount"))
        return self.current_round()

    def propose(
        self,
        round: int,
        proposal: Proposal,
        accepted: Sequence[int],
        scores: Sequence[int],
        refusals: Mapping[int, int],
    ) -> Receipt:
        """Propose the aggregate of the `accepted` institutions, in increasing order, with their `scores` if any.

        `refusals` maps institutions to reasons.
        """
        listed = sorted(refusals.items())
        participants = len(accepted) + len(listed)
        proposed = astuple(proposal)
        return self._act(
            "proposeAggregate",
            round,
            proposed,
            list(accepted),
            list(scores),
            listed,
            participants=participants,
        )

    def abandon(self, round: int, refusals: Mapping[int, int]) -> Receipt:
        """Give up an open round, with the refusals on record."""
        return self._act("abandonRound", round, sorted(refusals.items()), participants=len(refusals))

    # Decisions, which a quorum of the institutions takes together.

    def approve_initial_model(self, model: bytes, provenance: bytes, roster: bytes) -> Receipt:
        """Support the study's first model and its founders, by `roster_hash`; all are hashes of 32 bytes."""
        return self._support("approveInitialModel", model, provenance, roster)

    def restart_from(self, round: int) -> Receipt:
        """Support going on from an earlier finalized round's model, 0 for the initial one."""
        return self._support("restartFrom", round)

    def register_institution(self, wallet: str, weight_class: int, epsilon_budget: int) -> Receipt:
        """Support another institution's joining."""
        return self._support("registerInstitution", wallet, weight_class, epsilon_budget)

    def suspend(self, institution: int) -> Receipt:
        """Support suspending an institution."""
        return self._support("suspendInstitution", institution)

    def reinstate(self, institution: int) -> Receipt:
        """Support a suspended institution's coming back."""
        return self._support("reinstateInstitution", institution)

    def revoke(self, institution: int) -> Receipt:
        """Support revoking an institution for good."""
        return self._support("revokeInstitution", institution)

    def rotate_key(self, institution: int, wallet: str) -> Receipt:
        """Support giving an institution that lost its key another wallet."""
        return self._support("rotateKey", institution, wallet)

    def pause(self) -> Receipt:
        """Support stopping every write but decisions."""
        return self._support("pause")

    def unpause(self) -> Receipt:
        """Support going on."""
        return self._support("unpause")

    def set_allowed(self, config: bytes, allowed: bool) -> Receipt:
        """Support allowing rounds under another configuration, or forbidding it."""
        return self._support("setAllowed", config, allowed)

    def move_study(self, successor: str) -> Receipt:
        """Support ending this ledger in favour of another."""
        return self._support("moveStudy", successor)

    def appoint_coordinator(self, wallet: str) -> Receipt:
        """Support giving an address the coordinator's role."""
        return self._support("grantRole", self._view("COORDINATOR"), wallet)

    def dismiss_coordinator(self, wallet: str) -> Receipt:
        """Support taking the coordinator's role from an address."""
        return self._support("revokeRole", self._view("COORDINATOR"), wallet)

    def withdraw(self, name: str, *arguments: Any) -> Receipt:
        """Take back the support of the contract's action `name` with these arguments."""
        return self._act("withdraw", self._encoded(name, arguments))

    # The institutions' actions.

    def submit_update(self, update: UpdateCommitment) -> Receipt:
        """Commit to an update from the institution's own wallet."""
        return self._act("submitUpdate", astuple(update))

    def submit_update_for(self, update: UpdateCommitment, signature: bytes) -> Receipt:
        """Commit for the institution that signed it; from any wallet."""
        return self._act("submitUpdateFor", astuple(update), signature)

    def sign_update(self, update: UpdateCommitment) -> bytes:
        """The wallet's signature (65 bytes), with which anyone may submit the update."""
        if self.wallet is None:
            raise ChainError(
                "Signing a submission needs a wallet, and this ledger was opened for reading only."
            )
        return self.wallet.sign_digest(self.commitment_to(update))

    def rotate_own_key(self, wallet: str) -> Receipt:
        """Replace this institution's wallet; the present one can do nothing more."""
        return self._act("rotateOwnKey", wallet)

    def attest(self, round: int, attestation: Attestation) -> Receipt:
        """Vote with the results that were computed here."""
        members = self.round(round).members
        return self._act("attest", round, astuple(attestation), participants=members)

    def answer_for(self, round: int, institution: int, proposal: bytes, share: bytes) -> Receipt:
        """Vouch for the share (24 bytes) of an accepted institution that is silent and whose update was opened here."""
        members = self.round(round).members
        return self._act("answerFor", round, institution, proposal, share, participants=members)

    # Anyone's.

    def expire(self, round: int) -> Receipt:
        """Void a live round whose deadline has passed. Raises LedgerRefusal (DeadlineNotReached).

        Sent without a rehearsal, which an idle development chain would run at the time of its last block.
        """
        return self._act("expireRound", round, rehearse=False)

    def report_equivocation(
        self, one: UpdateCommitment, signature: bytes, other: UpdateCommitment, other_signature: bytes
    ) -> Receipt:
        """Put on record that an institution committed to both; the signature of the one on chain may be empty."""
        return self._act("reportEquivocation", astuple(one), signature, astuple(other), other_signature)

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

    def coordinators(self) -> tuple[str, ...]:
        """The addresses that have the coordinator's role, in the order in which they got it."""
        role = self._view("COORDINATOR")
        granted = self._reader.values("RoleGranted", 0, int.from_bytes(role))
        accounts = dict.fromkeys(fields["account"] for fields in granted)
        return tuple(account for account in accounts if self._view("hasRole", role, account))

    def initial_model(self) -> bytes:
        """Hash of the first model; zeros until the institutions' quorum approves one."""
        return bytes(self._view("initialModel"))

    def head_round(self) -> int:
        """The finalized round that the present global model comes from; 0 for the initial model."""
        return int(self._view("head"))

    def successor(self) -> str | None:
        """The ledger that this study moved to, or None."""
        address = str(self._view("successor"))
        return None if int(address, 16) == 0 else address

    def is_paused(self) -> bool:
        """Whether writes are stopped."""
        return bool(self._view("paused"))

    def supporters(self, name: str, *arguments: Any) -> tuple[int, ...]:
        """The institutions that support the contract's action `name` with these arguments, at present."""
        decision = self._view("decisionOf", self._encoded(name, arguments))
        return tuple(self._view("supporters", decision))

    def commitment_to(self, update: UpdateCommitment) -> bytes:
        """The commitment (32 bytes) that the update is to this ledger."""
        round, institution, base_model, *submitted = astuple(update)
        context = UpdateContext(self.chain_id, self.address, round, institution, base_model)
        return commitment(context, *submitted)

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
        """How many finalized rounds the model that round `number` starts from, or would start from, rests on."""
        parent = self.round(number).parent if number <= self.current_round() else self.head_round()
        steps = 0
        while parent:
            parent, steps = self.round(parent).parent, steps + 1
        return steps

    def institution_id(self, wallet: str) -> int:
        """The id registered for an address. Raises LedgerRefusal (UnknownInstitution)."""
        return int(self._view("idOf", wallet))

    def institution(self, id: int) -> Institution:
        """One registered institution."""
        return _institution(id, self._view("institution", id))

    def institutions(self) -> list[Institution]:
        """Every registered institution, in the order of ids."""
        ids = range(self._view("institutionCount"))
        entries = fetch(self._w3, self._contract.functions.institution, ids)
        return [_institution(id, entry) for id, entry in zip(ids, entries, strict=True)]

    def members(self, round: int) -> tuple[int, ...]:
        """Ids of the round's members, in increasing order."""
        opened = self._reader.values("RoundOpened", self.round(round).opened_block, round)
        return tuple(sorted(opened[0]["members"])) if opened else ()

    def was_proposed_late(self, state: RoundState) -> bool:
        """Whether the round's proposal came when its time for submissions was over."""
        (opened,) = self._reader.values("RoundOpened", state.opened_block, state.number)
        return bool(state.deadline - self.rules().attestation_seconds > opened["deadline"])

    def accepted(self, round: int) -> tuple[int, ...]:
        """Ids of the institutions whose updates the round's proposal rests on."""
        return tuple(self._view("accepted", round))

    def scores(self, round: int) -> tuple[int, ...]:
        """Their contribution scores, in the same order; none where credits go by weight class."""
        return tuple(self._view("scores", round))

    def owes(self, round: int, institution: int) -> bool:
        """Whether the institution's update is accepted and its fingerprint not yet answered."""
        return bool(self._view("owes", round, institution))

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

    def _support(self, name: str, *arguments: Any) -> Receipt:
        """Support an action; the one that completes the quorum pays for the action too."""
        return self._act("support", self._encoded(name, arguments), participants=self._view("activeCount"))

    def _encoded(self, name: str, arguments: Sequence[Any]) -> bytes:
        return bytes.fromhex(self._contract.encode_abi(name, list(arguments))[2:])

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


def _institution(id: int, entry: Sequence[Any]) -> Institution:
    wallet, weight_class, budget, strikes, status, *rest = entry
    return Institution(id, wallet, weight_class, budget, strikes, Status(status), *rest)


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
