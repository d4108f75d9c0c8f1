"""What the institutions can decide: the calls that a decision may be about, and the event that each causes."""

from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_abi_to_4byte_selector, get_abi_input_types
from eth_utils.address import to_checksum_address

from fedchest.audit.replay import Foretold
from fedchest.ledger.artifact import artifact

_SELECTOR = 4
_CAUSED = {
    "approveInitialModel": ("InitialModelApproved", ("model", "provenance", "roster")),
    "registerInstitution": ("InstitutionRegistered", ("wallet", "weight_class", "epsilon_budget")),
    "suspendInstitution": ("InstitutionSuspended", ("institution",)),
    "reinstateInstitution": ("InstitutionReinstated", ("institution",)),
    "revokeInstitution": ("InstitutionRevoked", ("institution",)),
    "rotateKey": ("KeyRotated", ("institution", "new_wallet")),
    "pause": ("Paused", ()),
    "unpause": ("Unpaused", ()),
    "restartFrom": ("ModelRestored", ("round",)),
    "setAllowed": ("AllowanceChanged", ("hash", "allowed")),
    "moveStudy": ("StudyMoved", ("successor",)),
    "grantRole": ("RoleGranted", ("role", "account")),
    "revokeRole": ("RoleRevoked", ("role", "account")),
}
"""By function: the event, and the fields that are the function's arguments in turn."""


def caused_by(action: bytes) -> Foretold | None:
    """The event that a decided call causes; None for a call that no decision is about, or that is none."""
    entry = _functions().get(action[:_SELECTOR])
    if entry is None:
        return None
    kinds = get_abi_input_types(entry)
    try:
        values = decode(kinds, action[_SELECTOR:])
    except DecodingError:
        return None
    event, fields = _CAUSED[entry["name"]]
    return Foretold(event, dict(zip(fields, map(_value, kinds, values), strict=True)))


@cache
def _functions() -> dict[bytes, Any]:
    """The functions that are by decision, by selector."""
    functions: list[Any] = [entry for entry in artifact().abi if entry["type"] == "function"]
    return {function_abi_to_4byte_selector(entry): entry for entry in functions if entry["name"] in _CAUSED}


def _value(kind: str, value: Any) -> Any:
    return to_checksum_address(value) if kind == "address" else value
