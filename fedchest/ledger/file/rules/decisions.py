"""What the institutions decide together: support, withdrawal, and the actions that a quorum carries out."""

from collections.abc import Callable
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fedchest.errors import ChainError
from fedchest.ledger.calls import called, decoded_call
from fedchest.ledger.contract import named_refusal
from fedchest.ledger.file.rules import registry
from fedchest.ledger.file.rules.state import (
    ADMINISTRATOR,
    NO_HASH,
    NO_ONE,
    Emitted,
    Moment,
    State,
    active_id,
    require,
    require_no_live_round,
)
from fedchest.ledger.records import Phase


def support(state: State, sender: str, action: bytes, now: Moment) -> list[Emitted]:
    """Support the contract's call `action`; the support that completes the quorum carries it out."""
    id = active_id(state, sender)
    if state.initial_model == NO_HASH:
        listed = len(state.institutions) == state.rules.founders
        require(listed and called(action) == "approveInitialModel", "NotFounded")
    decision = decision_of(state, action)
    supporters = state.supporters.get(decision, [])
    require(id not in supporters, "AlreadySupported", decision, id)
    events: list[Emitted] = [
        ("DecisionSupported", {"decision": decision, "institution": id, "action": action})
    ]
    if sum(one in state.active for one in [*supporters, id]) >= state.quorum(len(state.active)):
        events += [("DecisionTaken", {"decision": decision}), *_carried_out(state, action, now)]
        key = keccak(action)
        state.taken[key] = state.taken.get(key, 0) + 1
    state.supporters[decision] = [*supporters, id]
    return events


def withdraw(state: State, sender: str, action: bytes) -> list[Emitted]:
    """Take a support back."""
    id = active_id(state, sender)
    decision = decision_of(state, action)
    supporters = state.supporters.get(decision, [])
    require(id in supporters, "NotSupported", decision, id)
    supporters[supporters.index(id)] = supporters[-1]
    supporters.pop()
    return [("SupportWithdrawn", {"decision": decision, "institution": id})]


def decision_of(state: State, action: bytes) -> bytes:
    """What a support of `action` counts towards: a decision that was taken can be taken again, from nothing."""
    key = keccak(action)
    return keccak(encode(["bytes32", "uint256"], [key, state.taken.get(key, 0)]))


def _carried_out(state: State, action: bytes, now: Moment) -> list[Emitted]:
    try:
        name, arguments = decoded_call(action)
        perform = DECISIONS[name]
    except (ChainError, LookupError):
        raise named_refusal("FailedCall") from None
    return perform(state, now, *arguments)


def _approve(state: State, now: Moment, model: bytes, provenance: bytes, roster: bytes) -> list[Emitted]:
    require(state.initial_model == NO_HASH, "AlreadyFounded")
    require(model != NO_HASH, "EmptyModel")
    require(roster == state.roster, "WrongRoster", state.roster)
    state.initial_model, state.seed = model, now.parent
    return [("InitialModelApproved", {"model": model, "provenance": provenance, "roster": roster})]


def _pause(state: State, now: Moment) -> list[Emitted]:
    require(not state.paused, "EnforcedPause")
    state.paused = True
    return [("Paused", {"account": state.place[1]})]


def _unpause(state: State, now: Moment) -> list[Emitted]:
    require(state.successor == NO_ONE, "StudyOver", state.successor)
    require(state.paused, "ExpectedPause")
    state.paused = False
    return [("Unpaused", {"account": state.place[1]})]


def _restart(state: State, now: Moment, number: int) -> list[Emitted]:
    require_no_live_round(state)
    require(state.successor == NO_ONE, "StudyOver", state.successor)
    require(number == 0 or state.phase(number) is Phase.FINALIZED, "NotFinalized", number)
    state.head = number
    return [("ModelRestored", {"round": number, "model": state.global_model})]


def _allow(state: State, now: Moment, config: bytes, allowed: bool) -> list[Emitted]:
    (state.allowed.add if allowed else state.allowed.discard)(config)
    return [("AllowanceChanged", {"hash": config, "allowed": allowed})]


def _move(state: State, now: Moment, successor: str) -> list[Emitted]:
    require_no_live_round(state)
    require(state.successor == NO_ONE, "StudyOver", state.successor)
    require(successor != NO_ONE, "InvalidWallet", successor)
    state.successor = successor
    fields = {
        "successor": successor,
        "last_round": len(state.rounds),
        "model": state.global_model,
        "checkpoint": now.parent,
    }
    return [("StudyMoved", fields), *([] if state.paused else _pause(state, now))]


def _grant(state: State, now: Moment, role: bytes, account: str) -> list[Emitted]:
    require(role != ADMINISTRATOR or account == state.place[1], "AdministratorFixed")
    require(account not in state.wallets, "InvalidWallet", account)
    if (role, account) in state.roles:
        return []
    state.roles.add((role, account))
    return [("RoleGranted", {"role": role, "account": account, "sender": state.place[1]})]


def _dismiss(state: State, now: Moment, role: bytes, account: str) -> list[Emitted]:
    require(role != ADMINISTRATOR, "AdministratorFixed")
    if (role, account) not in state.roles:
        return []
    state.roles.discard((role, account))
    return [("RoleRevoked", {"role": role, "account": account, "sender": state.place[1]})]


def _of_registry(action: Callable[..., list[Emitted]]) -> Callable[..., list[Emitted]]:
    def perform(state: State, now: Moment, *arguments: Any) -> list[Emitted]:
        return action(state, *arguments)

    return perform


DECISIONS: dict[str, Callable[..., list[Emitted]]] = {
    "approveInitialModel": _approve,
    "registerInstitution": _of_registry(registry.register),
    "suspendInstitution": _of_registry(registry.suspend),
    "reinstateInstitution": _of_registry(registry.reinstate),
    "revokeInstitution": _of_registry(registry.revoke),
    "rotateKey": _of_registry(registry.rotate_key),
    "pause": _pause,
    "unpause": _unpause,
    "restartFrom": _restart,
    "setAllowed": _allow,
    "moveStudy": _move,
    "grantRole": _grant,
    "revokeRole": _dismiss,
}
"""What only a decision can do, by the contract's name."""
