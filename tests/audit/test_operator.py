"""A chain's operator who rewrites history with every file of the run: found against what any party kept elsewhere."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from audit_support import failures

from fedchest.audit.bundling import bundle_run
from fedchest.audit.index import EventIndex
from fedchest.audit.journals import read_journal
from fedchest.audit.report import Verdict
from fedchest.audit.signing import load_signer
from fedchest.audit.source import chain_source, run_ledger
from fedchest.audit.verify import verify_run
from fedchest.errors import StoreError
from fedchest.federation.config import Settings
from fedchest.federation.directory import JOURNAL, WALLET, RunDirectory, read_document, read_study
from fedchest.federation.results import collect, write_results
from fedchest.ledger.blocks import Transaction
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.journal import BlockRecord, block_records
from fedchest.ledger.records import REQUIRED_CHECKS
from fedchest.ledger.rpc import command, commands, connect
from fedchest.ledger.wallet import Wallet

pytestmark = pytest.mark.e2e

Change = Callable[[RunDirectory, Sequence[BlockRecord]], Sequence[BlockRecord]]


def own_index(run: RunDirectory, folder: Path) -> Path:
    path = folder / "index.sqlite"
    with run_ledger(run) as ledger, EventIndex(path, ledger) as index:
        index.sync()
    return path


def own_journal(run: RunDirectory, folder: Path) -> Path:
    """The coordinator's: it holds all blocks, of whoever's transactions."""
    return Path(shutil.copy(run.coordinator / JOURNAL, folder / "journal.jsonl"))


def own_receipts(run: RunDirectory, folder: Path) -> Path:
    """As `eth_getTransactionReceipt` gave them when the transactions were mined, one a line."""
    path = folder / "receipts.jsonl"
    with chain_source(run) as source:
        assert source.rpc_url is not None
        w3 = connect(source.rpc_url)
        hashes = [Transaction.from_bytes(raw).hash for record in source.blocks for raw in record.transactions]
        found = commands(w3, "eth_getTransactionReceipt", [("0x" + one.hex(),) for one in hashes])
    path.write_text("".join(f"{json.dumps(receipt)}\n" for receipt in found))
    return path


def own_bundle(run: RunDirectory, folder: Path) -> Path:
    """As an auditor signed it."""
    Wallet.create(folder / "signer.key")
    bundle_run(run, folder / "bundle.jsonl", load_signer(folder / "signer.key"))
    return folder / "bundle.jsonl"


KINDS = [own_index, own_journal, own_receipts, own_bundle]


@pytest.fixture(scope="module", params=KINDS, ids=lambda make: make.__name__)
def kept(request, finished_run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a party kept of the honest chain."""
    return request.param(finished_run, tmp_path_factory.mktemp("kept"))


def without_the_last_vote(run: RunDirectory, records: Sequence[BlockRecord]) -> Sequence[BlockRecord]:
    """Nothing follows from a vote that comes after the quorum, so that it can be left out without a trace."""
    return records[:-1]


def with_another_last_vote(run: RunDirectory, records: Sequence[BlockRecord]) -> Sequence[BlockRecord]:
    """With the help of the institution whose vote it is: it signs another one in its place."""
    vote = Transaction.from_bytes(records[-1].transactions[0])
    wallets = [Wallet.load(folder / WALLET) for folder in run.institutions()]
    (wallet,) = [wallet for wallet in wallets if wallet.address == vote.sender]
    changed = vote.data[:-1] + bytes([REQUIRED_CHECKS - 1])
    fields = {
        "chainId": 31337,
        "nonce": vote.nonce,
        "gas": 2_000_000,
        "gasPrice": 0,
        "value": 0,
        "to": vote.to,
        "data": "0x" + changed.hex(),
    }
    return [*records[:-1], replace(records[-1], transactions=(bytes(wallet.sign(fields).raw_transaction),))]


def a_second_later(run: RunDirectory, records: Sequence[BlockRecord]) -> Sequence[BlockRecord]:
    return [*records[:-1], replace(records[-1], timestamp=records[-1].timestamp + 1)]


