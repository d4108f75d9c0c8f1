"""Fingerprints: a sum checked by those who may not see what was added; the argument is in docs/protocol.md.

A vector v of integers is read as a polynomial and evaluated at three points r modulo p = 2^61 - 1:

F_r(v) = sum_j v_j r^j mod p,  so that  F_r(sum_i w_i v_i) = sum_i w_i F_r(v_i) mod p

The points follow from the commitments and from the hash of the claimed sum (Fiat and Shamir 1986), so whoever
chooses a wrong sum of d values has not seen them yet and passes with probability ((d - 1) / (p - 1))^3 (Schwartz
1980, Zippel 1979). A fingerprint is the three values in 8 bytes each, big-endian, 24 bytes in all;
contracts/src/Fingerprint.sol adds them in the same form.
"""

from dataclasses import dataclass
from struct import Struct

import numpy as np
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from numpy.typing import NDArray

MODULUS = (1 << 61) - 1
POINTS = 3
NOTHING = bytes(24)
"""The fingerprint of an empty sum."""

_DOMAIN = keccak(b"fedchest/fingerprint/v1")
_PACKED = Struct(">3Q")
_ABI_TYPES = (
    "bytes32",  # domain
    "uint256",  # chain id
    "address",  # contract
    "bytes32",  # study
    "uint256",  # round
    "bytes32[]",  # commitments
    "uint16[]",  # weight classes
    "bytes32",  # hash of the sum
    "uint8",  # which point
)
# A limb of 20 bits times half a power of 31 bits, 2^11 times: below 2^62, so int64 holds the sums exactly.
_BLOCK, _LIMB_BITS, _HALF_BITS = 1 << 11, 20, 31


@dataclass(frozen=True)
class SumClaim:
    """What fixes the points at which a round's sum is checked: all of it is on chain before they can be known.

    `commitments` (32 bytes each) and `weight_classes` are those of the accepted institutions in the order of their
    numbers, `sum_hash` is the SHA-256 of the proposed sum's bytes, `contract` is a checksummed address.
    """

    chain_id: int
    contract: str
    study: bytes
    round: int
    commitments: tuple[bytes, ...]
    weight_classes: tuple[int, ...]
    sum_hash: bytes

    def points(self) -> tuple[int, ...]:
        """The three points, 1 to p - 1; modulo bias is below 2^-190."""
        digests = (self.digest(_DOMAIN, k) for k in range(POINTS))
        return tuple(int.from_bytes(digest) % (MODULUS - 1) + 1 for digest in digests)

    def digest(self, domain: bytes, number: int) -> bytes:
        """What nobody could choose (32 bytes): a hash of all that the claim fixes, one for each domain and number."""
        facts = (self.chain_id, self.contract, self.study, self.round)
        lists = (self.commitments, self.weight_classes, self.sum_hash)
        return keccak(encode(_ABI_TYPES, (domain, *facts, *lists, number)))


def fingerprint(values: NDArray[np.int32] | NDArray[np.int64], points: tuple[int, ...]) -> bytes:
    """The fingerprint (24 bytes) of `values`, int32[d] or int64[d] of magnitude below 2^62, at `points`; exact."""
    padded = np.zeros((-(-values.size // _BLOCK), _BLOCK), np.int64)
    padded.ravel()[: values.size] = values
    limbs = _limbs(padded)
    return _PACKED.pack(*(_evaluated(limbs, point) for point in points))


def combined(total: bytes, share: bytes, weight: int) -> bytes:
    """`total` plus `weight` times `share`, fingerprints of 24 bytes; the contract's own addition."""
    added = zip(_PACKED.unpack(total), _PACKED.unpack(share), strict=True)
    return _PACKED.pack(*((one + weight * other) % MODULUS for one, other in added))


def is_canonical(content: bytes) -> bool:
    """Whether 24 bytes are a fingerprint in the one form that the contract takes: every number below the modulus."""
    return all(number < MODULUS for number in _PACKED.unpack(content))


def _limbs(blocks: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Signed limbs of 20 bits, the lowest first, that add up to `blocks`."""
    signs, rest = np.sign(blocks), np.abs(blocks)
    limbs: list[NDArray[np.int64]] = []
    while not limbs or rest.any():
        limbs.append((rest & ((1 << _LIMB_BITS) - 1)) * signs)
        rest >>= _LIMB_BITS
    return limbs


def _evaluated(limbs: list[NDArray[np.int64]], point: int) -> int:
    """Each block's polynomial by its powers in two halves, then the blocks by Horner's rule."""
    powers = [pow(point, exponent, MODULUS) for exponent in range(_BLOCK)]
    low = np.array([power & ((1 << _HALF_BITS) - 1) for power in powers], np.int64)
    high = np.array([power >> _HALF_BITS for power in powers], np.int64)
    parts = [
        ((limb @ half).tolist(), place * _LIMB_BITS + shift)
        for place, limb in enumerate(limbs)
        for half, shift in ((low, 0), (high, _HALF_BITS))
    ]
    step, total = pow(point, _BLOCK, MODULUS), 0
    for block in reversed(range(limbs[0].shape[0])):
        total = (total * step + sum(values[block] << shift for values, shift in parts)) % MODULUS
    return total
