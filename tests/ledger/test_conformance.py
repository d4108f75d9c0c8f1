"""What every ledger does, on a real node and in a file: a whole round, each refusal by name, several at once.

With test_governance.py the conformance suite of `Ledger`: who asks for `study` or `make_study` is run on each kind.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from studies import (
    BUDGET,
    CONFIG,
    HASHES,
    INITIAL_MODEL,
    NEW_MODEL,
    RECORD,
    RULES,
    WEIGHT,
    MakeStudy,
    Study,
    share,
)
from web3 import Web3

from fedchest.errors import ChainError
from fedchest.ledger.contract import LedgerRefusal
from fedchest.ledger.records import REQUIRED_CHECKS, Attestation, Phase, Submission, VoidCause
from fedchest.ledger.wallet import Wallet
from fedchest.protection.commitment import commitment
from fedchest.protection.context import UpdateContext

pytestmark = pytest.mark.e2e

AGREEMENT = Attestation(bytes(32), NEW_MODEL, bytes(24), bytes(24), REQUIRED_CHECKS)
OUTSIDER = Web3.to_checksum_address("0x" + 40 * "9")


AnyStudy = Study[Any]


@pytest.fixture
def study(make_study: MakeStudy) -> AnyStudy:
    return make_study()


def test_a_round_from_opening_to_credits(study: AnyStudy) -> None:
    ledger = study.coordinator
    round = ledger.open_round(CONFIG)
    study.submit(0, round)
    study.submit(1, round)
    study.submit(3, round, epsilon=0)
    study.propose(round, refusals={3: 10, 2: 1})
    assert ledger.round(round).phase is Phase.PROPOSED
    assert ledger.global_model() == INITIAL_MODEL

    for institution in range(3):
        study.attest(institution, round)

    state = ledger.round(round)
    assert (state.phase, state.members, state.quorum, state.agreeing) == (Phase.FINALIZED, 4, 3, 3)
    assert (state.base_model, state.new_model, state.config, state.record) == (
        INITIAL_MODEL,
        NEW_MODEL,
        CONFIG,
        RECORD,
    )
    assert ledger.global_model() == NEW_MODEL
    assert [institution.credits for institution in ledger.institutions()] == [500_000, 500_000, 0, 0]
    assert [institution.epsilon_spent for institution in ledger.institutions()] == [
        1_000_000,
        1_000_000,
        0,
        0,
    ]


def test_events_tell_the_round_in_order(study: AnyStudy) -> None:
    round = study.coordinator.open_round(CONFIG)
    study.submit(0, round)
    receipt = study.submit(1, round)
    study.propose(round, refusals={2: 1})
    for institution in range(3):
        study.attest(institution, round)

    events = study.coordinator.events()

    assert [event.name for event in events] == [
        *2 * ["RoleGranted"],
        "StudyCreated",
        *4 * ["InstitutionRegistered"],
        *3 * ["DecisionSupported"],
        "DecisionTaken",
        "InitialModelApproved",
        "RoundOpened",
        *2 * ["UpdateSubmitted"],
        "UpdateRefused",
        "AggregateProposed",
        *3 * ["Attested"],
        "RoundFinalized",
        *2 * ["Credited"],
    ]
    assert [(event.block, event.index) for event in events] == sorted((e.block, e.index) for e in events)
    opened = next(i for i, event in enumerate(events) if event.name == "RoundOpened")
    assert all(event.round == round for event in events[opened:])
    assert events[2].values["rules"] == study.rules
    assert events[opened].values["members"] == (0, 1, 2, 3)
    submitted = events[opened + 2]
    assert (submitted.transaction, submitted.block, submitted.gas) == (
        receipt.transaction,
        receipt.block,
        receipt.gas,
    )
    assert (submitted.sender, submitted.institution) == (study.wallets[1].address, 1)
    assert events[opened + 3].values == {"reason": 1}
    assert study.coordinator.events(from_block=submitted.block) == events[opened + 2 :]


def test_a_submission_reads_back_and_commits_as_the_library_computes_it(study: AnyStudy) -> None:
    round = study.coordinator.open_round(CONFIG)
    study.submit(2, round)
    context = UpdateContext(study.coordinator.chain_id, study.address, round, 2, INITIAL_MODEL)
    expected = Submission(commitment(context, *HASHES, WEIGHT, 1_000_000), *HASHES, WEIGHT, 1_000_000)
    assert study.coordinator.submission(round, 2) == expected
    assert study.coordinator.submission(round, 1) is None
    assert study.coordinator.submissions(round) == {2: expected}


def test_a_drawn_cohort_alone_takes_part(make_study: MakeStudy) -> None:
    study = make_study(size=6, cohort_size=2)
    round = study.coordinator.open_round(CONFIG)
    members = study.coordinator.members(round)
    assert len(set(members)) == 2
    assert study.coordinator.round(round).quorum == 2
    outside = next(id for id in range(6) if id not in members)
    with pytest.raises(LedgerRefusal, match="NotMember"):
        study.submit(outside, round)
    for member in members:
        study.submit(member, round)
    study.propose(round, accepted=members)
    for member in members:
        study.attest(member, round)
    assert study.coordinator.global_model() == NEW_MODEL


def test_a_quorum_answers_for_a_silent_institution(study: AnyStudy) -> None:
    round = study.proposed_round()
    for institution in (0, 2, 3):
        study.attest(institution, round)
    for voucher in (0, 2):
        study.answer_for(voucher, round, silent=1)
    assert study.coordinator.owes(round, 1)
    study.answer_for(3, round, silent=1)
    assert study.coordinator.round(round).phase is Phase.FINALIZED


def test_answers_that_differ_make_no_quorum(study: AnyStudy) -> None:
    round = study.proposed_round()
    for voucher in (0, 2):
        study.answer_for(voucher, round, silent=1)
    study.answer_for(3, round, silent=1, share=share(3))
    assert study.coordinator.owes(round, 1)
    study.answer_for(1, round, silent=1)  # who was silent may say so itself, but it is one voice
    assert not study.coordinator.owes(round, 1)


def test_answers_that_make_a_wrong_sum_dispute_the_round(study: AnyStudy) -> None:
    round = study.proposed_round()
    study.attest(0, round)
    for voucher in (0, 2, 3):
        study.answer_for(voucher, round, silent=1, share=share(3))
    assert study.coordinator.round(round).phase is Phase.VOID
    assert study.coordinator.events()[-1].values == {"cause": VoidCause.DISPUTED}


def test_credits_by_contribution_score(make_study: MakeStudy) -> None:
    study = make_study(by_contribution=True)
    for scores in ([300, 100], [0, 0]):
        round = study.coordinator.open_round(CONFIG)
        study.submit(0, round)
        study.submit(1, round)
        study.propose(round, scores=scores)
        for institution in range(3):
            study.attest(institution, round)
        assert study.coordinator.scores(round) == tuple(scores)
    credits = [study.coordinator.institution(id).credits for id in (0, 1)]
    assert credits == [750_000 + 500_000, 250_000 + 500_000]


def test_a_void_round_leaves_the_model_and_the_next_starts_from_it(study: AnyStudy) -> None:
    round = study.proposed_round()
    for institution in range(2):
        study.attest(institution, round, new_model=b"x" * 32)
    assert study.coordinator.round(round).phase is Phase.VOID
    assert study.coordinator.events()[-1].values == {"cause": VoidCause.REJECTED}
    second = study.coordinator.open_round(CONFIG)
    assert study.coordinator.round(second).base_model == INITIAL_MODEL


def test_an_attestation_that_lacks_a_check_counts_against(study: AnyStudy) -> None:
    round = study.proposed_round()
    study.attest(0, round, checks=0x07)
    state = study.coordinator.round(round)
    assert (state.agreeing, state.disagreeing) == (0, 1)


def test_no_round_is_finalized_before_every_accepted_institution_has_answered(study: AnyStudy) -> None:
    round = study.proposed_round()
    for institution in (0, 2, 3):
        study.attest(institution, round)
    state = study.coordinator.round(round)
    assert (state.phase, state.agreeing, state.unanswered) == (Phase.PROPOSED, 3, 1)
    study.attest(1, round)
    assert study.coordinator.round(round).phase is Phase.FINALIZED


def test_shares_that_do_not_add_up_dispute_the_round(study: AnyStudy) -> None:
    """Whoever answered falsely: the sum is not shown to be the sum, and whatever the votes, it does not stand."""
    round = study.proposed_round()
    study.attest(2, round)
    study.attest(0, round)
    study.attest(1, round, share=bytes(24))
    assert study.coordinator.round(round).phase is Phase.VOID
    assert study.coordinator.events()[-1].values == {"cause": VoidCause.DISPUTED}


def test_whether_a_proposal_came_before_the_submissions_deadline(study: AnyStudy) -> None:
    early = study.proposed_round()
    assert not study.coordinator.was_proposed_late(study.coordinator.round(early))
    for institution in range(3):
        study.attest(institution, early)
    late = _submitted(study)
    study.advance(RULES.submission_seconds + 1)
    study.propose(late)
    assert study.coordinator.was_proposed_late(study.coordinator.round(late))


def test_another_fingerprint_of_the_sum_is_a_vote_against(study: AnyStudy) -> None:
    round = study.proposed_round()
    study.attest(2, round, fingerprint=bytes(24))
    assert study.coordinator.round(round).disagreeing == 1


def test_a_late_attestation_is_recorded_and_changes_nothing(study: AnyStudy) -> None:
    round = study.finalized_round()
    before = study.coordinator.round(round)
    study.attest(3, round, new_model=b"x" * 32)
    assert study.coordinator.round(round) == before
    assert study.coordinator.has_attested(round, 3)
    assert study.coordinator.events()[-1].values["agrees"] is False


def test_a_passed_deadline_ends_a_round(study: AnyStudy) -> None:
    round = study.coordinator.open_round(CONFIG)
    with pytest.raises(LedgerRefusal, match="DeadlineNotReached"):
        study.institutions[0].expire(round)
    study.advance(RULES.submission_seconds + 1)
    with pytest.raises(LedgerRefusal, match="DeadlinePassed"):
        study.submit(0, round)
    study.institutions[0].expire(round)
    assert study.coordinator.events()[-1].values == {"cause": VoidCause.EXPIRED}

    second = study.proposed_round()
    study.advance(RULES.attestation_seconds + 1)
    with pytest.raises(LedgerRefusal, match="DeadlinePassed"):
        study.attest(0, second)
    study.coordinator.expire(second)
    assert study.coordinator.round(second).phase is Phase.VOID


def _submitted(study: AnyStudy) -> int:
    round = study.coordinator.open_round(CONFIG)
    study.submit(0, round)
    study.submit(1, round)
    return round


REFUSALS: dict[str, Callable[[AnyStudy], Any]] = {
    "AccessControlUnauthorizedAccount": lambda study: study.institutions[0].open_round(CONFIG),
    "AlreadyFounded": lambda study: study.coordinator.register_founder(OUTSIDER, 1, 1),
    "InvalidWallet": lambda study: study.institutions[0].rotate_own_key(study.wallet.address),
    "WalletTaken": lambda study: study.institutions[0].rotate_own_key(study.wallets[1].address),
    "NotAllowed": lambda study: study.coordinator.open_round(b"x" * 32),
    "AlreadySupported": lambda study: [study.institutions[0].pause() for _ in range(2)],
    "NotSupported": lambda study: study.institutions[0].withdraw("pause"),
    "WrongSigner": lambda study: study.institutions[3].submit_update(study.update(2, _submitted(study))),
    "RoundLive": lambda study: [study.coordinator.open_round(CONFIG) for _ in range(2)],
    "UnknownInstitution": lambda study: study.coordinator.attest(study.proposed_round(), AGREEMENT),
    "WrongPhase": lambda study: study.submit(0, study.finalized_round()),
    "AlreadySubmitted": lambda study: study.submit(0, _submitted(study), sealed_hash=b"z" * 32),
    "WrongBaseModel": lambda study: study.submit(2, _submitted(study), base_model=b"z" * 32),
    "WrongWeightClass": lambda study: study.submit(2, _submitted(study), weight_class=WEIGHT + 1),
    "OverBudget": lambda study: study.submit(2, _submitted(study), epsilon=BUDGET + 1),
    "WrongProposal": lambda study: study.attest(0, study.proposed_round(), proposal=bytes(32)),
    "InvalidFingerprint": lambda study: study.propose(_submitted(study), fingerprint=b"\x1f" + 23 * b"\xff"),
    "WrongScores": lambda study: study.propose(_submitted(study), scores=[1, 1]),
    "NotOwed": lambda study: study.answer_for(0, study.proposed_round(), silent=2),
    "AlreadyVouched": lambda study: _vouched_twice(study),
    "EmptyModel": lambda study: study.propose(_submitted(study), new_model=bytes(32)),
    "TooFewAccepted": lambda study: study.propose(_submitted(study), accepted=[0]),
    "NotIncreasing": lambda study: study.propose(_submitted(study), accepted=[0, 0]),
    "NotSubmitted": lambda study: study.propose(_submitted(study), accepted=[0, 1, 2]),
    "NotMember": lambda study: study.coordinator.abandon(_submitted(study), {4: 1}),
    "AcceptedAndRefused": lambda study: study.propose(_submitted(study), refusals={1: 4}),
    "MissingReason": lambda study: study.propose(_submitted(study), refusals={2: 0}),
    "AlreadyAttested": lambda study: study.attest(0, study.finalized_round()),
}


def _vouched_twice(study: AnyStudy) -> None:
    round = study.proposed_round()
    for _ in range(2):
        study.answer_for(0, round, silent=1)


@pytest.mark.parametrize("error", REFUSALS)
def test_each_refusal_is_named(study: AnyStudy, error: str) -> None:
    with pytest.raises(LedgerRefusal) as refused:
        REFUSALS[error](study)
    assert refused.value.name == error


def test_a_spend_that_falls_is_refused(study: AnyStudy) -> None:
    study.finalized_round()
    with pytest.raises(LedgerRefusal) as refused:
        study.submit(0, study.coordinator.open_round(CONFIG), epsilon=999_999)
    assert refused.value.name == "SpendDecreased"
    assert refused.value.values == {"epsilon": 999_999, "spent": 1_000_000}
    assert str(refused.value) == "The ledger refused: SpendDecreased(epsilon=999999, spent=1000000)."


def test_a_study_without_enough_institutions_does_not_open(make_study: MakeStudy) -> None:
    study = make_study(size=1)
    with pytest.raises(LedgerRefusal, match=r"TooFewInstitutions\(registered=1, needed=2\)"):
        study.coordinator.open_round(CONFIG)


@pytest.mark.parametrize(
    "rules",
    [
        {"submission_seconds": 0},
        {"attestation_seconds": 0},
        {"minimum_accepted": 0},
        {"cohort_size": 1},
    ],
)
def test_rules_that_can_never_work_are_refused(make_study: MakeStudy, rules: dict[str, int]) -> None:
    with pytest.raises(LedgerRefusal, match="InvalidRules"):
        make_study(**rules)


def test_institutions_act_at_the_same_time(make_study: MakeStudy) -> None:
    study = make_study(size=12)
    round = study.coordinator.open_round(CONFIG)
    threads = [threading.Thread(target=study.submit, args=(member, round)) for member in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(study.coordinator.submissions(round)) == list(range(12))


def test_one_key_used_by_two_clients_keeps_its_actions_in_order(make_study: MakeStudy) -> None:
    study = make_study(founders=12, founded=False)
    twin = study.open(Wallet.load(study.wallet.path))
    wallets = [Web3.to_checksum_address(f"0x{number:040x}") for number in range(1, 9)]
    threads = [
        threading.Thread(target=client.register_founder, args=(wallet, 1, 1))
        for client, wallet in zip([study.coordinator, twin] * 4, wallets, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {institution.wallet for institution in study.coordinator.institutions()[4:]} == set(wallets)


def test_a_reader_has_no_actions(study: AnyStudy) -> None:
    reader = study.open()
    assert reader.rules() == study.rules
    with pytest.raises(ChainError, match="reading only"):
        reader.open_round(CONFIG)


def test_rules_that_make_no_study_are_refused(make_study: MakeStudy) -> None:
    with pytest.raises(LedgerRefusal, match="InvalidRules"):
        make_study(minimum_accepted=0)


# Processes.


@contextmanager
def actors(study: AnyStudy, action: str, *institutions: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Institutions in processes of their own, which have the ledger open and wait for a line; killed in the end."""
    script = Path(__file__).with_name("actor.py")
    paths = os.pathsep.join([str(script.parents[1]), str(script.parents[2])])
    started = [
        subprocess.Popen(
            [sys.executable, script, study.url, study.address, study.wallets[institution].path, action],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )
        for institution in institutions
    ]
    try:
        for actor in started:
            assert actor.stdout is not None
            assert actor.stdout.readline() == b"ready\n"
        yield started
    finally:
        for actor in started:
            actor.kill()
            actor.communicate()


