"""What a partial attestation says: each of its four checks holds for an honest proposal and fails in turn."""

from dataclasses import dataclass, field, replace
from hashlib import sha256

import pytest

from fedchest.federation.attestation import attestation_checks
from fedchest.ledger.records import (
    REQUIRED_CHECKS,
    Check,
    Institution,
    Phase,
    RoundState,
    Submission,
)

ME, OTHER = "0x" + "1" * 40, "0x" + "2" * 40
MINE, THEIRS = sha256(b"my sealed update").digest(), sha256(b"their sealed update").digest()
INITIAL, FIRST, SECOND = (sha256(bytes([n])).digest() for n in range(3))


def settled(number: int, phase: Phase, base: bytes, new: bytes) -> RoundState:
    return RoundState(number, phase, 2, 2, 0, 0, 0, 0, base, b"", new, b"")


def submitted(sealed: bytes, weight_class: int) -> Submission:
    return Submission(b"", sealed, b"", b"", weight_class, 0)


@dataclass(frozen=True)
class Chain:
    """What a ledger client tells about two institutions and three rounds, of which the second came to nothing."""

    rounds: dict[int, RoundState] = field(
        default_factory=lambda: {
            1: settled(1, Phase.FINALIZED, INITIAL, FIRST),
            2: settled(2, Phase.VOID, FIRST, SECOND),
            3: settled(3, Phase.PROPOSED, FIRST, SECOND),
        }
    )
    sent: dict[int, Submission] = field(
        default_factory=lambda: {0: submitted(MINE, 3), 1: submitted(THEIRS, 5)}
    )
    taken: tuple[int, ...] = (0, 1)

    def round(self, number: int) -> RoundState:
        return self.rounds[number]

    def institution_id(self, wallet: str) -> int:
        return (ME, OTHER).index(wallet)

    def institution(self, number: int) -> Institution:
        return self.institutions()[number]

    def institutions(self) -> list[Institution]:
        return [Institution(0, ME, 3, 0, 0, 0), Institution(1, OTHER, 5, 0, 0, 0)]

    def submission(self, number: int, institution: int) -> Submission | None:
        return self.sent.get(institution)

    def submissions(self, number: int) -> dict[int, Submission]:
        return self.sent

    def accepted(self, number: int) -> tuple[int, ...]:
        return self.taken


def checks(chain: Chain, *, number: int = 3, recomputed: bytes = SECOND, own: bytes | None = MINE) -> int:
    return attestation_checks(chain, number, recomputed, ME, own)


def test_an_honest_proposal_passes_all_four():
    assert checks(Chain()) == REQUIRED_CHECKS


@pytest.mark.parametrize("own", [None, MINE], ids=["not made", "made too late to be committed"])
def test_own_update_rightly_absent(own):
    chain = Chain(sent={1: submitted(THEIRS, 5)}, taken=(1,))
    assert checks(chain, own=own) == REQUIRED_CHECKS


def test_the_first_round_continues_the_initial_model():
    chain = Chain(rounds={1: settled(1, Phase.PROPOSED, INITIAL, FIRST)})
    assert checks(chain, number=1, recomputed=FIRST) == REQUIRED_CHECKS


@pytest.mark.parametrize(
    ("chain", "own"),
    [
        pytest.param(Chain(taken=(1,)), MINE, id="left out"),
        pytest.param(
            Chain(sent={0: submitted(THEIRS, 3), 1: submitted(THEIRS, 5)}), MINE, id="another's bytes"
        ),
        pytest.param(Chain(), None, id="accepted, but never made"),
        pytest.param(Chain(taken=(1,)), None, id="committed, but never made"),
    ],
)
def test_own_update(chain, own):
    assert checks(chain, own=own) == REQUIRED_CHECKS - Check.OWN_UPDATE


@pytest.mark.parametrize("base", [INITIAL, SECOND], ids=["an older model", "a void round's model"])
def test_base_model(base):
    honest = Chain()
    lying = replace(honest, rounds={**honest.rounds, 3: settled(3, Phase.PROPOSED, base, SECOND)})
    assert checks(lying) == REQUIRED_CHECKS - Check.BASE_MODEL


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param(Chain(sent={0: submitted(MINE, 3), 1: submitted(THEIRS, 9)}), id="another weight"),
        pytest.param(Chain(sent={0: submitted(MINE, 3)}), id="accepted without a submission"),
    ],
)
def test_weight_classes(chain):
    assert checks(chain) == REQUIRED_CHECKS - Check.WEIGHT_CLASSES


def test_new_model():
    assert checks(Chain(), recomputed=FIRST) == REQUIRED_CHECKS - Check.NEW_MODEL
