"""The ledger in a file under attack, and under crashes: what nobody honest wrote is named, what is torn is dropped."""

import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest
from studies import CONFIG, RULES, StudyInFile

from fedchest.errors import ChainError, StoreError, TamperError
from fedchest.ledger.calls import encoded_call
from fedchest.ledger.file.entry import Entry
from fedchest.ledger.file.ledger import FileLedger, create_file_ledger
from fedchest.ledger.file.replay import CLOCK_TOLERANCE
from fedchest.ledger.opening import open_ledger
from fedchest.ledger.records import Phase
from fedchest.ledger.wallet import Wallet


@pytest.fixture
def study(tmp_path: Path) -> StudyInFile:
    """Founded, with a round open in which institution 0 has submitted."""
    made = StudyInFile(tmp_path)
    made.submit(0, made.coordinator.open_round(CONFIG))
    return made


def entries(path: Path) -> list[Entry]:
    return [Entry.from_line(line) for line in path.read_bytes().splitlines()]


def write(path: Path, lines: list[Entry]) -> None:
    path.write_bytes(b"".join(line.to_line() + b"\n" for line in lines))


def next_entry(study: StudyInFile, wallet: Wallet, name: str, *arguments: object, **changes: object) -> Entry:
    """What the wallet's owner may append, but for the `changes` that it makes before it signs."""
    last = entries(study.path)[-1]
    call = "0x" + encoded_call(name, arguments).hex()
    entry = Entry(last.number + 1, int(study.now()), "0x" + last.hash.hex(), wallet.address, call)
    return replace(entry, **changes).signed(wallet, study.address)  # type: ignore[arg-type]


def append(study: StudyInFile, entry: Entry) -> None:
    with study.path.open("ab") as file:
        file.write(entry.to_line() + b"\n")


# What whoever can write to the file may try.


def test_an_edited_entry_is_found(study: StudyInFile) -> None:
    lines = entries(study.path)
    submission = bytearray.fromhex(lines[-1].call[2:])
    submission[-1] ^= 1  # epsilon
    write(study.path, [*lines[:-1], replace(lines[-1], call="0x" + submission.hex())])
    with pytest.raises(TamperError, match=f"Entry {len(lines)} is not signed by {study.wallets[0].address}"):
        study.open()


def test_an_edited_entry_in_the_middle_breaks_the_next_ones_link(study: StudyInFile) -> None:
    lines = entries(study.path)
    write(study.path, [*lines[:4], next_of(study, lines[3], lines[4]), *lines[5:]])
    with pytest.raises(TamperError, match="Entry 6 does not follow entry 5"):
        study.open()


def next_of(study: StudyInFile, before: Entry, entry: Entry) -> Entry:
    """The same action, signed a second later by the coordinator: a history that it would have liked better."""
    return replace(entry, time=before.time + 1).signed(study.wallet, study.address)


def test_a_removed_entry_is_found(study: StudyInFile) -> None:
    lines = entries(study.path)
    write(study.path, [*lines[:6], *lines[7:]])
    with pytest.raises(TamperError, match="Entry 7 says that it is entry 8"):
        study.open()


def test_swapped_entries_are_found(study: StudyInFile) -> None:
    lines = entries(study.path)
    swapped = [replace(lines[7], number=7), replace(lines[6], number=8)]
    write(study.path, [*lines[:6], *swapped, *lines[8:]])
    with pytest.raises(TamperError, match="Entry 7 does not follow entry 6"):
        study.open()


def test_a_forged_signature_is_found(study: StudyInFile) -> None:
    """The operator of the file writes as an institution whose key it has not got."""
    attacker = study.wallet
    entry = next_entry(study, attacker, "rotateOwnKey", attacker.address, sender=study.wallets[1].address)
    append(study, entry)
    with pytest.raises(TamperError, match=f"is not signed by {study.wallets[1].address}"):
        study.institutions[0].global_model()


def test_the_second_form_of_a_signature_is_refused(study: StudyInFile) -> None:
    """Or whoever copies an entry could give it another hash."""
    entry = next_entry(study, study.wallet, "abandonRound", 1, [])
    signature = bytes.fromhex(entry.signature[2:])
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    s, v = order - int.from_bytes(signature[32:64]), 27 + 28 - signature[64]
    append(study, replace(entry, signature="0x" + (signature[:32] + s.to_bytes(32) + bytes([v])).hex()))
    with pytest.raises(TamperError, match="is not signed"):
        study.open()


