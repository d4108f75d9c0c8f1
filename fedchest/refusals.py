"""Why an update was not aggregated: the codes that the server records on chain and the audit derives again."""

from enum import IntEnum


class Reason(IntEnum):
    """A refusal's code on chain; the contract stores the number, everything else the name.

    Codes are append-only: a number never changes its meaning.
    """

    NO_REPLY = 1  # the institution did not answer before the deadline, or its process failed
    MALFORMED = 2  # the reply or the opened update is not of the agreed form
    NOT_COMMITTED = 3  # the institution has no commitment on chain for this round
    HASH_MISMATCH = 4  # the sealed bytes do not hash to what the institution committed
    MANIFEST_MISMATCH = 5  # the manifest does not hash to, or contradicts, what was committed
    WEIGHT_MISMATCH = 6  # another weight than the registered weight class is claimed
    SEAL_INVALID = 7  # the seal does not open under this chain, contract, round, institution and model
    PLAINTEXT_MISMATCH = 8  # the opened update and salt do not hash to what was committed
    NOT_FINITE = 9  # the update holds NaN or infinity
    NORM_EXCEEDED = 10  # the integer norm is above the round's bound
    OVER_BUDGET = 11  # the epsilon claimed is above the institution's budget
    BUDGET_EXHAUSTED = 12  # the institution reports that its cohort's budget does not cover the round
    BUDGET_STATE = 13  # the institution reports a missing or outdated epsilon ledger
    WRONG_MODEL = 14  # the institution reports that the model it received is not the one on chain
    DUPLICATE = 15  # a second reply of the same institution in the round
    SITE_FAULT = 16  # the institution reports an internal fault; details stay in its own log
    ROUND_CLOSED = (
        17  # the institution reports that the round is not open to it: over, past its deadline, not a member
    )


class Refused(Exception):
    """An update is refused for `reason`; carries no text, so that nothing private can travel in it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason
