"""Pruning: what goes is said, what stays still proves, and nothing else may be missing."""

import json
import shutil
from pathlib import Path

import pytest
from audit_support import failures
from click.testing import CliRunner

from fedchest.audit.inclusion import check
from fedchest.audit.prove import prove
from fedchest.audit.pruning import prune
from fedchest.audit.report import Report, Verdict
from fedchest.audit.source import run_ledger
from fedchest.audit.verify import verify_run
from fedchest.cli.audit import audit
from fedchest.errors import StoreError
from fedchest.federation.directory import RunDirectory
from fedchest.files import held

pytestmark = pytest.mark.e2e

NEED_THE_UPDATES = {"artifacts", "refusals", "aggregation", "results"}


@pytest.fixture
def pruned(finished_run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run without its first round's updates and sum."""
    shutil.copytree(finished_run.root, tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    prune(directory, keep=1)
    return directory


def unchecked(report: Report) -> dict[str, str]:
    return {one.step: one.detail for one in report.outcomes if one.verdict is Verdict.NOT_CHECKED}


def test_a_pruned_run_is_right_as_far_as_it_can_be_checked(pruned):
    report = verify_run(pruned)
    assert report.exit_status == 3
    assert set(unchecked(report)) == NEED_THE_UPDATES
    assert unchecked(report)["artifacts"] == "5 artifacts of round 1 were pruned; the rest is right"
    assert not failures(report)


def test_what_is_missing_and_not_listed_is_wrong(pruned):
    lines = pruned.pruned.read_text().splitlines()
    pruned.pruned.write_text("".join(f"{line}\n" for line in lines[1:]))
    report = verify_run(pruned)
    assert report.exit_status == 1
    (finding,) = failures(report)["artifacts"].findings
    assert finding.expected == "0x" + json.loads(lines[0])["digest"]


def test_a_fault_in_a_kept_round_is_found_behind_what_was_pruned(pruned):
    with run_ledger(pruned) as ledger:
        last = ledger.round(2)
    pruned.artifacts.path(last.sum_hash).write_bytes(b"?")
    assert failures(verify_run(pruned))["artifacts"].findings[0].round == 2


def test_the_proof_of_a_pruned_update_holds(pruned):
    with run_ledger(pruned) as ledger:
        update = ledger.submission(1, 0)
        assert update is not None and update.sealed_hash not in pruned.artifacts
        proof = prove(ledger, update.sealed_hash)
        block = bytes(ledger._w3.eth.get_block("latest")["hash"])
    assert check(proof, block).round.number == 1


def test_models_manifests_and_records_stay(finished_run, pruned):
    gone = {json.loads(line)["digest"] for line in pruned.pruned.read_text().splitlines()}
    before, after = (
        {path.name for path in run.artifacts.directory.iterdir()} for run in (finished_run, pruned)
    )
    assert after == before - gone and len(gone) == 6
    assert {json.loads(line)["what"] for line in pruned.pruned.read_text().splitlines()} == {
        "the sealed update",
        "the proposed sum",
    }


def test_keeping_every_round_and_trying_delete_nothing(finished_run):
    assert prune(finished_run, keep=2) == []
    ran = CliRunner().invoke(audit, ["prune", str(finished_run.root), "--keep", "0", "--dry-run", "--json"])
    assert ran.exit_code == 0
    assert {entry["round"] for entry in json.loads(ran.stdout)} == {1, 2}
    assert not finished_run.pruned.exists()


def test_a_run_that_goes_on_is_not_pruned(finished_run):
    with held(finished_run.coordinator), pytest.raises(StoreError):
        prune(finished_run, keep=0)


def test_a_damaged_list_is_one_sentence(pruned):
    pruned.pruned.write_text("{}\n")
    report = verify_run(pruned)
    assert report.exit_status == 1
    assert "is no list of pruned artifacts" in failures(report)["artifacts"].detail
