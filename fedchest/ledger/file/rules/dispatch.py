"""From a call's bytes to the rule that it is under."""

from collections.abc import Callable
from typing import Any

from fedchest.errors import ChainError
from fedchest.ledger.calls import decoded_call
from fedchest.ledger.contract import LedgerRefusal, named_refusal
from fedchest.ledger.file.rules import decisions, registry, rounds, submissions, votes
from fedchest.ledger.file.rules.state import ADMINISTRATOR, COORDINATOR, Emitted, Moment, State
from fedchest.ledger.records import Attestation, Proposal, Rules, UpdateCommitment

Action = Callable[..., list[Emitted]]


def create(rules: Rules, coordinator: str, place: tuple[int, str]) -> tuple[State, list[Emitted]]:
    """A study's ledger as it begins. Raises LedgerRefusal (InvalidRules)."""
    state = State(rules, coordinator, place)
    granted = [(ADMINISTRATOR, place[1]), (COORDINATOR, coordinator)]
    events: list[Emitted] = [
        ("RoleGranted", {"role": role, "account": account, "sender": coordinator})
        for role, account in granted
    ]
    return state, [*events, ("StudyCreated", {"coordinator": coordinator, "rules": rules})]


def act(state: State, sender: str, call: bytes, now: Moment) -> list[Emitted]:
    """Carry out a call of `sender` (checksummed); the events that it causes.

    Raises LedgerRefusal when the rules forbid it, and the state stays as it was.
    """
    try:
        name, arguments = decoded_call(call)
    except ChainError:
        raise LedgerRefusal("UnknownError", {"data": "0x"}) from None
    if name in decisions.DECISIONS:
        raise named_refusal("AccessControlUnauthorizedAccount", sender, ADMINISTRATOR)
    if name not in _ACTIONS:
        raise LedgerRefusal("UnknownError", {"data": "0x"})
    return _ACTIONS[name](state, sender, now, *arguments)


def _submit(state: State, sender: str, now: Moment, update: tuple[Any, ...]) -> list[Emitted]:
    return submissions.submit(state, sender, UpdateCommitment(*update), now)


def _submit_for(
    state: State, sender: str, now: Moment, update: tuple[Any, ...], signature: bytes
) -> list[Emitted]:
    return submissions.submit_for(state, UpdateCommitment(*update), signature, now)


def _report(
    state: State,
    sender: str,
    now: Moment,
    one: tuple[Any, ...],
    signature: bytes,
    other: tuple[Any, ...],
    other_signature: bytes,
) -> list[Emitted]:
    updates = UpdateCommitment(*one), UpdateCommitment(*other)
    return submissions.report(state, updates[0], signature, updates[1], other_signature)


def _propose(
    state: State,
    sender: str,
    now: Moment,
    number: int,
    proposal: tuple[Any, ...],
    accepted: tuple[int, ...],
    scores: tuple[int, ...],
    refusals: tuple[tuple[int, int], ...],
) -> list[Emitted]:
    return rounds.propose(state, sender, number, Proposal(*proposal), accepted, scores, refusals, now)


def _attest(state: State, sender: str, now: Moment, number: int, result: tuple[Any, ...]) -> list[Emitted]:
    return votes.attest(state, sender, number, Attestation(*result), now)


def _answer_for(
    state: State, sender: str, now: Moment, number: int, id: int, proposal: bytes, share: bytes
) -> list[Emitted]:
    return votes.answer_for(state, sender, number, id, proposal, share, now)


_ACTIONS: dict[str, Action] = {
    "registerFounder": lambda state, sender, now, *entry: registry.register_founder(state, sender, *entry),
    "rotateOwnKey": lambda state, sender, now, wallet: registry.rotate_own_key(state, sender, wallet),
    "support": lambda state, sender, now, action: decisions.support(state, sender, action, now),
    "withdraw": lambda state, sender, now, action: decisions.withdraw(state, sender, action),
    "openRound": lambda state, sender, now, config: rounds.open_round(state, sender, config, now),
    "submitUpdate": _submit,
    "submitUpdateFor": _submit_for,
    "reportEquivocation": _report,
    "proposeAggregate": _propose,
    "abandonRound": lambda state, sender, now, *what: rounds.abandon(state, sender, *what),
    "attest": _attest,
    "answerFor": _answer_for,
    "expireRound": lambda state, sender, now, number: rounds.expire(state, number, now),
}