def rewrite(run: RunDirectory, folder: Path, change: Change) -> None:
    """Play a changed history on a fresh chain; give every party its journal, and results.json its figures."""
    records = change(run, read_journal(run.chain / JOURNAL, "").records)
    with LocalChain(folder / "rewritten") as chain:
        w3 = connect(chain.rpc_url)
        command(w3, "evm_setAutomine", False)
        command(w3, "evm_setTime", w3.eth.get_block(0)["timestamp"])
        for record in records:
            for raw in record.transactions:
                command(w3, "eth_sendRawTransaction", "0x" + raw.hex())
            command(w3, "evm_mine", {"timestamp": record.timestamp})
        lines = b"".join(one.to_line() for one in block_records(w3, range(1, len(records) + 1)))
        for path in run.root.rglob(JOURNAL):
            path.write_bytes(lines)
        contract = json.loads((run.auditor / "connection.json").read_bytes())["contract"]
        ledger = LedgerClient(chain.rpc_url, contract)
        write_results(
            run, collect(run, read_study(run.study), ledger, read_document(run.settings, Settings), {})
        )


CHANGES: dict[Change, str] = {
    without_the_last_vote: "dropped",
    with_another_last_vote: "rewritten",
    a_second_later: "is another",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_history_that_the_operator_rewrote(run, kept, tmp_path, change):
    """The run alone holds together, every step; what a party kept contradicts it, and names what is gone."""
    last = read_journal(run.chain / JOURNAL, "").records[-1]
    voter = Transaction.from_bytes(last.transactions[0]).sender
    with run_ledger(run) as ledger:
        institution = ledger.institution_id(voter)
    rewrite(run, tmp_path, change)
    assert verify_run(run).passed
    report = verify_run(run, against=[kept])
    assert list(failures(report)) == ["anchors"]
    assert report.exit_status == 1
    finding = failures(report)["anchors"].findings[0]
    assert finding.file == str(kept)
    if change is a_second_later:
        assert finding.what == f"block {last.number} is another"
        assert finding.expected == "0x" + last.hash.hex()
    else:
        told = CHANGES[change] if kept.name != "journal.jsonl" else "dropped"
        assert finding.what.endswith(f"was {told}")
        assert (finding.round, finding.institution) == (2, institution)


def test_an_event_that_the_operator_adds(run, finished_run, node, tmp_path):
    """An index is complete up to its last block: what was not there then can't have come before."""

    def without_transactions(run: RunDirectory, records: Sequence[BlockRecord]) -> Sequence[BlockRecord]:
        return [*records[:-1], replace(records[-1], transactions=())]

    rewrite(run, tmp_path, without_transactions)
    kept = own_index(run, tmp_path)
    assert verify_run(run, against=[kept]).passed
    found = failures(verify_run(finished_run, rpc_url=node, against=[kept]))["anchors"].findings[0]
    assert found.what.startswith("Attested of block") and found.what.endswith("was not there")
    assert (found.round, found.expected) == (2, "no such event")


def test_what_a_party_kept_agrees_with_an_honest_chain(finished_run, node, kept):
    report = verify_run(finished_run, rpc_url=node, against=[kept])
    assert report.passed, report.sentence()
    (anchors,) = [outcome for outcome in report.outcomes if outcome.step == "anchors"]
    assert anchors.detail.endswith("1 files from outside the run agree")


def test_an_index_of_another_contract_is_named(finished_run, node, played, tmp_path):
    path = tmp_path / "other.sqlite"
    with EventIndex(path, played.coordinator) as index:
        index.sync()
    report = verify_run(finished_run, rpc_url=node, against=[path])
    assert failures(report)["anchors"].findings[0].what == "is of another contract"


@pytest.mark.parametrize("content", [b"", b"nonsense", b"{}", b"[]", b'[{"logs": []}]', b"SQLite format 3\0"])
def test_a_file_that_is_no_evidence_is_one_sentence(finished_run, node, tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=str(path)):
        verify_run(finished_run, rpc_url=node, against=[path])
    with pytest.raises(StoreError, match="can't be read"):
        verify_run(finished_run, rpc_url=node, against=[tmp_path / "absent"])


def test_a_chain_that_no_institution_holds_is_not_anchored(run, node):
    for folder in run.institutions():
        (folder / JOURNAL).unlink()
    report = verify_run(run, rpc_url=node, keep_going=True)
    (anchors,) = [outcome for outcome in report.outcomes if outcome.step == "anchors"]
    assert anchors.verdict is Verdict.NOT_CHECKED
    assert "nothing but its operator's word" in anchors.detail
