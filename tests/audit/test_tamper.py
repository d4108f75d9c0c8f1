"""Whatever is changed in a finished run is found, and the file is named."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_support import LIAR, failures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedchest.audit.case import Case
from fedchest.audit.report import Fault, Verdict
from fedchest.audit.source import chain_source
from fedchest.audit.steps.artifacts.files import artifacts
from fedchest.audit.steps.chain.journals import completeness, journals
from fedchest.audit.steps.computation.results import results
from fedchest.audit.verify import verify_run
from fedchest.errors import StoreError
from fedchest.federation.directory import RunDirectory
from fedchest.ledger.journal import BlockRecord

pytestmark = pytest.mark.e2e

CHAIN, COORDINATOR, INSTITUTION = (
    "chain/journal.jsonl",
    "coordinator/journal.jsonl",
    "institutions/001/journal.jsonl",
)


@pytest.fixture(scope="module")
def store_case(
    finished_run: RunDirectory, node: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    """A case on a copy of the run, for tests that undo what they did to its artifact store."""
    root = tmp_path_factory.mktemp("store") / "run"
    shutil.copytree(finished_run.root, root)
    directory = RunDirectory(root)
    with chain_source(directory, node) as source:
        yield Case(directory, source, directory.auditor / "sealing.key")


def kinds_of_artifacts(case: Case) -> dict[str, bytes]:
    """One artifact of every kind that a run has."""
    (approved,) = case.events_of("InitialModelApproved")
    first = case.rounds[0]
    accepted, refused = case.submissions(1)[0], case.record(first).entries[LIAR]
    return {
        "initial model": approved.values["model"],
        "provenance": approved.values["provenance"],
        "new model": first.new_model,
        "record": first.record,
        "sealed update": accepted.sealed_hash,
        "manifest": accepted.manifest_hash,
        "refused sealed update": bytes.fromhex(refused.sealed),
        "manifest of the refused": bytes.fromhex(refused.manifest),
        "never received, but committed": case.submissions(1)[LIAR].sealed_hash,
    }


def flip(path: Path, position: int = -1, mask: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= mask
    path.write_bytes(content)


# The artifact store.


@pytest.mark.parametrize(
    "kind",
    [
        "initial model",
        "provenance",
        "new model",
        "record",
        "sealed update",
        "manifest",
        "refused sealed update",
        "manifest of the refused",
        "never received, but committed",
    ],
)
def test_a_changed_byte_in_an_artifact_of_any_kind(store_case, kind):
    path = store_case.directory.artifacts.path(kinds_of_artifacts(store_case)[kind])
    before = path.read_bytes()
    flip(path, len(before) // 2)
    with pytest.raises(Fault, match=path.name):
        artifacts(store_case)
    path.write_bytes(before)
    artifacts(store_case)


@pytest.mark.parametrize("kind", ["initial model", "provenance", "record", "sealed update", "manifest"])
def test_a_missing_artifact(store_case, kind):
    path = store_case.directory.artifacts.path(kinds_of_artifacts(store_case)[kind])
    before = path.read_bytes()
    path.unlink()
    with pytest.raises(Fault, match=rf"{path.name}.* is missing"):
        artifacts(store_case)
    path.write_bytes(before)


def test_bytes_that_may_never_have_arrived_are_counted_when_absent(store_case):
    path = store_case.directory.artifacts.path(
        kinds_of_artifacts(store_case)["never received, but committed"]
    )
    before = path.read_bytes()
    path.unlink()
    assert artifacts(store_case).endswith("1 committed to but not accepted are absent")
    path.write_bytes(before)
    assert "absent" not in artifacts(store_case)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_any_artifact_is_found(store_case, data):
    files = sorted(store_case.directory.artifacts.directory.iterdir())
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    position = data.draw(st.integers(0, len(before) - 1))
    flip(path, position, data.draw(st.integers(1, 255)))
    try:
        with pytest.raises(Fault, match=path.name):
            artifacts(store_case)
    finally:
        path.write_bytes(before)


def test_swapped_artifacts(run, verify):
    first, second = sorted(run.artifacts.directory.iterdir())[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    report = verify(run)
    # A model is named twice: by the round that made it and by the one that starts from it.
    found = {finding.file for finding in failures(report)["artifacts"].findings}
    assert found == {f"artifacts/{first.name}", f"artifacts/{second.name}"}
    assert report.exit_status == 1


@pytest.mark.parametrize("name", ["notes.txt", "A" * 64, ".hidden"])
def test_a_foreign_file_in_the_store(run, verify, name):
    (run.artifacts.directory / name).write_bytes(b"")
    assert failures(verify(run))["artifacts"].where["file"] == f"artifacts/{name}"


def test_a_record_that_is_edited_and_renamed_to_its_hash(run, verify, store_case):
    """The edit is self-consistent in the store; the chain still names the record that is gone."""
    path = run.artifacts.path(kinds_of_artifacts(store_case)["record"])
    edited = path.read_bytes().replace(b'"reason":4', b'"reason":0')
    path.unlink()
    run.artifacts.put(edited)
    found = failures(verify(run))["artifacts"]
    assert "the round's record is missing" in found.detail
    assert found.where["round"] == 1


# Journals, against the chain rebuilt from the others.


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def drop(number: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda found: [*found[:number], *found[number:][1:]] if number >= 0 else found[:-1]


def swap(found: list[bytes]) -> list[bytes]:
    return [found[0], found[2], found[1], *found[3:]]


def later(found: list[bytes]) -> list[bytes]:
    fields = json.loads(found[5])
    return [
        *found[:5],
        json.dumps({**fields, "timestamp": fields["timestamp"] + 1}).encode() + b"\n",
        *found[6:],
    ]


def another_hash(found: list[bytes]) -> list[bytes]:
    fields = json.loads(found[5])
    return [*found[:5], json.dumps({**fields, "hash": "0x" + "00" * 32}).encode() + b"\n", *found[6:]]


def without_transactions(found: list[bytes]) -> list[bytes]:
    fields = json.loads(found[5])
    return [*found[:5], json.dumps({**fields, "transactions": []}).encode() + b"\n", *found[6:]]


def rewritten(found: list[bytes]) -> list[bytes]:
    """Another way to write the same record is not what a journal writes."""
    return [found[0].replace(b": ", b":"), *found[1:]]


def extended(found: list[bytes]) -> list[bytes]:
    last = BlockRecord.from_line(found[-1])
    return [*found, BlockRecord(last.number + 1, last.timestamp + 1, bytes(32), ()).to_line()]


CHANGES = {
    "first line dropped": drop(0),
    "middle line dropped": drop(7),
    "last line dropped": drop(-1),
    "lines swapped": swap,
    "timestamp": later,
    "hash": another_hash,
    "transactions dropped": without_transactions,
    "rewritten": rewritten,
    "block added": extended,
    "emptied": lambda found: [],
}


def first_fault(run: RunDirectory, rpc_url: str | None = None) -> Fault:
    """The first fault of the steps that look at journals; the chain is rebuilt unless there is a node."""
    with chain_source(run, rpc_url) as source:
        case = Case(run, source, run.auditor / "sealing.key")
        for step in (journals, completeness, results):
            try:
                step(case)
            except Fault as fault:
                return fault
    raise AssertionError("nothing was found")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_of_the_chains_own_journal(run, change):
    """It is the longest, and what the chain would be rebuilt from: the others are there to contradict it."""
    path = run.root / CHAIN
    path.write_bytes(b"".join(change(lines(path))))
    assert first_fault(run).where["file"] == CHAIN


@pytest.mark.parametrize("name", [COORDINATOR, INSTITUTION])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_of_a_partys_journal(run, node, name, change):
    path = run.root / name
    path.write_bytes(b"".join(change(lines(path))))
    assert first_fault(run, node).where["file"] == name


def test_a_missing_journal(run, node):
    (run.root / INSTITUTION).unlink()
    assert first_fault(run, node).where["file"] == INSTITUTION


def test_all_journals_cut_to_one_length(run):
    """Nobody has the last blocks any more; the head in results.json tells."""
    for path in run.root.rglob("journal.jsonl"):
        path.write_bytes(b"".join(lines(path)[:9]))
    with chain_source(run) as source, pytest.raises(Fault, match=r"results\.json: names block"):
        results(Case(run, source, run.auditor / "sealing.key"))


def test_all_journals_with_one_transaction_left_out(run):
    """The same forged history in every journal does not reproduce."""
    for path in run.root.rglob("journal.jsonl"):
        path.write_bytes(b"".join(without_transactions(lines(path))))
    report = verify_run(run, keep_going=True)
    assert "does not reproduce" in failures(report)["journals"].detail
    assert all(outcome.verdict is not Verdict.PASSED for outcome in report.outcomes)
    assert report.exit_status == 1


# Documents.


def test_an_edited_study(run, verify):
    run.study.write_bytes(run.study.read_bytes().replace(b'"rounds":2', b'"rounds":3'))
    report = verify(run)
    assert failures(report)["contract"].where["file"] == "study.json"
    assert list(failures(report)) == ["contract"], "the other parties' copies serve for the rest"


def test_studies_edited_alike(run, verify):
    for path in run.root.rglob("study.json"):
        path.write_bytes(path.read_bytes().replace(b'"rounds":2', b'"rounds":3'))
    assert verify(run).exit_status == 1


@pytest.mark.parametrize("party", ["auditor", "coordinator", "institutions/002"])
def test_another_contract_pinned(run, verify, party):
    path = run.root / party / "connection.json"
    pinned = json.loads(path.read_bytes())
    path.write_text(json.dumps({**pinned, "contract": "0x" + "11" * 20}))
    report = verify(run)
    assert party in failures(report)["contract"].detail or party == "auditor"
    assert report.exit_status == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff"])
@pytest.mark.parametrize("name", ["results.json", "coordinator/rounds.json", "auditor/connection.json"])
def test_a_damaged_document(run, verify, name, content):
    (run.root / name).write_bytes(content)
    report = verify(run)
    assert any(name in outcome.detail for outcome in failures(report).values())
    assert report.exit_status == 1


def leaves(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places of the numbers, strings and booleans in a JSON tree."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if children is None:
        yield place
        return
    for key, child in children:
        yield from leaves(child, (*place, key))


UNCHECKED = ("local_only_auroc", "reproducible_noise")


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_edited_figure_in_the_results(store_case, data):
    path = store_case.directory.results
    before = path.read_bytes()
    tree = json.loads(before)
    place = data.draw(st.sampled_from([p for p in leaves(tree) if p[-1] not in UNCHECKED]))
    holder = tree
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = edited(holder[place[-1]])
    path.write_text(json.dumps(tree))
    try:
        with pytest.raises((Fault, StoreError), match=r"results\.json"):
            results(store_case)
    finally:
        path.write_bytes(before)


def edited(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1] != "0" else "1")
    return 1 if value is None else value + 1


@pytest.mark.parametrize("damage", ["none", "flipped", "swapped"])
def test_copies_of_the_models(run, verify, store_case, damage):
    for state in store_case.rounds:
        path = run.models / f"round-{state.number:03d}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(run.artifacts.get(state.new_model))
    first, second = sorted(run.models.iterdir())
    if damage == "flipped":
        flip(first)
    if damage == "swapped":
        first.write_bytes(second.read_bytes())
    found = failures(verify(run))
    assert list(found) == ([] if damage == "none" else ["results"])
    if found:
        assert found["results"].where["file"] == "models/round-001.safetensors"
