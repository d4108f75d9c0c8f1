"""What a fresh reader broke: prunings that went too far or hid too much, and who is blamed for a false answer."""

import json
import shutil
from pathlib import Path

import pytest
from audit_support import failures, pass_time
from flwr.app import Context, Message, RecordDict
from small_federation import forge, liar
from studies import CONFIG, StudyOnChain

from fedchest.audit.pruned import PrunedArtifact, append_pruned, read_pruned
from fedchest.audit.pruning import prune
from fedchest.audit.rules import drawn
from fedchest.audit.source import run_ledger
from fedchest.audit.verify import verify_run
from fedchest.errors import StoreError
from fedchest.federation.apps import client_app
from fedchest.federation.config import Settings
from fedchest.federation.directory import STUDY, WALLET, RunDirectory, read_document, read_study
from fedchest.federation.messages import ProposalMessage, refusal_record
from fedchest.federation.results import collect
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.hashes import passed_on
from fedchest.ledger.records import Phase
from fedchest.ledger.rpc import connect
from fedchest.ledger.wallet import Wallet
from fedchest.refusals import Reason

pytestmark = pytest.mark.e2e


def names_the_initial_model_as_its_update(message: Message, context: Context) -> RecordDict:
    """Commits to the base model's hash as that of its sealed update, and sends nothing."""
    forged = forge(message, context)
    forged.commit(sealed_hash=forged.context.base_model)
    return refusal_record(Reason.SITE_FAULT)


def test_pruning_never_deletes_what_is_named_as_something_else(make_federation):
    federation = make_federation(training={"rounds": 2})
    initial = federation.ledger.initial_model()
    federation.run({3: liar(train=names_the_initial_model_as_its_update)})
    assert federation.state(1).phase is Phase.FINALIZED
    assert initial in federation.directory.artifacts
    prune(federation.directory, keep=1, rpc_url=federation.rpc_url)
    assert initial in federation.directory.artifacts


def test_one_member_that_vouches_falsely_frames_nobody_else(make_federation):
    """Its word never counted; the audit may name it, and no one else."""

    def vouches_falsely(message: Message, context: Context) -> RecordDict:
        proposal = ProposalMessage.from_record(message.content)
        folder = Path(str(context.node_config["site"]))
        ledger = LedgerClient(federation.rpc_url, federation.ledger.address, Wallet.load(folder / WALLET))
        state = ledger.round(proposal.round)
        victim = next(i for i in ledger.accepted(proposal.round) if ledger.owes(proposal.round, i) and i != 0)
        ledger.answer_for(state.number, victim, state.proposal, bytes(24))
        return client_app()(message, context).content

    federation = make_federation()
    federation.run({0: liar(attest=vouches_falsely)})
    assert federation.state().phase is Phase.FINALIZED
    report = verify_run(federation.directory, rpc_url=federation.rpc_url, keep_going=True)
    blamed = {finding.institution for outcome in failures(report).values() for finding in outcome.findings}
    assert blamed <= {0}


@pytest.mark.parametrize("kind", ["model", "record", "manifest", "initial"])
def test_what_the_rule_keeps_is_missing_and_never_pruned(finished_run, tmp_path, kind):
    shutil.copytree(finished_run.root, tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")

    with run_ledger(directory) as ledger:
        state = ledger.round(2)
        digest = {
            "model": state.new_model,
            "record": state.record,
            "initial": ledger.initial_model(),
            "manifest": ledger.submission(2, 0).manifest_hash,
        }[kind]
    append_pruned(directory.pruned, PrunedArtifact(digest.hex(), "the sealed update", 1, None, 1))
    directory.artifacts.path(digest).unlink()
    report = verify_run(directory, keep_going=True)
    assert report.exit_status == 1


def test_a_forged_report_is_found_behind_what_was_pruned(finished_run, tmp_path):
    shutil.copytree(finished_run.root, tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    prune(directory, keep=1)
    report = json.loads(directory.results.read_text())
    report["rounds"][1]["mean_auroc"] = 0.99
    report["rounds"][1]["accepted"] = [0]
    report["institutions"][0]["credits"] = 10**9
    directory.results.write_text(json.dumps(report))
    directory.models.mkdir(exist_ok=True)
    (directory.models / "round2.safetensors").write_bytes(b"?")
    outcome = verify_run(directory, keep_going=True)
    assert outcome.exit_status == 1


def test_results_of_a_pruned_run_can_be_gathered(finished_run, tmp_path):
    """As a run does that was pruned while it was interrupted, and then resumed."""
    shutil.copytree(finished_run.root, tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    prune(directory, keep=1)
    settings = read_document(directory.settings, Settings)
    with run_ledger(directory) as ledger:
        again = collect(directory, read_study(directory.root / STUDY), ledger, settings, {})
    assert again.complete


def test_a_coordinator_does_not_choose_the_cohort_by_letting_rounds_expire(chain, tmp_path):
    """Whatever block the round is ended in, the next cohort was fixed before."""
    study = StudyOnChain(chain.rpc_url, tmp_path, size=6, cohort_size=2)
    study.coordinator.open_round(CONFIG)
    (founded,) = [event for event in study.coordinator.events() if event.name == "InitialModelApproved"]
    seed = bytes(connect(chain.rpc_url).eth.get_block(founded.block - 1)["hash"])
    assert study.coordinator.members(1) == tuple(sorted(drawn(seed, range(6), 2)))
    pass_time(chain.rpc_url, study.rules.submission_seconds + 1)
    study.institutions[0].pause()  # any transaction: the next block has another hash
    study.coordinator.expire(1)
    study.coordinator.open_round(CONFIG)
    assert study.coordinator.members(2) == tuple(sorted(drawn(passed_on(seed, 1), range(6), 2)))


def test_a_list_that_is_no_file_is_one_sentence(tmp_path):
    with pytest.raises(StoreError, match="is no list of pruned artifacts"):
        read_pruned(tmp_path)
