"""The ledger through its client on a real node: a whole round, each refusal by name, and what goes wrong around it."""

import threading
from collections.abc import Callable
from dataclasses import replace
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
    StudyOnChain,
    share,
)
from web3 import Web3

from fedchest.errors import ChainError
from fedchest.ledger.artifact import artifact
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient, deploy
from fedchest.ledger.contract import LedgerRefusal
from fedchest.ledger.events import snake_case
from fedchest.ledger.records import REQUIRED_CHECKS, Attestation, Phase, Rules, Submission, VoidCause
from fedchest.ledger.rpc import command, connect
from fedchest.ledger.transactions import Sender
from fedchest.ledger.wallet import Wallet
from fedchest.protection.commitment import commitment
from fedchest.protection.context import UpdateContext

pytestmark = pytest.mark.e2e

AGREEMENT = Attestation(bytes(32), NEW_MODEL, bytes(24), bytes(24), REQUIRED_CHECKS)
OUTSIDER = Web3.to_checksum_address("0x" + 40 * "9")


def advance(study: StudyOnChain, chain: LocalChain, seconds: int) -> None:
    """Let block time pass."""
    w3 = connect(chain.rpc_url)
    command(w3, "evm_increaseTime", seconds)
    command(w3, "evm_mine")


def test_a_round_from_opening_to_credits(study: StudyOnChain) -> None:
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


def test_events_hold_what_web3_decodes(study: StudyOnChain, chain: LocalChain) -> None:
    study.finalized_round()
    study.coordinator.abandon(study.coordinator.open_round(CONFIG), {0: 16})
    w3 = connect(chain.rpc_url)
    contract = w3.eth.contract(address=Web3.to_checksum_address(study.address), abi=artifact().abi)
    decoded = {
        (log["blockNumber"], log["logIndex"]): log["args"]
        for entry in artifact().abi
        if entry["type"] == "event"
        for log in contract.events[entry["name"]]().get_logs(from_block=0)
    }
    events = study.coordinator.events()
    assert len(events) == len(decoded) > 15
    assert {type(event.values["agrees"]) for event in events if event.name == "Attested"} == {bool}
    for event in events:
        arguments = {snake_case(name): value for name, value in decoded[event.block, event.index].items()}
        own = {"round": event.round, "institution": event.institution, **event.values}
        assert {name: value for name, value in own.items() if value is not None} == {
            name: Rules(*value.values())
            if name == "rules"
            else tuple(value)
            if isinstance(value, list)
            else value
            for name, value in arguments.items()
        }


