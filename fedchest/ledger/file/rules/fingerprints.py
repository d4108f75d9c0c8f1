"""Fingerprints as the rules add them: three lanes of 8 bytes, each modulo a Mersenne prime."""

from fedchest.ledger.file.rules.state import require

_PRIME = 2**61 - 1


def require_canonical(fingerprint: bytes) -> None:
    """Raises LedgerRefusal (InvalidFingerprint) where a lane is not below the prime."""
    require(all(lane < _PRIME for lane in _lanes(fingerprint)), "InvalidFingerprint", fingerprint)


def added(total: bytes, share: bytes, weight: int) -> bytes:
    """`total` and `weight` times `share`."""
    lanes = zip(_lanes(total), _lanes(share), strict=True)
    return b"".join(((one + weight * other) % _PRIME).to_bytes(8) for one, other in lanes)


def _lanes(fingerprint: bytes) -> list[int]:
    return [int.from_bytes(fingerprint[start : start + 8]) for start in (0, 8, 16)]
