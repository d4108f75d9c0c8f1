"""The contract's storage layout: what it knows, read word by word from wherever the words come.

The layout follows from the order of the variables in FedChestLedger.sol and its bases; tests/ledger/test_storage.py
holds it to the contract's own views.
"""

from collections.abc import Callable

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from fedchest.ledger.records import Institution, Phase, RoundState, Status

Words = Callable[[int], int]
"""The word in a slot; both are uint256, and a slot that was never written holds 0."""

_INSTITUTIONS, _RULES, _ROUNDS, _ACCEPTED, _COMMITMENTS = 3, 14, 17, 18, 20
_WORD = 32
_ADDRESS_BITS, _ID_BITS = 160, 16
_ROUND_BITS = (8, 16, 16, 16, 16, 64, 64, 32, 8)
_FINGERPRINT = 24
_IDS_PER_WORD = 256 // _ID_BITS


class LedgerStorage:
    """A ledger's storage. Every method raises ValueError for words that the contract can't have written."""

    def __init__(self, words: Words) -> None:
        self._word = words

    def study(self) -> bytes:
        """Hash of the study's document, 32 bytes."""
        return self._hash(_RULES)

    def round(self, number: int) -> RoundState:
        """The round of that number; phase NONE if it never opened."""
        slot = _entry(_ROUNDS, number)
        phase, members, quorum, agreeing, disagreeing, *times = _unpacked(self._word(slot), *_ROUND_BITS)
        deadline, opened_block, parent, halted = times
        fingerprint, unanswered = _unpacked(self._word(slot + 6), 8 * _FINGERPRINT, _ID_BITS)
        return RoundState(
            number,
            Phase(phase),
            members,
            quorum,
            agreeing,
            disagreeing,
            deadline,
            opened_block,
            parent,
            bool(halted),
            base_model=self._hash(slot + 1),
            config=self._hash(slot + 2),
            new_model=self._hash(slot + 3),
            record=self._hash(slot + 4),
            sum_hash=self._hash(slot + 5),
            fingerprint=fingerprint.to_bytes(_FINGERPRINT),
            unanswered=unanswered,
            gathered=self._word(slot + 7).to_bytes(_FINGERPRINT),
            proposal=self._hash(slot + 8),
            artifacts=self._hash(slot + 9),
        )

    def institution(self, id: int) -> Institution:
        """The institution of that number; one that was never registered has weight class 0."""
        slot = _entry(_INSTITUTIONS, id)
        wallet, weight_class, budget, strikes = _unpacked(self._word(slot), _ADDRESS_BITS, 16, 64, 16)
        status, spent, credits = _unpacked(self._word(slot + 1), 8, 64, 64)
        return Institution(
            id, _address(wallet), weight_class, budget, strikes, Status(status), spent, credits
        )

    def accepted(self, number: int) -> tuple[int, ...]:
        """Ids of the institutions whose updates the round's proposal rests on."""
        slot = _entry(_ACCEPTED, number)
        length = self._word(slot)
        if length > 1 << _ID_BITS:
            raise ValueError(f"{length} accepted updates")
        first = int.from_bytes(keccak(_bytes(slot)))
        words = range(first, first + -(-length // _IDS_PER_WORD))
        ids = [id for word in words for id in _unpacked(self._word(word), *[_ID_BITS] * _IDS_PER_WORD)]
        return tuple(ids[:length])

    def commitment(self, number: int, id: int) -> bytes:
        """What the institution committed to in the round, 32 bytes; zeros for nothing."""
        return self._hash(_entry(_entry(_COMMITMENTS, number), id))

    def _hash(self, slot: int) -> bytes:
        return _bytes(self._word(slot))


def _entry(mapping: int, key: int) -> int:
    """The slot of a mapping's value."""
    return int.from_bytes(keccak(_bytes(key) + _bytes(mapping)))


def _unpacked(word: int, *bits: int) -> list[int]:
    """The fields that share a word, the first in its lowest bits."""
    fields = []
    for width in bits:
        fields.append(word & (1 << width) - 1)
        word >>= width
    return fields


def _address(number: int) -> str:
    return to_checksum_address(number.to_bytes(_ADDRESS_BITS // 8))


def _bytes(number: int) -> bytes:
    return number.to_bytes(_WORD)