def go(actor: "subprocess.Popen[bytes]") -> None:
    assert actor.stdin is not None
    actor.stdin.write(b"\n")
    actor.stdin.flush()


@pytest.mark.slow
def test_processes_act_at_the_same_time(study: AnyStudy) -> None:
    round = study.coordinator.open_round(CONFIG)
    with actors(study, "submit", 0, 1, 2, 3) as started:
        for actor in started:
            go(actor)
        assert [actor.wait(60) for actor in started] == [0, 0, 0, 0]
    assert sorted(study.coordinator.submissions(round)) == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_party_that_is_killed_while_it_acts_harms_nobody_and_goes_on(study: AnyStudy) -> None:
    """Killed at any moment of an action: it is on the ledger or it is not, and both sides agree which."""
    for _ in range(3):
        with actors(study, "waver", 1) as (actor,):
            reached = study.coordinator.head()[0] + 7
            go(actor)
            while study.coordinator.head()[0] < reached:
                assert actor.poll() is None
            actor.kill()
            actor.wait()
            again = study.open(study.wallets[1])
            if 1 in again.supporters("pause"):
                again.withdraw("pause")
            told = [event.name for event in again.events() if event.name != "DecisionTaken"]
            assert told.count("DecisionSupported") - told.count("SupportWithdrawn") == 3  # the first model's
    assert study.coordinator.events() == study.open().events()
    study.finalized_round()
