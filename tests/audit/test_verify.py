"""An honest run passes, in every step; what can't be checked is never called passed."""

import hashlib
import json
from pathlib import Path

import pytest
from audit_support import failures
from small_federation import founded, small_settings

from fedchest.audit.report import Verdict
from fedchest.audit.verify import LAYERS, verify_run
from fedchest.errors import ChainError, ConfigError, StoreError
from fedchest.federation.directory import RunDirectory
from fedchest.protection.keys import create_sealing_key

pytestmark = pytest.mark.e2e


def tree(directory: RunDirectory) -> dict[Path, str]:
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.root.rglob("*")
        if path.is_file()
    }


def test_an_honest_run_passes_from_its_journals_alone_and_is_left_untouched(finished_run):
    before = tree(finished_run)
    heard = []
    report = verify_run(finished_run, on_step=heard.append)
    assert [outcome.verdict for outcome in report.outcomes] == [Verdict.PASSED] * sum(
        map(len, LAYERS.values())
    ), report.sentence()
    assert report.passed and report.exit_status == 0
    assert tuple(heard) == report.outcomes
    assert report.origin == "rebuilt from chain/journal.jsonl"
    assert tree(finished_run) == before


def test_an_honest_run_passes_against_a_node(finished_run, verify):
    assert verify(finished_run).passed


def test_a_refused_update_is_refused_again(finished_run, verify):
    (refusals,) = [outcome for outcome in verify(finished_run).outcomes if outcome.step == "refusals"]
    assert refusals.detail.startswith("1 refused updates are refused again")


def test_the_coordinators_key_opens_the_updates_too(finished_run, node):
    assert verify_run(finished_run, rpc_url=node, key=finished_run.coordinator / "sealing.key").passed


@pytest.mark.parametrize("kind", ["absent", "strange"])
def test_without_the_key_the_sum_is_not_checked(finished_run, node, tmp_path, kind):
    key = tmp_path / "other.key"
    if kind == "strange":
        create_sealing_key(key)
    report = verify_run(finished_run, rpc_url=node, key=key)
    skipped = {outcome.step for outcome in report.outcomes if outcome.verdict is Verdict.NOT_CHECKED}
    assert skipped == {"refusals", "aggregation"}
    assert not report.passed and report.exit_status == 3
    assert "incomplete" in report.sentence()


def test_the_first_wrong_thing_ends_it_and_keep_going_lists_all(run, node):
    """Three faults in three layers: another contract pinned, two damaged files, an edited figure."""
    pinned = run.institution(1) / "connection.json"
    pinned.write_text(json.dumps({**json.loads(pinned.read_bytes()), "contract": "0x" + "11" * 20}))
    damaged = sorted(run.artifacts.directory.iterdir())[:2]
    for path in damaged:
        path.write_bytes(path.read_bytes() + b"?")
    run.results.write_bytes(run.results.read_bytes().replace(b'"gas": ', b'"gas": 1', 1))

    first = verify_run(run, rpc_url=node)
    assert list(failures(first)) == ["contract"]
    assert len(failures(first)["contract"].findings) == 1
    steps = [outcome.step for outcome in first.outcomes]
    after = first.outcomes[steps.index("contract") + 1 :]
    assert {outcome.verdict for outcome in after} == {Verdict.NOT_CHECKED}
    assert all("stopped at the first wrong thing, in contract" in outcome.detail for outcome in after)
    assert first.exit_status == 1

    everything = verify_run(run, rpc_url=node, keep_going=True)
    found = failures(everything)
    assert {"contract", "artifacts", "results"} <= set(found)
    files = {finding.file for finding in found["artifacts"].findings}
    assert files == {f"artifacts/{path.name}" for path in damaged}
    assert everything.exit_status == 1


def test_every_finding_says_what_was_expected_and_found(run, node):
    path = sorted(run.artifacts.directory.iterdir())[0]
    path.write_bytes(b"?")
    (finding,) = verify_run(run, rpc_url=node, keep_going=False).to_json()["steps"][
        list_of_steps().index("artifacts")
    ]["findings"]
    assert finding["expected"] == "0x" + path.name
    assert finding["found"] == "other bytes"
    assert finding["file"] == f"artifacts/{path.name}"


def list_of_steps() -> list[str]:
    return [name for steps in LAYERS.values() for name in steps]


def test_the_layers_say_which_could_be_checked_and_why_not(finished_run, node, tmp_path):
    report = verify_run(finished_run, rpc_url=node, key=tmp_path / "no.key")
    layers = {entry["layer"]: entry for entry in report.to_json()["layers"]}
    assert [layers[name]["verdict"] for name in ("chain", "artifacts", "computation")] == [
        "passed",
        "passed",
        "not checked",
    ]
    assert "the sealed updates can't be opened" in layers["computation"]["detail"]
    assert report.exit_status == 3


def test_a_run_that_has_not_ended_is_not_called_passed(run, verify):
    run.results.unlink()
    report = verify(run)
    assert report.outcomes[-1].verdict is Verdict.NOT_CHECKED
    assert report.exit_status == 3


def test_a_missing_run_is_one_sentence(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        verify_run(RunDirectory(tmp_path / "nowhere"))


def test_a_dead_address_is_one_sentence(finished_run):
    with pytest.raises(ChainError, match="No Ethereum node answers"):
        verify_run(finished_run, rpc_url="http://127.0.0.1:9")


def test_a_run_on_another_chain_asks_for_its_address(run):
    settings = run.settings.read_text().replace('"rpc": null', '"rpc": "http://example.test"')
    run.settings.write_text(settings.replace('"rpc":null', '"rpc":"http://example.test"'))
    with pytest.raises(ConfigError, match="--rpc"):
        verify_run(run)


@pytest.mark.slow
def test_a_chain_kept_by_ganache_is_read_from_a_copy(cohort_folder, image_cache, tmp_path):
    settings = small_settings(cohort_folder, tmp_path / "run", image_cache, {"chain": {"chain": "ganache"}})
    with founded(settings) as federation:
        federation.run()
    before = tree(federation.directory)
    report = verify_run(federation.directory)
    assert report.origin == "a copy of the chain's database, not rebuilt"
    skipped = {outcome.step for outcome in report.outcomes if outcome.verdict is not Verdict.PASSED}
    assert skipped == {"results"}, report.sentence()
    assert tree(federation.directory) == before
