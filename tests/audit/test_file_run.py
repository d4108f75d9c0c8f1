"""A run on a file ledger, audited: what holds is checked by the same steps, what is changed is found, and named."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from audit_support import failures
from small_federation import founded, small_settings

from fedchest.audit.bundling import bundle_run
from fedchest.audit.opening import open_trail
from fedchest.audit.queries import Selection
from fedchest.audit.signing import load_signer
from fedchest.audit.source import run_contract
from fedchest.audit.verify import verify_run
from fedchest.errors import ConfigError
from fedchest.federation.directory import JOURNAL, LEDGER, WALLET, RunDirectory
from fedchest.federation.results import collect, write_results
from fedchest.ledger.file.entry import Entry
from fedchest.ledger.file.replay import replayed
from fedchest.ledger.wallet import Wallet

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def file_run(
    tmp_path_factory: pytest.TempPathFactory, cohort_folder: Path, image_cache: Path
) -> RunDirectory:
    """One finalized round of 4 hospitals, with DP on."""
    out = tmp_path_factory.mktemp("file") / "run"
    sections = {"chain": {"chain": "file"}, "privacy": {"dp": True}}
    with founded(small_settings(cohort_folder, out, image_cache, sections)) as federation:
        federation.run()
        results = collect(federation.directory, federation.study, federation.ledger, federation.settings, {})
        write_results(federation.directory, results)
    return federation.directory


@pytest.fixture
def run(file_run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy to tamper with."""
    return RunDirectory(Path(shutil.copytree(file_run.root, tmp_path / "run")))


def files(run: RunDirectory) -> list[Path]:
    """The ledger and every party's copy of it."""
    return [run.chain / LEDGER, *(folder / JOURNAL for folder in run.parties())]


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def cut(path: Path, last: int) -> None:
    path.write_bytes(b"".join(lines(path)[:-last]))


def edited(path: Path) -> None:
    """The last entry says another epsilon, or the like: one bit of what was signed."""
    *before, last = lines(path)
    entry = Entry.from_line(last.rstrip())
    changed = replace(entry, call=entry.call[:-1] + ("1" if entry.call[-1] != "1" else "2"))
    path.write_bytes(b"".join([*before, changed.to_line() + b"\n"]))


def forked(run: RunDirectory, path: Path) -> None:
    """Another end of the history, signed by the institution whose entry was the last: dated a second later."""
    *before, last = lines(path)
    entry = Entry.from_line(last.rstrip())
    wallets = [Wallet.load(folder / WALLET) for folder in (run.coordinator, *run.institutions())]
    (signer,) = (wallet for wallet in wallets if wallet.address == entry.sender)
    address = replayed([line.rstrip() for line in before], entry.time).address
    other = replace(entry, time=entry.time + 1).signed(signer, address)
    path.write_bytes(b"".join([*before, other.to_line() + b"\n"]))


def test_every_step_is_carried_out_and_says_what_a_file_does_not_show(file_run: RunDirectory) -> None:
    before = {path: path.read_bytes() for path in file_run.root.rglob("*") if path.is_file()}
    report = verify_run(file_run)
    assert report.exit_status == 0, report.sentence()
    said = {outcome.step: outcome.detail for outcome in report.outcomes}
    assert "link and are each signed" in said["blocks"]
    assert "no code is pinned" in said["contract"]
    assert "no contract's code" in said["constructor"]
    assert {path: path.read_bytes() for path in file_run.root.rglob("*") if path.is_file()} == before


INSTITUTION = "institutions/001/journal.jsonl"

CHANGES: dict[str, tuple[Callable[[RunDirectory], object], str, str]] = {
    "an edited entry in the ledger": (
        lambda run: edited(run.chain / LEDGER),
        "journals",
        "chain/ledger.jsonl",
    ),
    "an edited entry in a copy": (
        lambda run: edited(run.root / INSTITUTION),
        "journals",
        INSTITUTION,
    ),
    "a copy that ends before its owner's last action": (
        lambda run: cut(run.root / INSTITUTION, 4),
        "completeness",
        INSTITUTION,
    ),
    "a line that is no entry": (
        lambda run: (run.root / INSTITUTION).write_bytes(b"{}\n"),
        "journals",
        INSTITUTION,
    ),
    "a fork": (
        lambda run: forked(run, run.root / INSTITUTION),
        "journals",
        INSTITUTION,
    ),
    "all ends cut off alike": (
        lambda run: [cut(path, 1) for path in files(run)],
        "results",
        "results.json",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_is_found_and_named(run: RunDirectory, change: str) -> None:
    make, step, file = CHANGES[change]
    for path in files(run):
        path.write_bytes((run.chain / LEDGER).read_bytes())  # as after a last sync of everybody
    make(run)
    found = failures(verify_run(run, keep_going=True))
    assert step in found
    assert found[step].findings[0].file == file


def test_an_entry_that_is_edited_everywhere_leaves_no_ledger(run: RunDirectory) -> None:
    for path in files(run):
        path.write_bytes((run.chain / LEDGER).read_bytes())
        edited(path)
    found = failures(verify_run(run, keep_going=True))
    assert "is not signed by" in found["journals"].detail


def test_a_history_that_was_rewritten_everywhere_is_found_by_a_copy_elsewhere(
    run: RunDirectory, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.jsonl"
    shutil.copy(run.chain / LEDGER, kept)
    for path in files(run):
        path.write_bytes(kept.read_bytes())
        forked(run, path)
    found = failures(verify_run(run, against=[kept], keep_going=True))
    assert found["anchors"].findings[0].file == str(kept)


def test_the_trail_is_asked_as_any_other(file_run: RunDirectory) -> None:
    with open_trail(file_run.root) as trail:
        (round,) = trail.rounds(Selection())
        assert (round["phase"], round["accepted"]) == ("FINALIZED", 4)
        assert [row["share"] for row in trail.rewards(Selection())] == [0.25] * 4


def test_what_needs_a_chain_says_so(file_run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no block headers"), run_contract(file_run):
        pass
    with pytest.raises(ConfigError, match="leave --rpc out"):
        verify_run(file_run, rpc_url="http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="ledger is a file"):
        bundle_run(file_run, tmp_path / "bundle", load_signer(file_run.coordinator / WALLET))
