"""What the audit's tests share beside their fixtures."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from studies import BUDGET, CONFIG, StudyOnChain

from fedchest.audit.report import Outcome, Report, Verdict
from fedchest.audit.trail import plain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.records import Event, Status
from fedchest.ledger.rpc import command, connect

NEVER_IN_AN_OPEN_STUDY = {"study_moved", "role_admin_changed"}
"""Tables that stay empty here: a study that moved has no open round, and nothing changes who grants roles."""

LIAR = 3
"""The hospital whose update of the first round arrives changed."""


def failures(report: Report) -> dict[str, Outcome]:
    """The failed outcomes by step."""
    return {outcome.step: outcome for outcome in report.outcomes if outcome.verdict is Verdict.FAILED}


def event_json(event: Event) -> dict[str, Any]:
    """The form that `fedchest audit log --json` has, written without the index."""
    return {
        "block": event.block,
        "time": datetime.fromtimestamp(event.timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "transaction": event.transaction,
        "sender": event.sender,
        "gas": event.gas,
        "kind": event.name,
        "round": event.round,
        "institution": event.institution,
        "values": plain(event.values),
    }


def pass_time(rpc_url: str, seconds: int) -> None:
    """Let block time pass."""
    w3 = connect(rpc_url)
    command(w3, "evm_increaseTime", seconds)
    command(w3, "evm_mine")


def abandoned_round(study: StudyOnChain, submitting: int = 1) -> int:
    """A round given up by the coordinator, with one refusal."""
    round = study.coordinator.open_round(CONFIG)
    for institution in range(submitting):
        study.submit(institution, round, epsilon=min(BUDGET, 1_000_000 * round))
    study.coordinator.abandon(round, {3: 1})
    return round


def govern(study: StudyOnChain, finalized: int) -> None:
    """Every decision but the last one, which ends a study; the four institutions remain who they were."""
    first, second, third = (f"0x{number:040x}" for number in (0x11, 0x12, 0x13))
    study.institutions[0].pause()
    study.institutions[0].withdraw("pause")
    study.decide(lambda one: one.register_institution(first, 1, 1))
    study.decide(lambda one: one.rotate_key(4, second))
    for action in (LedgerClient.suspend, LedgerClient.reinstate, LedgerClient.revoke):
        supporting(study, action, 4)
    for action in (LedgerClient.pause, LedgerClient.unpause):
        supporting(study, action)
    supporting(study, LedgerClient.restart_from, finalized)
    supporting(study, LedgerClient.set_allowed, b"o" * 32, True)
    supporting(study, LedgerClient.appoint_coordinator, third)
    supporting(study, LedgerClient.dismiss_coordinator, third)
    one = study.update(0, finalized)
    other = replace(one, sealed_hash=b"2" * 32)
    liar = study.institutions[0]
    study.coordinator.report_equivocation(one, liar.sign_update(one), other, liar.sign_update(other))


def supporting(study: StudyOnChain, action: Callable[..., object], *arguments: object) -> None:
    """Let the first four institutions support the action until it is taken."""
    active = sum(one.status is Status.ACTIVE for one in study.coordinator.institutions())
    for institution in study.institutions[: 2 * active // 3 + 1]:
        action(institution, *arguments)


def play(study: StudyOnChain, rpc_url: str) -> None:
    """Rounds that have every event and every outcome, minutes apart; the last one is left open."""
    govern(study, study.finalized_round())
    pass_time(rpc_url, 60)
    abandoned_round(study)
    pass_time(rpc_url, 60)
    rejected = study.coordinator.open_round(CONFIG)
    for institution in range(3):
        study.submit(institution, rejected)
    study.propose(rejected, refusals={2: 10, 3: 200})
    for institution in range(2):
        study.attest(institution, rejected, new_model=b"x" * 32)
    study.attest(2, rejected)  # late: on record, and of no weight
    pass_time(rpc_url, 60)
    expired = study.proposed_round()
    study.attest(0, expired)
    for voucher in (0, 2, 3):
        study.answer_for(voucher, expired, 1)
    pass_time(rpc_url, study.rules.attestation_seconds + 1)
    study.coordinator.expire(expired)
    study.finalized_round()
    study.submit(3, study.coordinator.open_round(CONFIG))
