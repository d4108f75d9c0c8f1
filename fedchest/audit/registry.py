"""Who takes part and what is decided, replayed from the events: the twin of contracts/src/Institutions.sol."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fedchest.audit.decisions import caused_by
from fedchest.audit.replay import Replay
from fedchest.audit.rules import quorum_of
from fedchest.ledger.records import Event, Institution, Rules, Status
from fedchest.protection.codec import MAX_TOTAL_WEIGHT

NO_HASH = bytes(32)
NO_ONE = "0x" + 40 * "0"
ADMINISTRATOR, COORDINATOR = NO_HASH, keccak(text="fedchest/coordinator")


class Registry(Replay):
    """The institutions of the ledger at `contract`, and their decisions.

    `active` is in the contract's own order, which draws go by: whoever leaves is replaced by the last.
    """

    def __init__(self, contract: str) -> None:
        super().__init__()
        self._contract = contract
        self._created = False
        self._wallets: dict[str, int] = {}
        self._roster = NO_HASH
        self._supporters: dict[bytes, set[int]] = {}
        self._taken: Counter[bytes] = Counter()
        self.rules = Rules(NO_HASH, NO_HASH, 0, 0, 0, 0, 0, False, False, 0, 0)
        self.initial_model = NO_HASH
        self.coordinators: set[str] = set()
        self.institutions: list[Institution] = []
        self.active: list[int] = []
        self.paused = False

    # Institutions.

    def _institution_registered(
        self, event: Event, wallet: str, weight_class: int, epsilon_budget: int
    ) -> None:
        if not self._caused:
            self._require(
                event, self.initial_model == NO_HASH, "a decision that was taken", "a founder after it"
            )
            self._by_coordinator(event)
            listed, most_founders = len(self.institutions), self.rules.founders
            self._require(event, listed < most_founders, f"{most_founders} founders", "one more")
        number, most = len(self.institutions), self.rules.epsilon_budget
        self._equal(event, "institution", number, event.institution)
        self._free(event, wallet)
        self._require(event, weight_class > 0, "a weight class above 0", weight_class)
        total = sum(one.weight_class for one in self.institutions) + weight_class
        self._require(event, total <= MAX_TOTAL_WEIGHT, f"weights up to {MAX_TOTAL_WEIGHT}", total)
        self._require(event, epsilon_budget <= most, f"a budget up to {most}", epsilon_budget)
        self.institutions.append(
            Institution(number, wallet, weight_class, epsilon_budget, 0, Status.ACTIVE, 0, 0)
        )
        self.active.append(number)
        self._wallets[wallet] = number
        entry = (self._roster, wallet, weight_class, epsilon_budget)
        self._roster = keccak(encode(["bytes32", "address", "uint16", "uint64"], entry))

    def _institution_suspended(self, event: Event) -> None:
        self._by_decision(event)
        self._deactivate(event, self._with_status(event, Status.ACTIVE), Status.SUSPENDED)

    def _institution_reinstated(self, event: Event) -> None:
        self._by_decision(event)
        member = self._with_status(event, Status.SUSPENDED)
        self._update(member.id, status=Status.ACTIVE)
        self.active.append(member.id)

    def _institution_revoked(self, event: Event) -> None:
        self._by_decision(event)
        member = self._with_status(event, Status.ACTIVE, Status.SUSPENDED)
        if member.status is Status.ACTIVE:
            self._deactivate(event, member, Status.REVOKED)
        self._update(member.id, status=Status.REVOKED)

    def _key_rotated(self, event: Event, old_wallet: str, new_wallet: str) -> None:
        member = self._registered(event) if self._caused else self._acting(event)
        self._equal(event, "old wallet", member.wallet, old_wallet)
        self._free(event, new_wallet)
        self._wallets[new_wallet] = member.id
        self._update(member.id, wallet=new_wallet)

    # Decisions.

    def _decision_supported(self, event: Event, decision: bytes, action: bytes) -> None:
        member = self._acting(event)
        if self.initial_model == NO_HASH:
            decided = caused_by(action)
            founding = decided is not None and decided.name == "InitialModelApproved"
            self._require(event, founding, "the first model to decide about", "another action")
            listed = len(self.institutions)
            self._require(
                event, listed == self.rules.founders, f"{self.rules.founders} founders", f"{listed} listed"
            )
        key = keccak(action)
        due = keccak(encode(["bytes32", "uint256"], [key, self._taken[key]]))
        self._equal(event, "decision", due, decision)
        supporters = self._supporters.setdefault(decision, set())
        self._require(event, member.id not in supporters, "one support", "a second")
        supporters.add(member.id)
        if self._active_among(supporters) >= self._quorum():
            self._taken[key] += 1
            self._foretell("DecisionTaken", decision=decision)
            self._foretell_what_is_decided(event, action)

    def _support_withdrawn(self, event: Event, decision: bytes) -> None:
        member = self._acting(event)
        supporters = self._supporters.get(decision, set())
        self._require(event, member.id in supporters, "its support", "none")
        supporters.remove(member.id)

    def _decision_taken(self, event: Event, decision: bytes) -> None:
        supporters = self._active_among(self._supporters.get(decision, ()))
        self._require(event, self._caused, f"the support of {self._quorum()}", f"{supporters} supporters")
        del self._supporters[decision]

    def _foretell_what_is_decided(self, event: Event, action: bytes) -> None:
        due = caused_by(action)
        if due is None or due.fields.get("role", COORDINATOR) != COORDINATOR:
            raise self._fault(event, "decides what the state machine does not know", "a decision", action)
        account = due.fields.get("account")
        nothing_to_do = {
            "RoleGranted": account in self.coordinators,
            "RoleRevoked": account not in self.coordinators,
        }
        if not nothing_to_do.get(due.name, False):
            self._foretold.append(due)

    # Roles, and pausing.

    def _role_granted(self, event: Event, role: bytes, account: str, sender: str) -> None:
        self._by_decision(event)
        self._equal(event, "granter", self._contract if self._created else event.sender, sender)
        self._require(event, account not in self._wallets, "an address that is no institution's", account)
        if role == COORDINATOR:
            self.coordinators.add(account)

    def _role_revoked(self, event: Event, role: bytes, account: str, sender: str) -> None:
        self._by_decision(event)
        self._equal(event, "revoker", self._contract, sender)
        self.coordinators.remove(account)

    def _paused(self, event: Event, account: str) -> None:
        self._by_decision(event)
        self._equal(event, "account", self._contract, account)
        self._running(event)
        self.paused = True

    def _unpaused(self, event: Event, account: str) -> None:
        self._by_decision(event)
        self._equal(event, "account", self._contract, account)
        self._require(event, self.paused, "a paused study", "a running one")
        self.paused = False

    # What several of them need.

    def _quorum(self) -> int:
        return quorum_of(len(self.active), self.rules)

    def _active_among(self, numbers: Iterable[int]) -> int:
        """How many of them are active: support counts as long as its supporter is."""
        return sum(number in self.active for number in numbers)

    def _deactivate(self, event: Event, member: Institution, status: Status) -> None:
        self._require(event, len(self.active) > 1, "another active institution", "the last one")
        last = self.active.pop()
        if last != member.id:
            self.active[self.active.index(member.id)] = last
        self._update(member.id, status=status)

    def _registered(self, event: Event) -> Institution:
        number = event.institution
        if number is None or not 0 <= number < len(self.institutions):
            raise self._fault(event, "is of no institution", f"below {len(self.institutions)}", number)
        return self.institutions[number]

    def _with_status(self, event: Event, *statuses: Status) -> Institution:
        member = self._registered(event)
        names = " or ".join(status.name for status in statuses)
        self._require(event, member.status in statuses, f"status {names}", member.status)
        return member

    def _acting(self, event: Event) -> Institution:
        """The active institution that acts from its present wallet."""
        member = self._with_status(event, Status.ACTIVE)
        self._by(event, member.wallet)
        return member

    def _free(self, event: Event, wallet: str) -> None:
        taken = wallet == NO_ONE or wallet in self.coordinators or wallet in self._wallets
        self._require(event, not taken, "a wallet of its own", wallet)

    def _running(self, event: Event) -> None:
        self._require(event, not self.paused, "a running study", "a paused one")

    def _by_coordinator(self, event: Event) -> None:
        expected = f"wallet {' or '.join(sorted(self.coordinators))}"
        self._require(event, event.sender in self.coordinators, expected, event.sender)

    def _update(self, number: int, **fields: Any) -> None:
        self.institutions[number] = replace(self.institutions[number], **fields)
