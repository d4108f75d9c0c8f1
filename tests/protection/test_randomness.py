"""The generator's distributions and independence.

Every statistical test runs on a fixed secret, so that it passes or fails for good; each names the share of
secrets on which a correct generator would fail.
"""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from scipy import stats

from fedchest.protection.randomness import Randomness

ALARM = 1e-6
N = 200_000


def fixed(label: str = "test") -> Randomness:
    return Randomness.derived(b"a recorded secret", label)


def test_draws_are_chacha20_under_a_derived_key_and_their_number() -> None:
    def derive(secret: bytes, label: bytes) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=b"fedchest/randomness/v1/" + label).derive(secret)

    key = derive(derive(b"a recorded secret", b"derived/test"), b"stream")
    generator = fixed()
    for draw in (1, 2, 3):
        nonce = bytes(4) + draw.to_bytes(12, "little")
        assert generator.bytes(100) == Cipher(ChaCha20(key, nonce), None).encryptor().update(bytes(100))


def test_same_secret_and_label_give_the_same_stream_and_others_do_not() -> None:
    streams = {
        fixed().bytes(32),
        fixed("other").bytes(32),
        Randomness.derived(b"another secret", "test").bytes(32),
        fixed().child("a").bytes(32),
        fixed().child("b").bytes(32),
        fixed("test/child/a").bytes(32),
        fixed().child("a").child("a").bytes(32),
    }
    assert len(streams) == 7
    assert fixed().child("a").bytes(32) in streams


def test_child_does_not_depend_on_what_was_drawn() -> None:
    drawn = fixed()
    drawn.normal(1000)
    assert drawn.child("a").bytes(32) == fixed().child("a").bytes(32)


def test_two_system_generators_differ() -> None:
    assert Randomness.system().bytes(32) != Randomness.system().bytes(32)


def test_normal_is_normal() -> None:
    """Kolmogorov-Smirnov; 1e-6 of secrets fail."""
    noise = fixed().normal(N)
    np.testing.assert_allclose(fixed().normal(N, 0.01), 0.01 * noise, rtol=1e-6)
    assert noise.dtype == np.float32
    assert stats.kstest(noise.astype(np.float64), "norm").pvalue > ALARM


def test_normal_has_the_tails() -> None:
    """Exact binomial test of the count beyond 3.5 deviations; 1e-6 of secrets fail."""
    beyond = int((np.abs(fixed().normal(5 * N)) > 3.5).sum())
    assert stats.binomtest(beyond, 5 * N, 2 * stats.norm.sf(3.5)).pvalue > ALARM


@pytest.mark.parametrize("order", [1, 2])
def test_the_two_halves_of_a_pair_are_uncorrelated(order: int) -> None:
    """Nor are their squares, though cosine and sine share a radius; 1e-6 of secrets fail."""
    noise = fixed().normal(1 << 16).astype(np.float64) ** order
    assert stats.pearsonr(noise[: 1 << 15], noise[1 << 15 :]).pvalue > ALARM


def test_variance_is_one_for_every_length() -> None:
    """Sums of squares at odd lengths and around the chunks' borders; 1e-5 of secrets fail."""
    generator = fixed()
    for n in (1, 2, 3, 1001, 65535, 65536, 65537, 131073):
        noise = generator.normal(n).astype(np.float64)
        assert noise.shape == (n,)
        tail = stats.chi2.cdf(float(noise @ noise), n)
        assert ALARM / 2 < tail < 1 - ALARM / 2
    assert generator.normal(0).shape == (0,)


def test_uniform_is_uniform_and_open() -> None:
    """Kolmogorov-Smirnov; 1e-6 of secrets fail. The extreme words stay inside (0, 1)."""
    values = fixed().uniform(N)
    assert stats.kstest(values, "uniform").pvalue > ALARM
    ends = _Fixed(np.array([0, 2**64 - 1], "<u8").tobytes()).uniform(2)
    assert 0.0 < ends[0] < 1e-15
    assert 1 - 1e-15 < ends[1] < 1.0


def test_bernoulli_has_its_probability() -> None:
    """Exact binomial tests; 4e-6 of secrets fail."""
    for p in (0.0, 0.01, 0.5, 1.0):
        assert stats.binomtest(int(fixed().bernoulli(N, p).sum()), N, p).pvalue > ALARM


@pytest.mark.parametrize("high", [1, 2, 7, 1000, 2**62 + 1])
def test_integers_are_uniform(high: int) -> None:
    """Chi-square over 100 cells at most; 5e-6 of secrets fail. 2^62 + 1 redraws a quarter."""
    values = fixed().integers(N, high)
    assert values.dtype == np.int64
    assert values.min() >= 0 and values.max() < high
    cells = min(high, 100)
    counts = np.bincount((values.astype(object) * cells // high).astype(int), minlength=cells)
    sizes = (
        np.bincount([value * cells // high for value in range(high)], minlength=cells)
        if high <= 1000
        else None
    )
    expected = N * sizes / high if sizes is not None else np.full(cells, N / cells)
    assert cells == 1 or stats.chisquare(counts, expected).pvalue > ALARM


def test_integers_draws_again_what_would_bias() -> None:
    biased = np.array(
        [2**64 - 1, 5, 2**64 - 2, 6], "<u8"
    ).tobytes()  # 2^64 mod 3 is 1: the top word is unusable
    assert _Fixed(biased).integers(3, 3).tolist() == [2, 2, 0]


class _Fixed(Randomness):
    """Yields given bytes."""

    def __init__(self, content: bytes) -> None:
        super().__init__(bytes(32))
        self._content = content

    def bytes(self, n: int) -> bytes:
        part, self._content = self._content[:n], self._content[n:]
        return part
