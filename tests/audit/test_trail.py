"""The trail, filtered and written out, and the two commands."""

import json

import pytest
from click.testing import CliRunner, Result

from fedchest.audit.trail import KINDS, event_json, institution_number, select
from fedchest.cli.audit import audit
from fedchest.errors import ChainError, ConfigError, KeyFileError
from fedchest.federation.results import read_results
from fedchest.ledger.records import Event, Institution, Rules, VoidCause

WALLET = "0xAbCdEf0000000000000000000000000000000001"
INSTITUTIONS = [Institution(0, WALLET, 3, 10, 0, 0), Institution(1, "0x" + "22" * 20, 3, 10, 0, 0)]


def event(name: str, round: int | None = None, institution: int | None = None, **values: object) -> Event:
    return Event(1, 0, 1_700_000_000, "0x00", WALLET, 21_000, name, round, institution, values)


EVENTS = [
    event("StudyCreated"),
    event("UpdateSubmitted", 1, 0),
    event("UpdateSubmitted", 1, 1),
    event("UpdateSubmitted", 2, 0),
    event("Attested", 2, 0),
]


def test_filters_narrow_together():
    assert select(EVENTS) == EVENTS
    assert select(EVENTS, round=1) == EVENTS[1:3]
    assert select(EVENTS, institution=0) == [EVENTS[1], EVENTS[3], EVENTS[4]]
    assert select(EVENTS, kind="updatesubmitted", institution=0, round=2) == [EVENTS[3]]


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(ConfigError, match="AggregateProposed, Attested"):
        select(EVENTS, kind="Nothing")
    assert len(KINDS) == 10


def test_an_institution_is_named_by_number_or_wallet():
    assert institution_number("1", INSTITUTIONS) == 1
    assert institution_number(WALLET.lower(), INSTITUTIONS) == 0
    with pytest.raises(ConfigError, match="institutions 0 to 1"):
        institution_number("2", INSTITUTIONS)


def test_an_event_as_json():
    rules = Rules(bytes(32), 60, 60, 0, 1, False)
    written = event_json(
        event("RoundVoided", 1, None, cause=VoidCause.EXPIRED, reason=4, ids=(1, b"\x01"), rules=rules)
    )
    assert json.loads(json.dumps(written)) == written
    assert written["time"] == "2023-11-14T22:13:20Z"
    assert written["values"] == {
        "cause": "EXPIRED",
        "reason": "HASH_MISMATCH",
        "ids": [1, "0x01"],
        "rules": {
            "study": "0x" + "00" * 32,
            "submission_seconds": 60,
            "attestation_seconds": 60,
            "cohort_size": 0,
            "minimum_accepted": 1,
            "crash_only": False,
        },
    }
    assert event_json(event("UpdateRefused", reason=200))["values"] == {"reason": 200}


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(audit, [str(argument) for argument in arguments], standalone_mode=False)


@pytest.mark.e2e
def test_log_from_the_journals(finished_run):
    result = invoke("log", finished_run.root, "--json", "--round", 1, "--kind", "UpdateRefused")
    (line,) = result.output.splitlines()
    refused = json.loads(line)
    assert (refused["institution"], refused["values"]) == (3, {"reason": "HASH_MISMATCH"})


@pytest.mark.e2e
def test_log_as_a_table(finished_run, node):
    result = invoke("log", finished_run.root, "--rpc", node, "--institution", 3)
    assert result.exception is None
    rows = invoke("log", finished_run.root, "--rpc", node, "--institution", 3, "--json").output.splitlines()
    assert f"{len(rows)} events" in result.output


@pytest.mark.e2e
def test_log_of_a_run_without_a_usable_journal(run):
    for path in run.root.rglob("journal.jsonl"):
        path.write_bytes(b"nonsense\n")
    assert isinstance(invoke("log", run.root).exception, ChainError)


@pytest.mark.e2e
def test_verify_says_so_by_its_exit_status(run, node):
    passed = invoke("verify", run.root, "--rpc", node)
    assert passed.return_value == 0
    assert "The audit passed" in passed.output
    run.artifacts.path(bytes.fromhex(read_results(run).rounds[0].model)).unlink()
    failed = invoke("verify", run.root, "--rpc", node, "--json")
    assert failed.return_value == 1
    report = json.loads(failed.output)
    assert not report["passed"]
    assert "failed" in {step["verdict"] for step in report["steps"] if step["step"] == "artifacts"}


@pytest.mark.e2e
def test_a_key_that_is_given_must_be_one(finished_run, tmp_path):
    assert isinstance(
        invoke("verify", finished_run.root, "--key", tmp_path / "no.key").exception, KeyFileError
    )
