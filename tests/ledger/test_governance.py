"""What the institutions decide together, on a real node and in a file; relayed submissions and equivocation."""

from pathlib import Path
from typing import Any

import pytest
from studies import BUDGET, CONFIG, INITIAL_MODEL, NEW_MODEL, PROVENANCE, WEIGHT, MakeStudy, Study

from fedchest.ledger.contract import LedgerRefusal
from fedchest.ledger.hashes import roster_hash
from fedchest.ledger.records import Phase, Status
from fedchest.ledger.wallet import Wallet

pytestmark = pytest.mark.e2e

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.fixture
def newcomer(tmp_path: Path) -> Wallet:
    return Wallet.create(tmp_path / "newcomer.key")


@pytest.fixture
def study(make_study: MakeStudy) -> Study[Any]:
    return make_study()


# Founding.


def test_no_round_opens_before_a_quorum_approves_the_first_model(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(founded=False)
    for institution in study.institutions[:2]:
        institution.approve_initial_model(INITIAL_MODEL, PROVENANCE, study.roster)
    with pytest.raises(LedgerRefusal, match="NotFounded"):
        study.coordinator.open_round(CONFIG)
    study.institutions[2].approve_initial_model(INITIAL_MODEL, PROVENANCE, study.roster)
    assert study.coordinator.initial_model() == INITIAL_MODEL
    assert study.coordinator.open_round(CONFIG) == 1


def test_nobody_decides_anything_before_every_founder_is_listed(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    """The first founder would be a quorum of one, and make itself coordinator, or found the study alone."""
    study = make_study(size=2, founders=3, founded=False)
    for action in (
        lambda one: one.approve_initial_model(INITIAL_MODEL, PROVENANCE, study.roster),
        lambda one: one.pause(),
        lambda one: one.appoint_coordinator(Wallet.create(tmp_path / "own.key").address),
    ):
        with pytest.raises(LedgerRefusal, match="NotFounded"):
            action(study.institutions[0])
    study.coordinator.register_founder(Wallet.create(tmp_path / "third.key").address, WEIGHT, BUDGET)
    with pytest.raises(LedgerRefusal, match="NotFounded"):
        study.institutions[0].pause()


def test_founders_other_than_those_approved_do_not_found(make_study: MakeStudy, tmp_path: Path) -> None:
    """The coordinator listed somebody that the others do not know."""
    study = make_study(size=3, founders=4, founded=False)
    expected = roster_hash([(one.address, WEIGHT, BUDGET) for one in (*study.wallets, study.wallet)])
    study.coordinator.register_founder(Wallet.create(tmp_path / "stranger.key").address, WEIGHT, BUDGET)
    with pytest.raises(LedgerRefusal, match="AlreadyFounded"):
        study.coordinator.register_founder(Wallet.create(tmp_path / "fifth.key").address, WEIGHT, BUDGET)
    for institution in study.institutions[:2]:
        institution.approve_initial_model(INITIAL_MODEL, PROVENANCE, expected)
    with pytest.raises(LedgerRefusal, match="WrongRoster"):
        study.institutions[2].approve_initial_model(INITIAL_MODEL, PROVENANCE, expected)


# Membership.


def test_an_institution_joins_by_the_quorum_and_not_by_the_coordinator(study, newcomer) -> None:
    with pytest.raises(LedgerRefusal, match="UnknownInstitution"):
        study.coordinator.register_institution(newcomer.address, WEIGHT, BUDGET)
    study.decide(lambda one: one.register_institution(newcomer.address, WEIGHT, BUDGET))
    assert study.coordinator.institution(4).wallet == newcomer.address
    assert study.coordinator.round(study.coordinator.open_round(CONFIG)).members == 5


def test_a_suspended_institution_takes_no_part_until_it_is_reinstated(study) -> None:
    study.decide(lambda one: one.suspend(3))
    assert study.coordinator.institution(3).status is Status.SUSPENDED
    round = study.proposed_round()
    assert study.coordinator.members(round) == (0, 1, 2)
    for action in (
        lambda: study.submit(3, round),
        lambda: study.attest(3, round),
        study.institutions[3].pause,
    ):
        with pytest.raises(LedgerRefusal, match="NotActive"):
            action()
    study.decide(lambda one: one.reinstate(3))
    assert study.coordinator.institution(3).status is Status.ACTIVE


def test_a_revoked_institution_never_comes_back_and_its_history_stays(study) -> None:
    round = study.finalized_round()
    earned = study.coordinator.institution(1).credits
    study.decide(lambda one: one.revoke(1))
    with pytest.raises(LedgerRefusal, match="NotActive"):
        for institution in (0, 2, 3):
            study.institutions[institution].reinstate(1)
    assert study.coordinator.institution(1).credits == earned > 0
    assert study.coordinator.institution_id(study.wallets[1].address) == 1
    assert study.coordinator.submission(round, 1) is not None


def test_a_withdrawn_support_does_not_count(study) -> None:
    study.institutions[0].pause()
    study.institutions[1].pause()
    assert study.coordinator.supporters("pause") == (0, 1)
    study.institutions[0].withdraw("pause")
    study.institutions[2].pause()
    assert not study.coordinator.is_paused()
    study.institutions[3].pause()
    assert study.coordinator.is_paused()


def test_the_support_of_a_suspended_institution_does_not_count(study) -> None:
    study.institutions[3].pause()
    study.decide(lambda one: one.suspend(3))
    study.institutions[0].pause()
    study.institutions[1].pause()
    assert not study.coordinator.is_paused()


def test_an_action_that_is_none_is_refused(study) -> None:
    for institution in study.institutions[:2]:
        institution._act("support", b"\x01\x02\x03\x04")
    with pytest.raises(LedgerRefusal, match="FailedCall"):
        study.institutions[2]._act("support", b"\x01\x02\x03\x04")


def test_only_a_decision_can_do_what_is_by_decision(study) -> None:
    for name, arguments in {"pause": (), "suspendInstitution": (0,), "restartFrom": (0,)}.items():
        for client in (study.coordinator, study.institutions[0]):
            with pytest.raises(LedgerRefusal, match="AccessControlUnauthorizedAccount"):
                client._act(name, *arguments)


# Keys.


def test_a_rotated_key_acts_on_and_the_old_one_no_more(study, newcomer) -> None:
    round = study.coordinator.open_round(CONFIG)
    study.submit(0, round)
    study.institutions[1].rotate_own_key(newcomer.address)
    with pytest.raises(LedgerRefusal, match="RetiredKey"):
        study.submit(1, round)
    study.open(newcomer).submit_update(study.update(1, round))
    assert set(study.coordinator.submissions(round)) == {0, 1}
    assert study.coordinator.institution_id(study.wallets[1].address) == 1


def test_a_lost_key_is_replaced_by_the_quorum(study, newcomer) -> None:
    study.decide(lambda one: one.rotate_key(3, newcomer.address))
    round = study.coordinator.open_round(CONFIG)
    study.open(newcomer).submit_update(study.update(3, round))
    assert study.coordinator.submission(round, 3) is not None


# The study as a whole.


def test_a_pause_stops_writes_and_no_reads(study) -> None:
    round = study.finalized_round()
    study.decide(lambda one: one.pause())
    with pytest.raises(LedgerRefusal, match="EnforcedPause"):
        study.coordinator.open_round(CONFIG)
    assert study.coordinator.round(round).phase is Phase.FINALIZED
    assert study.coordinator.events()[-1].name == "Paused"
    study.decide(lambda one: one.unpause())
    assert study.coordinator.open_round(CONFIG) == round + 1


def test_a_study_restarts_from_an_earlier_model_and_keeps_its_history(study) -> None:
    first = study.finalized_round()
    round = study.coordinator.open_round(CONFIG)
    study.submit(0, round)
    study.submit(1, round)
    study.propose(round, new_model=b"w" * 32)
    for institution in range(3):
        study.attest(institution, round)
    study.decide(lambda one: one.restart_from(first))
    assert study.coordinator.global_model() == NEW_MODEL
    third = study.coordinator.round(study.coordinator.open_round(CONFIG))
    assert (third.parent, third.base_model) == (first, NEW_MODEL)
    assert study.coordinator.finalized_before(third.number) == 1
    assert study.coordinator.round(round).new_model == b"w" * 32
    study.coordinator.abandon(third.number, {})
    study.decide(lambda one: one.restart_from(0))
    assert study.coordinator.global_model() == INITIAL_MODEL


def test_a_void_round_can_not_be_restarted_from(study) -> None:
    round = study.coordinator.open_round(CONFIG)
    study.coordinator.abandon(round, {})
    with pytest.raises(LedgerRefusal, match="NotFinalized"):
        study.decide(lambda one: one.restart_from(round))


def test_a_study_that_moved_says_where_to_and_takes_nothing_more(study, newcomer) -> None:
    round = study.finalized_round()
    successor = newcomer.address
    study.decide(lambda one: one.move_study(successor))
    assert study.coordinator.successor() == successor
    (moved,) = [event for event in study.coordinator.events() if event.name == "StudyMoved"]
    assert moved.values["last_round"] == round
    assert moved.values["model"] == NEW_MODEL
    assert moved.values["checkpoint"] == study.coordinator.block_hashes([moved.block - 1])[0]
    with pytest.raises(LedgerRefusal, match="EnforcedPause"):
        study.coordinator.open_round(CONFIG)
    with pytest.raises(LedgerRefusal, match="StudyOver"):
        study.decide(lambda one: one.unpause())


def test_the_coordinator_is_replaced_by_the_quorum(study, newcomer) -> None:
    study.decide(lambda one: one.appoint_coordinator(newcomer.address))
    study.decide(lambda one: one.dismiss_coordinator(study.wallet.address))
    assert study.coordinator.coordinators() == (newcomer.address,)
    with pytest.raises(LedgerRefusal, match="AccessControlUnauthorizedAccount"):
        study.coordinator.open_round(CONFIG)
    assert study.open(newcomer).open_round(CONFIG) == 1


@pytest.mark.parametrize("name", ["grantRole", "revokeRole"])
def test_not_even_a_quorum_makes_another_administrator(study, newcomer, name) -> None:
    """What is by decision stays by decision; and without the administrator nothing could be decided any more."""
    account = newcomer.address if name == "grantRole" else study.address
    with pytest.raises(LedgerRefusal, match="AdministratorFixed"):
        study.decide(lambda one: one._support(name, bytes(32), account))


def test_a_round_can_be_expired_while_the_study_is_paused(study) -> None:
    round = study.coordinator.open_round(CONFIG)
    study.decide(lambda one: one.pause())
    study.advance(study.rules.submission_seconds + 1)
    study.institutions[0].expire(round)
    assert study.coordinator.round(round).phase is Phase.VOID


def test_abandoning_and_opening_again_draws_nobody_else(make_study) -> None:
    """Or the coordinator would choose the cohort."""
    study = make_study(size=12, cohort_size=4)
    drawn = set()
    for _ in range(6):
        round = study.coordinator.open_round(CONFIG)
        drawn.add(study.coordinator.members(round))
        study.coordinator.abandon(round, {})
    assert len(drawn) == 1


def test_an_institution_can_not_become_coordinator(study) -> None:
    with pytest.raises(LedgerRefusal, match="InvalidWallet"):
        study.decide(lambda one: one.appoint_coordinator(study.wallets[0].address))


def test_another_configuration_is_allowed_by_the_quorum(study) -> None:
    study.decide(lambda one: one.set_allowed(b"o" * 32, True))
    assert study.coordinator.open_round(b"o" * 32) == 1


# Relayed submissions and equivocation.


def test_anyone_may_send_what_an_institution_signed(study) -> None:
    round = study.coordinator.open_round(CONFIG)
    update = study.update(2, round)
    study.coordinator.submit_update_for(update, study.institutions[2].sign_update(update))
    found = study.coordinator.submission(round, 2)
    assert found is not None
    assert found.commitment == study.coordinator.commitment_to(update)


def test_a_relayed_submission_can_not_be_changed_or_replayed(study) -> None:
    round = study.coordinator.open_round(CONFIG)
    update = study.update(2, round)
    signature = study.institutions[2].sign_update(update)
    with pytest.raises(LedgerRefusal, match="UnknownInstitution"):
        study.coordinator.submit_update_for(study.update(2, round, epsilon=2_000_000), signature)
    study.coordinator.submit_update_for(update, signature)
    with pytest.raises(LedgerRefusal, match="AlreadySubmitted"):
        study.coordinator.submit_update_for(update, signature)
    study.coordinator.abandon(round, {})
    second = study.coordinator.open_round(CONFIG)
    with pytest.raises(LedgerRefusal, match="WrongPhase"):
        study.coordinator.submit_update_for(update, signature)
    assert study.coordinator.submissions(second) == {}


def test_a_signature_that_is_none_or_malleable_is_refused(study) -> None:
    round = study.coordinator.open_round(CONFIG)
    update = study.update(2, round)
    signature = study.institutions[2].sign_update(update)
    r, s, v = signature[:32], int.from_bytes(signature[32:64]), signature[64]
    other_half = r + (CURVE_ORDER - s).to_bytes(32) + bytes([27 + 28 - v])
    for wrong, error in {
        other_half: "ECDSAInvalidSignatureS",
        bytes(65): "ECDSAInvalidSignature",
        signature[:-1]: "ECDSAInvalidSignatureLength",
    }.items():
        with pytest.raises(LedgerRefusal, match=error):
            study.coordinator.submit_update_for(update, wrong)


def test_two_signed_updates_of_one_round_are_proof_that_anyone_may_bring(study, newcomer) -> None:
    round = study.coordinator.open_round(CONFIG)
    one, other = study.update(1, round), study.update(1, round, sealed_hash=b"2" * 32)
    liar = study.institutions[1]
    evidence = (one, liar.sign_update(one), other, liar.sign_update(other))
    study.coordinator.report_equivocation(*evidence)
    assert study.coordinator.institution(1).strikes == 1
    with pytest.raises(LedgerRefusal, match="AlreadyProven"):
        study.institutions[0].report_equivocation(*evidence)


def test_what_is_on_chain_needs_no_signature_and_an_old_key_is_no_way_out(study, newcomer) -> None:
    """A liar that rotates its key is the same institution."""
    round = study.coordinator.open_round(CONFIG)
    other = study.update(1, round, sealed_hash=b"2" * 32)
    signature = study.institutions[1].sign_update(other)
    study.submit(1, round)
    study.institutions[1].rotate_own_key(newcomer.address)
    study.coordinator.report_equivocation(study.update(1, round), b"", other, signature)
    assert study.coordinator.institution(1).strikes == 1


def test_a_retired_key_proves_nothing_about_later_rounds(study, newcomer) -> None:
    """Or a thief could strike the institution that it stole from for ever."""
    first = study.coordinator.open_round(CONFIG)
    study.coordinator.abandon(first, {})
    study.decide(lambda one: one.rotate_key(1, newcomer.address))
    second = study.coordinator.open_round(CONFIG)
    thief = study.institutions[1]
    for round, error in {second: "WrongSigner", 10**9: "NotMember"}.items():
        one, other = study.update(1, round), study.update(1, round, sealed_hash=b"2" * 32)
        with pytest.raises(LedgerRefusal, match=error):
            study.coordinator.report_equivocation(
                one, thief.sign_update(one), other, thief.sign_update(other)
            )
    assert study.coordinator.institution(1).strikes == 0


def test_a_vote_on_another_proposal_is_refused(study) -> None:
    """As after a reorganisation that replaced the proposal."""
    round = study.proposed_round()
    with pytest.raises(LedgerRefusal, match="WrongProposal"):
        study.attest(0, round, proposal=b"x" * 32)


def test_a_study_that_moved_stays_at_its_last_model(study, newcomer) -> None:
    study.finalized_round()
    study.decide(lambda one: one.move_study(newcomer.address))
    with pytest.raises(LedgerRefusal, match="StudyOver"):
        study.decide(lambda one: one.restart_from(0))


def test_what_proves_nothing_is_refused(study) -> None:
    round = study.coordinator.open_round(CONFIG)
    one, other = study.update(1, round), study.update(1, round, sealed_hash=b"2" * 32)
    honest, liar = study.institutions[1], study.institutions[2]
    signed = honest.sign_update(one)
    cases = {
        "NoEquivocation": (one, signed, one, signed),
        "WrongSigner": (one, signed, other, liar.sign_update(other)),
        "UnknownInstitution": (one, signed, other, study.coordinator.sign_update(other)),
        "ECDSAInvalidSignatureLength": (one, signed, other, b""),
    }
    for error, evidence in cases.items():
        with pytest.raises(LedgerRefusal, match=error):
            study.coordinator.report_equivocation(*evidence)
    later = study.update(1, round + 1)
    with pytest.raises(LedgerRefusal, match="NoEquivocation"):
        study.coordinator.report_equivocation(one, signed, later, honest.sign_update(later))
    assert study.coordinator.institution(1).strikes == 0
