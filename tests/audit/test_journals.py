"""The audit reads journals strictly: no byte of one can change unnoticed, and none is repaired."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedchest.audit.journals import PartyJournal, read_journals
from fedchest.federation.directory import RunDirectory
from fedchest.ledger.journal import BlockRecord

RECORDS = tuple(
    BlockRecord(number, 1_700_000_000 + number, bytes([number]) * 32, (b"\xab" * 9,) * (number % 3))
    for number in range(1, 6)
)
CONTENT = b"".join(record.to_line() for record in RECORDS)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    directory = RunDirectory(tmp_path_factory.mktemp("run"))
    directory.chain.mkdir()
    return directory


def read(directory: RunDirectory, content: bytes) -> PartyJournal:
    path = directory.chain / "journal.jsonl"
    path.write_bytes(content)
    own, *others = read_journals(directory)
    assert path.read_bytes() == content
    assert all(journal.height == 0 for journal in others)
    return own


def test_a_journal_as_it_was_written(directory):
    assert read(directory, CONTENT) == PartyJournal("chain/journal.jsonl", RECORDS, None)


def test_absent_journals_are_empty_and_stay_absent(tmp_path):
    directory = RunDirectory(tmp_path)
    assert all(journal.height == 0 and journal.fault is None for journal in read_journals(directory))
    assert list(Path(tmp_path).iterdir()) == []


@given(position=st.integers(0, len(CONTENT) - 1), mask=st.integers(1, 255))
def test_a_changed_byte_changes_what_is_read(directory, position, mask):
    changed = bytearray(CONTENT)
    changed[position] ^= mask
    journal = read(directory, bytes(changed))
    assert journal.fault is not None or journal.records != RECORDS


@given(end=st.integers(0, len(CONTENT) - 1))
def test_a_journal_cut_anywhere_is_the_beginning_of_itself(directory, end):
    journal = read(directory, CONTENT[:end])
    assert journal.fault is None
    assert journal.records == RECORDS[: CONTENT[:end].count(b"\n")]


@pytest.mark.parametrize("line", [b"{}", b"[]", b"null", b"7", b"nonsense", b"\xff", b""])
def test_a_line_that_is_no_record_is_named(directory, line):
    journal = read(directory, RECORDS[0].to_line() + line + b"\n")
    assert journal.fault == "line 2 is not a block record"


def test_a_line_out_of_order_is_named(directory):
    journal = read(directory, RECORDS[0].to_line() + RECORDS[2].to_line())
    assert journal.fault == "line 2 holds block 3"


@pytest.mark.parametrize(("plain", "other"), [(b"abab", b"ABab"), (b'"0xab', b'"1xab'), (b", ", b",  ")])
def test_the_same_record_written_in_another_way_is_none(directory, plain, other):
    line = RECORDS[1].to_line()
    assert plain in line
    journal = read(directory, RECORDS[0].to_line() + line.replace(plain, other, 1))
    assert journal.fault == "line 2 is not a block record"
