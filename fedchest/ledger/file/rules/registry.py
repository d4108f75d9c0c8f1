"""Who takes part: registration, keys, suspension and revocation."""

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fedchest.ledger.file.rules.state import (
    COORDINATOR,
    NO_HASH,
    NO_ONE,
    Emitted,
    InstitutionState,
    State,
    active_id,
    require,
    require_coordinator,
    require_status,
)
from fedchest.ledger.records import Status

_MOST_WEIGHT = 2**29


def register_founder(state: State, sender: str, wallet: str, weight_class: int, budget: int) -> list[Emitted]:
    """By the coordinator, until all founders are listed."""
    require_coordinator(state, sender)
    unlisted = len(state.institutions) < state.rules.founders
    require(state.initial_model == NO_HASH and unlisted, "AlreadyFounded")
    return register(state, wallet, weight_class, budget)


def register(state: State, wallet: str, weight_class: int, budget: int) -> list[Emitted]:
    """List an institution."""
    _require_free(state, wallet)
    most = state.rules.epsilon_budget
    require(weight_class > 0, "InvalidWeightClass")
    require(budget <= most, "BudgetTooLarge", budget, most)
    total = total_weight(state) + weight_class
    require(total <= _MOST_WEIGHT, "TooHeavy", total, _MOST_WEIGHT)
    id = len(state.institutions)
    state.institutions.append(InstitutionState(wallet, weight_class, budget))
    state.active.append(id)
    state.wallets[wallet] = id
    entry = (state.roster, wallet, weight_class, budget)
    state.roster = keccak(encode(["bytes32", "address", "uint16", "uint64"], entry))
    fields = {"institution": id, "wallet": wallet, "weight_class": weight_class, "epsilon_budget": budget}
    return [("InstitutionRegistered", fields)]


def rotate_own_key(state: State, sender: str, wallet: str) -> list[Emitted]:
    """By the institution itself."""
    return _rotate(state, active_id(state, sender), wallet)


def rotate_key(state: State, id: int, wallet: str) -> list[Emitted]:
    """By decision, for one that lost its key."""
    require(id < len(state.institutions), "NotActive", id, Status.NONE)
    return _rotate(state, id, wallet)


def suspend(state: State, id: int) -> list[Emitted]:
    """Take an active institution out for a while."""
    require_status(state, id, Status.ACTIVE)
    _deactivate(state, id, Status.SUSPENDED)
    return [("InstitutionSuspended", {"institution": id})]


def reinstate(state: State, id: int) -> list[Emitted]:
    """Take a suspended institution in again."""
    require_status(state, id, Status.SUSPENDED)
    state.institutions[id].status = Status.ACTIVE
    state.active.append(id)
    return [("InstitutionReinstated", {"institution": id})]


def revoke(state: State, id: int) -> list[Emitted]:
    """Take an institution out for good."""
    if state.status(id) is Status.ACTIVE:
        _deactivate(state, id, Status.REVOKED)
    else:
        require_status(state, id, Status.SUSPENDED)
        state.institutions[id].status = Status.REVOKED
    return [("InstitutionRevoked", {"institution": id})]


def total_weight(state: State) -> int:
    """Of all that were ever registered."""
    return sum(one.weight_class for one in state.institutions)


def _rotate(state: State, id: int, wallet: str) -> list[Emitted]:
    _require_free(state, wallet)
    old, state.institutions[id].wallet = state.institutions[id].wallet, wallet
    state.last_round_of[old] = len(state.rounds)
    state.wallets[wallet] = id
    return [("KeyRotated", {"institution": id, "old_wallet": old, "new_wallet": wallet})]


def _deactivate(state: State, id: int, status: Status) -> None:
    require(len(state.active) > 1, "LastInstitution", id)
    # As the contract's array: the last takes the place, and later draws depend on the order.
    place = state.active.index(id)
    state.active[place] = state.active[-1]
    state.active.pop()
    state.institutions[id].status = status


def _require_free(state: State, wallet: str) -> None:
    require(wallet != NO_ONE and (COORDINATOR, wallet) not in state.roles, "InvalidWallet", wallet)
    require(wallet not in state.wallets, "WalletTaken", wallet, state.wallets.get(wallet))
