"""A study's ledger as the rules hold it, and what every rule uses."""

from dataclasses import dataclass, field
from typing import Any

from eth_utils.crypto import keccak

from fedchest.ledger.contract import named_refusal
from fedchest.ledger.records import Phase, Rules, Status

NO_HASH = bytes(32)
NO_ONE = "0x" + 40 * "0"
ADMINISTRATOR, COORDINATOR = NO_HASH, keccak(text="fedchest/coordinator")

Emitted = tuple[str, dict[str, Any]]
"""An event: its name and its fields under snake_case names, in the contract's order."""


@dataclass(frozen=True)
class Moment:
    """Where an action runs: the entry's number and time in seconds, and the hash of the entry before it."""

    number: int
    timestamp: int
    parent: bytes


@dataclass
class InstitutionState:
    """A registered institution, in the order of the contract's struct."""

    wallet: str
    weight_class: int
    epsilon_budget: int
    strikes: int = 0
    status: Status = Status.ACTIVE
    epsilon_spent: int = 0
    credits: int = 0


@dataclass
class OpenedRound:
    """A round; hashes are 32 bytes, fingerprints 24. `vouched` holds shares by institution and voucher."""

    members: tuple[int, ...]
    quorum: int
    deadline: int
    opened_block: int
    parent: int
    base_model: bytes
    config: bytes
    phase: Phase = Phase.OPEN
    agreeing: int = 0
    disagreeing: int = 0
    new_model: bytes = NO_HASH
    record: bytes = NO_HASH
    sum_hash: bytes = NO_HASH
    artifacts: bytes = NO_HASH
    fingerprint: bytes = bytes(24)
    gathered: bytes = bytes(24)
    proposal: bytes = NO_HASH
    unanswered: set[int] = field(default_factory=set)
    commitments: dict[int, bytes] = field(default_factory=dict)
    accepted: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    vouched: dict[int, dict[int, bytes]] = field(default_factory=dict)
    attested: set[int] = field(default_factory=set)


class State:
    """One study's ledger at `place`: the chain's id and the ledger's address."""

    def __init__(self, rules: Rules, coordinator: str, place: tuple[int, str]) -> None:
        """Raises LedgerRefusal (InvalidRules)."""
        seconds = rules.submission_seconds and rules.attestation_seconds
        require(seconds and rules.minimum_accepted and rules.founders, "InvalidRules")
        require(rules.cohort_size == 0 or rules.cohort_size >= rules.minimum_accepted, "InvalidRules")
        self.rules = rules
        self.place = place
        self.roles = {(ADMINISTRATOR, place[1]), (COORDINATOR, coordinator)}
        self.initial_model = NO_HASH
        self.head = 0
        self.successor = NO_ONE
        self.paused = False
        self.allowed = {rules.study}
        self.roster = NO_HASH
        self.seed = NO_HASH
        self.last_round_of: dict[str, int] = {}
        self.institutions: list[InstitutionState] = []
        self.wallets: dict[str, int] = {}
        self.active: list[int] = []
        self.rounds: list[OpenedRound] = []
        self.supporters: dict[bytes, list[int]] = {}
        self.taken: dict[bytes, int] = {}
        self.equivocated: set[tuple[int, int]] = set()

    @property
    def global_model(self) -> bytes:
        """Hash of the present global model."""
        return self.rounds[self.head - 1].new_model if self.head else self.initial_model

    def round(self, number: int) -> OpenedRound | None:
        """The round of that number; None if it never opened."""
        return self.rounds[number - 1] if 1 <= number <= len(self.rounds) else None

    def phase(self, number: int) -> Phase:
        """Where that round stands."""
        round = self.round(number)
        return Phase.NONE if round is None else round.phase

    def halted(self, number: int) -> bool:
        """Whether a pause stops that round."""
        return self.paused and number == len(self.rounds)

    def status(self, id: int) -> Status:
        """Whether that institution takes part."""
        return self.institutions[id].status if id < len(self.institutions) else Status.NONE

    def quorum(self, members: int) -> int:
        """How many of so many have to agree."""
        return members // 2 + 1 if self.rules.crash_only else 2 * members // 3 + 1


def require(condition: object, name: str, *values: Any) -> None:
    """Raise LedgerRefusal, the contract's error of that name with these values, unless the condition holds."""
    if not condition:
        raise named_refusal(name, *values)


def require_round(state: State, number: int, *, ready: bool) -> OpenedRound:
    """The round, which has to be open and `ready`. Raises LedgerRefusal (WrongPhase)."""
    round = state.round(number)
    if round is None or not ready:
        raise named_refusal("WrongPhase", number, state.phase(number))
    return round


def require_running(state: State) -> None:
    """Raises LedgerRefusal (EnforcedPause)."""
    require(not state.paused, "EnforcedPause")


def require_coordinator(state: State, sender: str) -> None:
    """Raises LedgerRefusal (AccessControlUnauthorizedAccount)."""
    require((COORDINATOR, sender) in state.roles, "AccessControlUnauthorizedAccount", sender, COORDINATOR)


def require_no_live_round(state: State) -> None:
    """Raises LedgerRefusal (RoundLive)."""
    number = len(state.rounds)
    require(not state.phase(number).is_live, "RoundLive", number)


def require_status(state: State, id: int, status: Status) -> None:
    """Raises LedgerRefusal (NotActive)."""
    require(state.status(id) is status, "NotActive", id, state.status(id))


def active_id(state: State, wallet: str) -> int:
    """The active institution whose present wallet it is. Raises LedgerRefusal."""
    id = known_id(state, wallet)
    require(state.institutions[id].wallet == wallet, "RetiredKey", wallet, id)
    require_status(state, id, Status.ACTIVE)
    return id


def known_id(state: State, wallet: str) -> int:
    """The institution that has or had the wallet. Raises LedgerRefusal (UnknownInstitution)."""
    require(wallet in state.wallets, "UnknownInstitution", wallet)
    return state.wallets[wallet]
