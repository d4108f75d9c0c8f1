"""A study of any length without a chain: events as the ledger's client gives them, to fill an index with."""

import hashlib
from collections.abc import Sequence

from fedchest.ledger.records import REQUIRED_CHECKS, Event, Rules

REGISTERED, MEMBERS = 100, 10
"""Institutions of the study; MEMBERS take part in each round."""

START, BLOCK_SECONDS = 1_790_000_000, 12
"""The first block's time, and the seconds from one to the next."""

RULES = Rules(b"c" * 32, b"a" * 32, 100, 600, 600, 0, 2, False, False, 10**6, 10**9)
_BLOCKS_A_ROUND = 4


class SyntheticLedger:
    """Stands for a chain: a study whose rounds all go well but for one refusal each."""

    chain_id, address = 31337, "0x" + "5" * 40

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self.height = _BLOCKS_A_ROUND * (rounds + 1) - 1

    def head(self) -> tuple[int, bytes]:
        return self.height, self.block_hashes([self.height])[0]

    def block_hashes(self, numbers: Sequence[int]) -> list[bytes]:
        return [hashlib.sha256(str(number).encode()).digest() for number in numbers]

    def events(self, from_block: int, to_block: int) -> list[Event]:
        """Every event from block `from_block` to block `to_block`."""
        rounds = range(from_block // _BLOCKS_A_ROUND, min(to_block // _BLOCKS_A_ROUND, self._rounds) + 1)
        found = [
            event for number in rounds for event in (self._round(number) if number else self._founding())
        ]
        return [event for event in found if from_block <= event.block <= to_block]

    def _founding(self) -> list[Event]:
        study = {
            "coordinator": "0x" + "c" * 40,
            "rules": RULES,
        }
        wallets = [f"0x{number + 1:040x}" for number in range(REGISTERED)]
        registered = [
            _event(
                0,
                number + 1,
                "InstitutionRegistered",
                None,
                number,
                wallet=wallet,
                weight_class=1,
                epsilon_budget=10**9,
            )
            for number, wallet in enumerate(wallets)
        ]
        approved = {"model": digest(0, 0, "model"), "provenance": b"v" * 32, "roster": b"r" * 32}
        return [
            _event(0, 0, "StudyCreated", None, None, **study),
            *registered,
            _event(0, REGISTERED + 1, "InitialModelApproved", None, None, **approved),
        ]

    def _round(self, number: int) -> list[Event]:
        members = [(number + 7 * place) % REGISTERED for place in range(MEMBERS)]
        refused, accepted = members[0], sorted(members[1:])
        block, model = _BLOCKS_A_ROUND * number, digest(number, 0, "model")
        opened = {
            "base_model": digest(number - 1, 0, "model"),
            "parent": number - 1,
            "config": b"c" * 32,
            "members": tuple(members),
            "quorum": 7,
            "deadline": 0,
        }
        proposed = {
            "new_model": model,
            "record": digest(number, 0, "record"),
            "sum_hash": digest(number, 0, "sum"),
            "fingerprint": bytes(24),
            "artifacts": digest(number, 0, "artifacts"),
            "accepted": tuple(accepted),
            "scores": (),
            "deadline": 0,
        }
        attested = {
            "recomputed_model": model,
            "fingerprint": bytes(24),
            "share": bytes(24),
            "checks": REQUIRED_CHECKS,
            "agrees": True,
        }
        last = block + 3
        return [
            _event(block, 0, "RoundOpened", number, None, **opened),
            *(_submission(block + 1, place, number, member) for place, member in enumerate(members)),
            _event(block + 2, 0, "UpdateRefused", number, refused, reason=10),
            _event(block + 2, 1, "AggregateProposed", number, None, **proposed),
            *(
                _event(last, place, "Attested", number, member, **attested)
                for place, member in enumerate(members)
            ),
            _event(last, MEMBERS, "RoundFinalized", number, None, new_model=model),
            *(
                _event(last, MEMBERS + 1 + place, "Credited", number, member, amount=111_111)
                for place, member in enumerate(accepted)
            ),
        ]


def _submission(block: int, place: int, number: int, member: int) -> Event:
    names = ("commitment", "sealed_hash", "plaintext_hash", "manifest_hash")
    hashes = {name: digest(number, member, name) for name in names}
    return _event(block, place, "UpdateSubmitted", number, member, **hashes, weight_class=1, epsilon=number)


def _event(
    block: int, place: int, kind: str, round: int | None, institution: int | None, **values: object
) -> Event:
    transaction = "0x" + digest(block, place, "transaction").hex()
    timestamp = START + BLOCK_SECONDS * block
    sender = "0x" + "a" * 40
    return Event(block, place, timestamp, transaction, sender, 65_000, kind, round, institution, values)


def digest(number: int, institution: int, what: str) -> bytes:
    """The hash that stands for `what` of an institution in a round."""
    return hashlib.sha256(f"{number} {institution} {what}".encode()).digest()
