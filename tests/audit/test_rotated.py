"""An institution that was given another key is still held to what it did with the old one."""

import pytest
from audit_support import failures

from fedchest.audit.verify import verify_run
from fedchest.federation.directory import CONNECTION, JOURNAL, Connection, read_document
from fedchest.federation.party import open_ledger

pytestmark = pytest.mark.e2e


def test_a_journal_cut_off_before_what_a_former_key_did(make_federation):
    federation = make_federation()
    federation.run()
    folder = federation.directory.institution(3)
    ledger = open_ledger(folder, read_document(folder / CONNECTION, Connection))
    rotated = ledger.rotate_own_key("0x" + "33" * 20)
    federation.ledger.sync()
    journal = folder / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == rotated.block
    journal.write_bytes(b"".join(lines[: rotated.block // 2]))
    report = verify_run(federation.directory, rpc_url=federation.rpc_url, keep_going=True)
    (finding,) = failures(report)["completeness"].findings
    assert finding.expected == f"block {rotated.block}"
    assert finding.file == "institutions/003/journal.jsonl"
