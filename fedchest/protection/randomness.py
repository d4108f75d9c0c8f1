"""Cryptographic random numbers for noise, Poisson draws, augmentation and salts.

One generator, two origins: the system's entropy in a deployment, an owner-only secret in a simulation.
"""

import os
from typing import Self

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

_KEY_BYTES = 32
_COUNTER_BYTES, _NONCE_BYTES = 4, 12  # of a ChaCha20 block
_WORD_BYTES, _HALF_WORD_BYTES = 8, 4
_CHUNK = 1 << 15  # values made at a time, so that the work stays in the processor's cache
_UNIFORM_BITS = 52
_BITS_OF_ONE = np.float64(1.0).view(np.uint64)


class Randomness:
    """ChaCha20 (RFC 8439) under a 32-byte key, one nonce a draw, and independent generators derived by label.

    What is drawn depends on the key and on the number of draws before. Bytes, uniforms, draws and integers are
    the same on every machine; `normal` may differ in a last place between builds of NumPy.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._stream_key = _derive(key, "stream")
        self._draws = 0

    @classmethod
    def system(cls) -> Self:
        """Keyed by the system's generator: the only origin that a deployment's guarantee may rest on."""
        return cls(os.urandom(_KEY_BYTES))

    @classmethod
    def derived(cls, secret: bytes, label: str) -> Self:
        """Keyed by HKDF-SHA256 of `secret` and `label`: repeatable by who knows the secret, only by them."""
        return cls(_derive(secret, f"derived/{label}"))

    def child(self, label: str) -> "Randomness":
        """An independent generator, by key and label, whatever was drawn from this one."""
        return Randomness(_derive(self._key, f"child/{label}"))

    def bytes(self, n: int) -> bytes:
        """`n` random bytes, at most the 256 GiB of one nonce."""
        self._draws += 1
        nonce = bytes(_COUNTER_BYTES) + self._draws.to_bytes(_NONCE_BYTES, "little")
        return Cipher(ChaCha20(self._stream_key, nonce), mode=None).encryptor().update(bytes(n))

    def uniform(self, n: int) -> NDArray[np.float64]:
        """float64[n], uniform on the odd multiples of 2^-53 in (0, 1): neither end is ever reached."""
        # Below the exponent of 1.0, random bits make a float in [1, 2): cheaper than converting integers.
        words = self._words(n) >> np.uint64(64 - _UNIFORM_BITS)
        words |= _BITS_OF_ONE
        values = words.view(np.float64)
        values -= 1.0
        values += 2.0 ** -(_UNIFORM_BITS + 1)
        return values

    def bernoulli(self, n: int, p: float) -> NDArray[np.bool_]:
        """bool[n], each true with probability `p`, to within 2^-52."""
        return self.uniform(n) < p

    def integers(self, n: int, high: int) -> NDArray[np.int64]:
        """int64[n], uniform on 0 .. high-1 without bias, 1 <= high < 2^63: what would bias is drawn again."""
        usable = (1 << 64) // high * high
        accepted: list[NDArray[np.uint64]] = []
        missing = n
        while missing:
            words = self._words(missing)
            fresh = words if usable == 1 << 64 else words[words < np.uint64(usable)]
            accepted.append(fresh % np.uint64(high))
            missing -= len(fresh)
        return np.concatenate(accepted).astype(np.int64) if accepted else np.empty(0, np.int64)

    def normal(self, n: int, deviation: float = 1.0) -> NDArray[np.float32]:
        """float32[n], normal about 0 (Box and Muller 1958); the radius' logarithm in float64, for its tail's sake.

        Values beyond 8.58 deviations never occur; a true normal has them with probability 1e-17. Being rounded floats,
        they only approximate a continuous Gaussian: Mironov's attack of 2012 on the low bits is not excluded.
        """
        noise = np.empty(n, np.float32)
        for start in range(0, n, 2 * _CHUNK):
            part = noise[start : start + 2 * _CHUNK]
            pairs = (len(part) + 1) // 2
            radius = np.log(self.uniform(pairs)).astype(np.float32)
            radius *= np.float32(-2.0)
            np.sqrt(radius, out=radius)
            radius *= np.float32(deviation)
            angle = self._angles(pairs)
            np.cos(angle, out=part[:pairs])
            part[:pairs] *= radius
            other = len(part) - pairs
            np.sin(angle[:other], out=part[pairs:])
            part[pairs:] *= radius[:other]
        return noise

    def _angles(self, n: int) -> NDArray[np.float32]:
        """float32[n], uniform on [0, 2 pi]: NumPy's sine and cosine are many times as fast as in float64."""
        angles = np.frombuffer(self.bytes(n * _HALF_WORD_BYTES), "<u4").astype(np.float32)
        angles *= np.float32(2.0 * np.pi / (1 << 32))
        return angles

    def _words(self, n: int) -> NDArray[np.uint64]:
        return np.frombuffer(self.bytes(n * _WORD_BYTES), "<u8")


def _derive(secret: bytes, label: str) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"fedchest/randomness/v1/" + label.encode()).derive(
        secret
    )
