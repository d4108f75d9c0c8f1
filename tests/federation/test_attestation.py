"""What an attestation says: each of its six checks holds for an honest proposal and fails in turn."""

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import pytest

from fedchest.federation.attestation import attestation_checks
from fedchest.federation.recomputation import Recomputed
from fedchest.ledger.artifact_tree import artifact_root, round_artifacts
from fedchest.ledger.records import (
    REQUIRED_CHECKS,
    Check,
    Institution,
    Phase,
    RoundState,
    Status,
    Submission,
)

ME, OTHER = "0x" + "1" * 40, "0x" + "2" * 40
MINE, THEIRS = sha256(b"my sealed update").digest(), sha256(b"their sealed update").digest()
PRINT = bytes(range(24))
INITIAL, FIRST, SECOND, SUM, RECORD = (sha256(bytes([n])).digest() for n in range(5))


def settled(number: int, phase: Phase, base: bytes, new: bytes, parent: int) -> RoundState:
    return RoundState(
        number=number,
        phase=phase,
        members=2,
        quorum=2,
        agreeing=0,
        disagreeing=0,
        deadline=0,
        opened_block=0,
        parent=parent,
        halted=False,
        base_model=base,
        config=bytes(32),
        new_model=new,
        record=RECORD,
        sum_hash=SUM,
        fingerprint=PRINT,
        unanswered=0,
        gathered=bytes(24),
        proposal=bytes(32),
        artifacts=bytes(32),
    )


def submitted(sealed: bytes, weight_class: int) -> Submission:
    return Submission(bytes(32), sealed, bytes(32), bytes(32), weight_class, 0)


@dataclass(frozen=True)
class Chain:
    """What a ledger client tells about two institutions and three rounds, of which the second came to nothing."""

    rounds: dict[int, RoundState] = field(
        default_factory=lambda: {
            1: settled(1, Phase.FINALIZED, INITIAL, FIRST, 0),
            2: settled(2, Phase.VOID, FIRST, SECOND, 1),
            3: settled(3, Phase.PROPOSED, FIRST, SECOND, 1),
        }
    )
    sent: dict[int, Submission] = field(
        default_factory=lambda: {0: submitted(MINE, 3), 1: submitted(THEIRS, 5)}
    )
    taken: tuple[int, ...] = (0, 1)
    late: bool = True
    root_over: tuple[int, ...] | None = None

    def round(self, number: int) -> RoundState:
        """With the artifact root over what was accepted, or, for a coordinator that lies, over `root_over`."""
        state = self.rounds[number]
        over = self.taken if self.root_over is None else self.root_over
        sent = {member: self.sent[member] for member in over if member in self.sent}
        artifacts = round_artifacts(sent, state.sum_hash, state.new_model, state.record)
        return replace(state, artifacts=artifact_root(artifacts))

    def was_proposed_late(self, state: RoundState) -> bool:
        return self.late

    def initial_model(self) -> bytes:
        return INITIAL

    def institution_id(self, wallet: str) -> int:
        return (ME, OTHER).index(wallet)

    def institution(self, number: int) -> Institution:
        return self.institutions()[number]

    def institutions(self) -> list[Institution]:
        return [
            Institution(0, ME, 3, 0, 0, Status.ACTIVE, 0, 0),
            Institution(1, OTHER, 5, 0, 0, Status.ACTIVE, 0, 0),
        ]

    def submission(self, number: int, institution: int) -> Submission | None:
        return self.sent.get(institution)

    def submissions(self, number: int) -> dict[int, Submission]:
        return self.sent

    def accepted(self, number: int) -> tuple[int, ...]:
        return self.taken


def checks(chain: Chain, *, number: int = 3, own: bytes | None = MINE, **found: Any) -> int:
    """`found` replaces parts of what an honest proposal gives."""
    state = chain.round(number)
    honest = Recomputed(state.base_model, SUM, PRINT, state.new_model, within_bound=True, model={})
    return attestation_checks(chain, number, replace(honest, **found), ME, own)


def test_an_honest_proposal_passes_every_check():
    assert checks(Chain()) == REQUIRED_CHECKS


def test_an_artifact_root_over_other_updates():
    assert checks(Chain(root_over=(0,))) == REQUIRED_CHECKS - Check.ARTIFACTS


@pytest.mark.parametrize("own", [None, MINE], ids=["not made", "made too late to be committed"])
def test_own_update_rightly_absent(own):
    chain = Chain(sent={1: submitted(THEIRS, 5)}, taken=(1,))
    assert checks(chain, own=own) == REQUIRED_CHECKS


def test_the_first_round_continues_the_initial_model():
    chain = Chain(rounds={1: settled(1, Phase.PROPOSED, INITIAL, FIRST, 0)})
    assert checks(chain, number=1) == REQUIRED_CHECKS


@pytest.mark.parametrize(
    ("chain", "own"),
    [
        pytest.param(Chain(taken=(1,)), MINE, id="left out"),
        pytest.param(
            Chain(sent={1: submitted(THEIRS, 5)}, taken=(1,), late=False),
            MINE,
            id="shut out by a proposal too early",
        ),
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
    lying = replace(honest, rounds={**honest.rounds, 3: settled(3, Phase.PROPOSED, base, SECOND, 1)})
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
    assert checks(Chain(), new_model=FIRST) == REQUIRED_CHECKS - Check.NEW_MODEL


def test_a_base_model_that_is_not_the_rounds():
    assert checks(Chain(), base_model=INITIAL) == REQUIRED_CHECKS - Check.BASE_MODEL


@pytest.mark.parametrize(
    "found", [{"sum_hash": FIRST}, {"fingerprint": bytes(24)}], ids=["bytes", "fingerprint"]
)
def test_sum(found):
    assert checks(Chain(), **found) == REQUIRED_CHECKS - Check.SUM


def test_norm():
    assert checks(Chain(), within_bound=False) == REQUIRED_CHECKS - Check.NORM