def test_another_wallets_action_is_refused_by_the_rules(study: StudyInFile) -> None:
    append(study, next_entry(study, study.wallets[2], "abandonRound", 1, []))
    with pytest.raises(TamperError, match=r"the rules forbid: .*AccessControlUnauthorizedAccount"):
        study.open()


def test_a_decision_is_not_to_be_had_without_the_quorum(study: StudyInFile) -> None:
    append(study, next_entry(study, study.wallets[2], "suspendInstitution", 1))
    with pytest.raises(TamperError, match=r"the rules forbid: .*AccessControlUnauthorizedAccount"):
        study.open()


@pytest.mark.parametrize(
    "call", ["0x", "0x01020304", "0x" + encoded_call("abandonRound", (1, ())).hex() + "00"]
)
def test_an_action_that_is_none_is_refused(study: StudyInFile, call: str) -> None:
    append(study, next_entry(study, study.wallet, "pause", call=call))
    with pytest.raises(TamperError, match=r"the rules forbid: .*UnknownError"):
        study.open()


def test_an_entry_before_its_forerunners_time_is_back_dated(study: StudyInFile) -> None:
    last = entries(study.path)[-1]
    append(study, next_entry(study, study.wallet, "abandonRound", 1, [], time=last.time - 1))
    with pytest.raises(TamperError, match="back-dated: the one before it is later"):
        study.open()


def test_an_entry_that_was_not_there_at_its_time_is_back_dated(study: StudyInFile) -> None:
    """A submission after the deadline, dated before it: whoever looked in between knows better."""
    deadline = study.coordinator.round(1).deadline
    study.advance(RULES.submission_seconds + CLOCK_TOLERANCE + 2)
    watcher = study.open()
    update = study.update(1, 1)
    append(study, next_entry(study, study.wallets[1], "submitUpdate", update, time=deadline))
    with pytest.raises(TamperError, match="back-dated: it was not there at its time"):
        watcher.submissions(1)
    assert 1 in study.open().submissions(1)  # who comes later can't tell


def test_an_entry_from_the_future_is_refused(study: StudyInFile) -> None:
    late = int(study.now()) + CLOCK_TOLERANCE + 100
    append(study, next_entry(study, study.wallet, "abandonRound", 1, [], time=late))
    with pytest.raises(TamperError, match="seconds in the future"):
        study.open()


def test_an_entry_for_another_ledger_is_refused(study: StudyInFile, tmp_path: Path) -> None:
    """The same wallets and rules: an action of one study is none of another's."""
    (tmp_path / "other").mkdir()
    other = StudyInFile(tmp_path / "other", wallet=study.wallet)
    stolen = entries(other.path)[1]
    lines = entries(study.path)
    place = {"number": 2, "previous": "0x" + lines[0].hash.hex(), "time": lines[0].time}
    moved = replace(stolen, **place)  # type: ignore[arg-type]
    write(study.path, [lines[0], moved])
    with pytest.raises(TamperError, match="Entry 2 is not signed by"):
        study.open()
    # Not even an entry that says all else of this place holds here, when it was signed for that one.
    write(study.path, [lines[0], moved.signed(study.wallet, other.address)])
    with pytest.raises(TamperError, match="Entry 2 is not signed by"):
        study.open()


def test_another_ledger_in_the_place_is_not_the_pinned_one(study: StudyInFile, tmp_path: Path) -> None:
    study.path.unlink()
    create_file_ledger(study.path, study.wallet, study.rules)
    with pytest.raises(ChainError, match=f"not {study.address}"):
        study.open()


def spoilt(line: bytes) -> list[bytes]:
    """Lines that mean an entry to a careless reader, or break one."""
    fields = json.loads(line)
    return [
        b"{}",
        b"[" * 100_000,
        b"\xff",
        json.dumps(fields).encode(),  # with spaces
        json.dumps({**fields, "more": 1}, separators=(",", ":")).encode(),
        line.replace(b'"time":', b'"time":true,"time":'),
        json.dumps({**fields, "number": str(fields["number"])}, separators=(",", ":")).encode(),
        json.dumps({**fields, "call": None}, separators=(",", ":")).encode(),
        json.dumps({**fields, "call": fields["call"].upper()}, separators=(",", ":")).encode(),
        json.dumps({**fields, "sender": fields["sender"].lower()}, separators=(",", ":")).encode(),
        json.dumps({**fields, "signature": "0x"}, separators=(",", ":")).encode(),
    ]


