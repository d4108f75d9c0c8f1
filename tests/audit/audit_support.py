"""What the audit's tests share beside their fixtures."""

from datetime import UTC, datetime
from typing import Any

from studies import BUDGET, CONFIG, StudyOnChain

from fedchest.audit.report import Outcome, Report, Verdict
from fedchest.audit.trail import plain
from fedchest.ledger.records import Event
from fedchest.ledger.rpc import command, connect

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


def play(study: StudyOnChain, rpc_url: str) -> None:
    """Rounds that have every event and every outcome, minutes apart; the last one is left open."""
    study.finalized_round()
    pass_time(rpc_url, 60)
    abandoned_round(study)
    pass_time(rpc_url, 60)
    rejected = study.coordinator.open_round(CONFIG)
    for institution in range(3):
        study.submit(institution, rejected)
    study.propose(rejected, refusals={2: 10, 3: 200})
    for institution in range(2):
        study.attest(institution, rejected, b"x" * 32)
    study.attest(2, rejected)  # late: on record, and of no weight
    pass_time(rpc_url, 60)
    expired = study.proposed_round()
    study.attest(0, expired)
    pass_time(rpc_url, study.rules.attestation_seconds + 1)
    study.coordinator.expire(expired)
    study.finalized_round()
    study.submit(3, study.coordinator.open_round(CONFIG))
