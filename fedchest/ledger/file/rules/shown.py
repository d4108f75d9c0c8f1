"""What the contract's views show, from the rules' state: structs as tuples, in the contract's order."""

from collections.abc import Callable
from dataclasses import astuple
from typing import Any

from fedchest.ledger.file.rules.decisions import decision_of
from fedchest.ledger.file.rules.registry import total_weight
from fedchest.ledger.file.rules.state import COORDINATOR, NO_HASH, NO_ONE, OpenedRound, State, known_id

_NEVER_OPENED = OpenedRound((), 0, 0, 0, 0, NO_HASH, NO_HASH)


def view(state: State, name: str, *arguments: Any) -> Any:
    """The value of the view of that name. Raises LedgerRefusal as the contract does."""
    return _VIEWS[name](state, *arguments)


def _institution(state: State, id: int) -> tuple[Any, ...]:
    if id < len(state.institutions):
        return tuple(vars(state.institutions[id]).values())
    return (NO_ONE, 0, 0, 0, 0, 0, 0)


def _round(state: State, number: int) -> tuple[Any, ...]:
    round = _of(state, number)
    return (
        int(state.phase(number)),
        len(round.members),
        round.quorum,
        round.agreeing,
        round.disagreeing,
        round.deadline,
        round.opened_block,
        round.parent,
        state.halted(number),
        round.base_model,
        round.config,
        round.new_model,
        round.record,
        round.sum_hash,
        round.fingerprint,
        len(round.unanswered),
        round.gathered,
        round.proposal,
        round.artifacts,
    )


def _of(state: State, number: int) -> OpenedRound:
    return state.round(number) or _NEVER_OPENED


_VIEWS: dict[str, Callable[..., Any]] = {
    "COORDINATOR": lambda state: COORDINATOR,
    "rules": lambda state: astuple(state.rules),
    "initialModel": lambda state: state.initial_model,
    "globalModel": lambda state: state.global_model,
    "head": lambda state: state.head,
    "currentRound": lambda state: len(state.rounds),
    "successor": lambda state: state.successor,
    "paused": lambda state: state.paused,
    "roster": lambda state: state.roster,
    "totalWeight": total_weight,
    "isAllowed": lambda state, hash: hash in state.allowed,
    "hasRole": lambda state, role, account: (role, account) in state.roles,
    "institutionCount": lambda state: len(state.institutions),
    "activeCount": lambda state: len(state.active),
    "institution": _institution,
    "idOf": known_id,
    "decisionOf": decision_of,
    "supporters": lambda state, decision: tuple(state.supporters.get(decision, ())),
    "round": _round,
    "isMember": lambda state, number, id: id in _of(state, number).members,
    "commitment": lambda state, number, id: _of(state, number).commitments.get(id, NO_HASH),
    "accepted": lambda state, number: _of(state, number).accepted,
    "scores": lambda state, number: _of(state, number).scores,
    "hasAttested": lambda state, number, id: id in _of(state, number).attested,
    "owes": lambda state, number, id: id in _of(state, number).unanswered,
    "hasEquivocated": lambda state, number, id: (number, id) in state.equivocated,
}