@pytest.mark.parametrize("number", range(11))
def test_a_line_of_another_form_is_one_sentence(study: StudyInFile, number: int) -> None:
    *lines, last = study.path.read_bytes().splitlines()
    study.path.write_bytes(b"\n".join([*lines, spoilt(last)[number]]) + b"\n")
    with pytest.raises(TamperError, match=f"Entry {len(lines) + 1} "):
        study.open()


# What only a party's copy shows: the file alone is whole.


def keeping(study: StudyInFile, name: str = "copy.jsonl") -> FileLedger:
    """A party that has kept all that is in the file."""
    ledger = study.open(journal=study.path.with_name(name))
    ledger.sync()
    return ledger


def test_a_truncated_tail_is_found_by_any_partys_copy(study: StudyInFile) -> None:
    keeping(study)
    lines = entries(study.path)
    write(study.path, lines[:-1])
    study.open()  # who has no copy can't tell
    with pytest.raises(
        TamperError, match=rf"ends before what is recorded in .*: entry {len(lines)} is missing"
    ):
        keeping(study)


def test_a_truncated_tail_is_found_by_who_has_the_file_open(study: StudyInFile) -> None:
    write(study.path, entries(study.path)[:-1])
    with pytest.raises(TamperError, match="was cut or rewritten"):
        study.institutions[0].current_round()


def test_a_rewritten_history_is_found_by_any_partys_copy(study: StudyInFile) -> None:
    """Signed by those whose entries it holds, and linked: as when the coordinator opens the round again."""
    keeping(study)
    lines = entries(study.path)
    write(study.path, lines[:-2])
    again = next_entry(study, study.wallet, "openRound", CONFIG, time=lines[-1].time + 1)
    append(study, again)
    study.open()
    with pytest.raises(TamperError, match=f"entry {len(lines) - 1} differs"):
        keeping(study)


def test_a_fork_is_found_when_two_readers_compare(study: StudyInFile, tmp_path: Path) -> None:
    """Whoever holds the file shows one half of the hospitals another end than the other half."""
    prefix = study.path.read_bytes()
    keeping(study, "one.jsonl")
    study.coordinator.abandon(1, {})
    keeping(study, "one.jsonl")
    study.path.write_bytes(prefix)
    study.advance(1)
    append(study, next_entry(study, study.wallet, "abandonRound", 1, [(2, 1)]))
    keeping(study, "other.jsonl")
    with pytest.raises(TamperError, match="differs"):
        keeping(study, "one.jsonl")


# Crashes.


def test_a_torn_last_line_does_not_count_and_is_cut(
    study: StudyInFile, caplog: pytest.LogCaptureFixture
) -> None:
    whole = study.path.read_bytes()
    torn = next_entry(study, study.wallet, "abandonRound", 1, [(2, 1), (3, 1)]).to_line()
    for size in (1, len(torn) // 2, len(torn)):
        study.path.write_bytes(whole + torn[:size])
        assert study.open().round(1).phase is Phase.SUBMITTING
    with caplog.at_level(logging.WARNING):
        study.institutions[2].pause()
    assert "cut off while it was written" in caplog.text
    assert study.open().supporters("pause") == (2,)
    assert len(study.path.read_bytes()) < len(whole + torn)  # nothing of it is left behind the shorter one


def test_a_torn_copy_is_completed(study: StudyInFile) -> None:
    path = study.path.with_name("copy.jsonl")
    keeping(study)
    path.write_bytes(path.read_bytes()[:-10])
    keeping(study)
    assert path.read_bytes() == study.path.read_bytes()


def test_an_entry_that_could_not_be_written_did_not_happen(
    study: StudyInFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk: what the party applied for itself is forgotten."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = study.path.read_bytes()
    with pytest.raises(StoreError, match="No space left"):
        study.submit(1, 1)
    monkeypatch.undo()
    study.path.write_bytes(before)
    assert sorted(study.institutions[1].submissions(1)) == [0]
    study.submit(1, 1)


def test_the_file_is_never_begun_twice(study: StudyInFile) -> None:
    with pytest.raises(StoreError, match="exists already"):
        create_file_ledger(study.path, study.wallet, study.rules)


def test_a_ledger_that_is_not_there_is_one_sentence(study: StudyInFile) -> None:
    study.path.unlink()
    with pytest.raises(StoreError, match="can't be opened"):
        study.open()


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b%20c#d?é"
    folder.mkdir()
    study = StudyInFile(folder)
    assert open_ledger(study.url, study.address).current_round() == 0
