"""The trail's plain form, and the two commands on a run."""

import json

import pytest
from click.testing import CliRunner, Result

from fedchest.audit.trail import block_time, plain
from fedchest.cli.audit import audit
from fedchest.errors import ChainError, ConfigError, KeyFileError
from fedchest.federation.results import read_results
from fedchest.ledger.records import Rules, VoidCause


def test_values_in_plain_form():
    rules = Rules(bytes(32), bytes(32), 4, 60, 60, 0, 1, False, False, 10**6, 10**6)
    values = {"cause": VoidCause.EXPIRED, "reason": 4, "ids": (1, b"\x01"), "rules": rules}
    written = plain(values)
    assert json.loads(json.dumps(written)) == written
    assert written == {
        "cause": "EXPIRED",
        "reason": "HASH_MISMATCH",
        "ids": [1, "0x01"],
        "rules": {
            "study": "0x" + "00" * 32,
            "app": "0x" + "00" * 32,
            "founders": 4,
            "submission_seconds": 60,
            "attestation_seconds": 60,
            "cohort_size": 0,
            "minimum_accepted": 1,
            "crash_only": False,
            "by_contribution": False,
            "norm_bound": 10**6,
            "epsilon_budget": 10**6,
        },
    }
    assert plain({"reason": 200}) == {"reason": 200}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000),
        ("2023-11-14T22:13:20", 1_700_000_000),
        ("2023-11-14 23:13:20+01:00", 1_700_000_000),
        ("2023-11-14", 1_699_920_000),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(text, seconds):
    assert block_time("--since", text) == seconds


@pytest.mark.parametrize("text", ["yesterday", "", "2023-13-01", "1700000000.5", "2023-11-14T25:00"])
def test_a_time_of_another_form_is_named_with_what_is_allowed(text):
    with pytest.raises(ConfigError, match=f"--since {text}: allowed is .* ISO 8601"):
        block_time("--since", text)


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