@pytest.mark.parametrize(
    "change",
    [
        {"data": "0x"},
        {"data": "0x" + "ff" * 32},
        {"data": "0x" + "00" * 64},
        {"data": "0xzz"},
        {"topics": ["0x" + "77" * 32]},
        {"topics": []},
    ],
)
def test_a_log_that_is_no_event_of_ours_is_one_sentence(
    study: StudyOnChain, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """As a node may make it up: here of the event Credited, whose data is one integer of 64 bits."""
    study.finalized_round()

    def forged(*arguments: Any) -> list[dict[str, Any]]:
        return [{**log, **change} for log in command(*arguments) if log["data"][2:] == f"{500_000:064x}"]

    monkeypatch.setattr("fedchest.ledger.events.command", forged)
    with pytest.raises(ChainError, match="none of the ledger's events, in block"):
        study.coordinator.events()


def test_events_tell_the_round_in_order(study: StudyOnChain) -> None:
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


def test_a_submission_reads_back_and_commits_as_the_library_computes_it(study: StudyOnChain) -> None:
    round = study.coordinator.open_round(CONFIG)
    study.submit(2, round)
    context = UpdateContext(study.coordinator.chain_id, study.address, round, 2, INITIAL_MODEL)
    expected = Submission(commitment(context, *HASHES, WEIGHT, 1_000_000), *HASHES, WEIGHT, 1_000_000)
    assert study.coordinator.submission(round, 2) == expected
    assert study.coordinator.submission(round, 1) is None
    assert study.coordinator.submissions(round) == {2: expected}


def test_a_drawn_cohort_alone_takes_part(chain: LocalChain, tmp_path: Path) -> None:
    study = StudyOnChain(chain.rpc_url, tmp_path, size=6, cohort_size=2)
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


def test_a_quorum_answers_for_a_silent_institution(study: StudyOnChain) -> None:
    round = study.proposed_round()
    for institution in (0, 2, 3):
        study.attest(institution, round)
    for voucher in (0, 2):
        study.answer_for(voucher, round, silent=1)
    assert study.coordinator.owes(round, 1)
    study.answer_for(3, round, silent=1)
    assert study.coordinator.round(round).phase is Phase.FINALIZED


def test_answers_that_differ_make_no_quorum(study: StudyOnChain) -> None:
    round = study.proposed_round()
    for voucher in (0, 2):
        study.answer_for(voucher, round, silent=1)
    study.answer_for(3, round, silent=1, share=share(3))
    assert study.coordinator.owes(round, 1)
    study.answer_for(1, round, silent=1)  # who was silent may say so itself, but it is one voice
    assert not study.coordinator.owes(round, 1)


def test_answers_that_make_a_wrong_sum_dispute_the_round(study: StudyOnChain) -> None:
    round = study.proposed_round()
    study.attest(0, round)
    for voucher in (0, 2, 3):
        study.answer_for(voucher, round, silent=1, share=share(3))
    assert study.coordinator.round(round).phase is Phase.VOID
    assert study.coordinator.events()[-1].values == {"cause": VoidCause.DISPUTED}


def test_credits_by_contribution_score(chain: LocalChain, tmp_path: Path) -> None:
    study = StudyOnChain(chain.rpc_url, tmp_path, by_contribution=True)
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


def test_a_void_round_leaves_the_model_and_the_next_starts_from_it(study: StudyOnChain) -> None:
    round = study.proposed_round()
    for institution in range(2):
        study.attest(institution, round, new_model=b"x" * 32)
    assert study.coordinator.round(round).phase is Phase.VOID
    assert study.coordinator.events()[-1].values == {"cause": VoidCause.REJECTED}
    second = study.coordinator.open_round(CONFIG)
    assert study.coordinator.round(second).base_model == INITIAL_MODEL


def test_an_attestation_that_lacks_a_check_counts_against(study: StudyOnChain) -> None:
    round = study.proposed_round()
    study.attest(0, round, checks=0x07)
    state = study.coordinator.round(round)
    assert (state.agreeing, state.disagreeing) == (0, 1)


def test_no_round_is_finalized_before_every_accepted_institution_has_answered(study: StudyOnChain) -> None:
    round = study.proposed_round()
    for institution in (0, 2, 3):
        study.attest(institution, round)
    state = study.coordinator.round(round)
    assert (state.phase, state.agreeing, state.unanswered) == (Phase.PROPOSED, 3, 1)
    study.attest(1, round)
    assert study.coordinator.round(round).phase is Phase.FINALIZED


def test_shares_that_do_not_add_up_dispute_the_round(study: StudyOnChain) -> None:
    """Whoever answered falsely: the sum is not shown to be the sum, and whatever the votes, it does not stand."""
    round = study.proposed_round()
    study.attest(2, round)
    study.attest(0, round)
    study.attest(1, round, share=bytes(24))
    assert study.coordinator.round(round).phase is Phase.VOID
    assert study.coordinator.events()[-1].values == {"cause": VoidCause.DISPUTED}


def test_whether_a_proposal_came_before_the_submissions_deadline(
    study: StudyOnChain, chain: LocalChain
) -> None:
    early = study.proposed_round()
    assert not study.coordinator.was_proposed_late(study.coordinator.round(early))
    for institution in range(3):
        study.attest(institution, early)
    late = _submitted(study)
    advance(study, chain, RULES.submission_seconds + 1)
    study.propose(late)
    assert study.coordinator.was_proposed_late(study.coordinator.round(late))


def test_another_fingerprint_of_the_sum_is_a_vote_against(study: StudyOnChain) -> None:
    round = study.proposed_round()
    study.attest(2, round, fingerprint=bytes(24))
    assert study.coordinator.round(round).disagreeing == 1


def test_a_late_attestation_is_recorded_and_changes_nothing(study: StudyOnChain) -> None:
    round = study.finalized_round()
    before = study.coordinator.round(round)
    study.attest(3, round, new_model=b"x" * 32)
    assert study.coordinator.round(round) == before
    assert study.coordinator.has_attested(round, 3)
    assert study.coordinator.events()[-1].values["agrees"] is False


def test_a_passed_deadline_ends_a_round(study: StudyOnChain, chain: LocalChain) -> None:
    round = study.coordinator.open_round(CONFIG)
    with pytest.raises(LedgerRefusal, match="DeadlineNotReached"):
        study.institutions[0].expire(round)
    advance(study, chain, RULES.submission_seconds + 1)
    with pytest.raises(LedgerRefusal, match="DeadlinePassed"):
        study.submit(0, round)
    study.institutions[0].expire(round)
    assert study.coordinator.events()[-1].values == {"cause": VoidCause.EXPIRED}

    second = study.proposed_round()
    advance(study, chain, RULES.attestation_seconds + 1)
    with pytest.raises(LedgerRefusal, match="DeadlinePassed"):
        study.attest(0, second)
    study.coordinator.expire(second)
    assert study.coordinator.round(second).phase is Phase.VOID


def _submitted(study: StudyOnChain) -> int:
    round = study.coordinator.open_round(CONFIG)
    study.submit(0, round)
    study.submit(1, round)
    return round


REFUSALS: dict[str, Callable[[StudyOnChain], Any]] = {
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


@pytest.mark.parametrize("error", REFUSALS)
def test_each_refusal_is_named(study: StudyOnChain, error: str) -> None:
    with pytest.raises(LedgerRefusal) as refused:
        REFUSALS[error](study)
    assert refused.value.name == error


def test_a_spend_that_falls_is_refused(study: StudyOnChain) -> None:
    study.finalized_round()
    with pytest.raises(LedgerRefusal) as refused:
        study.submit(0, study.coordinator.open_round(CONFIG), epsilon=999_999)
    assert refused.value.name == "SpendDecreased"
    assert refused.value.values == {"epsilon": 999_999, "spent": 1_000_000}
    assert str(refused.value) == "The ledger refused: SpendDecreased(epsilon=999999, spent=1000000)."


def test_a_study_without_enough_institutions_does_not_open(chain: LocalChain, tmp_path: Path) -> None:
    study = StudyOnChain(chain.rpc_url, tmp_path, size=1)
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
def test_rules_that_can_never_work_are_refused(
    chain: LocalChain, tmp_path: Path, rules: dict[str, int]
) -> None:
    with pytest.raises(LedgerRefusal, match="InvalidRules"):
        StudyOnChain(chain.rpc_url, tmp_path, **rules)


def test_a_refused_action_sends_nothing(study: StudyOnChain, chain: LocalChain) -> None:
    w3 = connect(chain.rpc_url)
    before = w3.eth.block_number
    with pytest.raises(LedgerRefusal):
        study.submit(0, 1)
    assert w3.eth.block_number == before


def test_a_failed_transaction_is_a_refusal_too(study: StudyOnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rehearsal passes, and another transaction comes in between: here the same attestation, sent twice."""
    round = study.proposed_round()
    deliver = Sender.send

    def send_after_another(sender: Sender, to: str | None, data: str, gas: int) -> Any:
        monkeypatch.setattr(Sender, "send", deliver)
        deliver(sender, to, data, gas)
        return deliver(sender, to, data, gas)

    monkeypatch.setattr(Sender, "send", send_after_another)
    with pytest.raises(LedgerRefusal, match="AlreadyAttested"):
        study.attest(0, round)


def test_institutions_act_at_the_same_time(chain: LocalChain, tmp_path: Path) -> None:
    study = StudyOnChain(chain.rpc_url, tmp_path, size=12)
    round = study.coordinator.open_round(CONFIG)
    threads = [threading.Thread(target=study.submit, args=(member, round)) for member in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(study.coordinator.submissions(round)) == list(range(12))


def test_one_key_used_by_two_clients_keeps_its_nonces_in_order(chain: LocalChain, tmp_path: Path) -> None:
    study = StudyOnChain(chain.rpc_url, tmp_path, founders=12, founded=False)
    twin = LedgerClient(chain.rpc_url, study.address, Wallet.load(study.wallet.path))
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


def test_a_reader_has_no_actions(study: StudyOnChain, chain: LocalChain) -> None:
    reader = LedgerClient(chain.rpc_url, study.address)
    assert reader.rules() == study.rules
    with pytest.raises(ChainError, match="reading only"):
        reader.open_round(CONFIG)


def test_a_wrong_address_chain_or_node_is_one_sentence(study: StudyOnChain, chain: LocalChain) -> None:
    with pytest.raises(ChainError, match=r"^No Ethereum node answers at http://127\.0\.0\.1:1; .*\.$"):
        LedgerClient("http://127.0.0.1:1", study.address)
    with pytest.raises(ChainError, match="No Ethereum node answers at somewhere"):
        LedgerClient("somewhere", study.address)
    with pytest.raises(ChainError, match="has id 31337, not 1"):
        LedgerClient(chain.rpc_url, study.address, chain_id=1)
    with pytest.raises(ChainError, match="no contract"):
        LedgerClient(chain.rpc_url, OUTSIDER)
    with pytest.raises(ChainError, match="not an Ethereum address"):
        LedgerClient(chain.rpc_url, "0x12")


def test_other_code_at_the_address_is_refused(study: StudyOnChain, chain: LocalChain) -> None:
    w3 = connect(chain.rpc_url)
    code = bytes(w3.eth.get_code(Web3.to_checksum_address(study.address)))
    command(w3, "anvil_setCode", study.address, "0x" + code[:-1].hex() + "00")
    with pytest.raises(ChainError, match="not the ledger"):
        LedgerClient(chain.rpc_url, study.address)


def test_rules_that_make_no_study_are_refused(chain: LocalChain, tmp_path: Path) -> None:
    with pytest.raises(LedgerRefusal, match="InvalidRules"):
        deploy(chain.rpc_url, Wallet.create(tmp_path / "key"), replace(RULES, minimum_accepted=0))


def _vouched_twice(study: StudyOnChain) -> None:
    round = study.proposed_round()
    for _ in range(2):
        study.answer_for(0, round, silent=1)
