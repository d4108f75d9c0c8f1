"""What every ledger tells: one method for each of the contract's views."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from fedchest.ledger.calls import encoded_call
from fedchest.ledger.records import (
    Event,
    Institution,
    Phase,
    RoundState,
    Rules,
    Status,
    Submission,
    UpdateCommitment,
)
from fedchest.protection.commitment import commitment
from fedchest.protection.context import UpdateContext


class Views(ABC):
    """A study's ledger as it reads, whatever keeps it: `chain_id` and `address` are the place updates are bound to."""

    chain_id: int
    address: str

    @abstractmethod
    def _view(self, name: str, *arguments: Any) -> Any:
        """What the contract's view of that name shows; structs as tuples, addresses checksummed."""

    @abstractmethod
    def _values(self, name: str, from_block: int, *indexed: int) -> list[dict[str, Any]]:
        """The fields of the events `name` since that block whose leading indexed fields have the given values."""

    @abstractmethod
    def head(self) -> tuple[int, bytes]:
        """Number and hash of the last block."""

    @abstractmethod
    def block_hashes(self, numbers: Sequence[int]) -> list[bytes | None]:
        """Hashes of the blocks `numbers`; None for one that is not there."""

    @abstractmethod
    def events(self, from_block: int = 0, to_block: int | None = None) -> list[Event]:
        """Every event of this ledger from `from_block` to `to_block` (default: the last), in order."""

    def rules(self) -> Rules:
        """The study's rules."""
        return Rules(*self._view("rules"))

    def coordinators(self) -> tuple[str, ...]:
        """The addresses that have the coordinator's role, in the order in which they got it."""
        role = self._view("COORDINATOR")
        granted = self._values("RoleGranted", 0, int.from_bytes(role))
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
        decision = self._view("decisionOf", encoded_call(name, arguments))
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
        return institution_of(id, self._view("institution", id))

    def institutions(self) -> list[Institution]:
        """Every registered institution, in the order of ids."""
        return [self.institution(id) for id in range(self._view("institutionCount"))]

    def members(self, round: int) -> tuple[int, ...]:
        """Ids of the round's members, in increasing order."""
        opened = self._values("RoundOpened", self.round(round).opened_block, round)
        return tuple(sorted(opened[0]["members"])) if opened else ()

    def was_proposed_late(self, state: RoundState) -> bool:
        """Whether the round's proposal came when its time for submissions was over."""
        (opened,) = self._values("RoundOpened", state.opened_block, state.number)
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

    def committed(self, round: int, institution: int) -> bytes:
        """The institution's commitment in the round; zeros where there is none."""
        return bytes(self._view("commitment", round, institution))

    def submission(self, round: int, institution: int) -> Submission | None:
        """What the institution committed to in the round, or None."""
        return self._submissions(round, institution).get(institution)

    def submissions(self, round: int) -> dict[int, Submission]:
        """Every submission of the round by institution, in the order of arrival."""
        return self._submissions(round)

    def has_attested(self, round: int, institution: int) -> bool:
        """Whether the institution's attestation of the round is on chain."""
        return bool(self._view("hasAttested", round, institution))

    def _submissions(self, round: int, *institution: int) -> dict[int, Submission]:
        found = self._values("UpdateSubmitted", self.round(round).opened_block, round, *institution)
        return {
            fields["institution"]: Submission(**{key: fields[key] for key in Submission.__annotations__})
            for fields in found
        }


def institution_of(id: int, entry: Sequence[Any]) -> Institution:
    """The institution that the view of that name shows as `entry`."""
    wallet, weight_class, budget, strikes, status, *rest = entry
    return Institution(id, wallet, weight_class, budget, strikes, Status(status), *rest)
