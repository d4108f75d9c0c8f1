"""The verify button: it finds what `verify` finds, one at a time, and leaves nothing behind."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from test_explorer_pages import text_of

from fedchest.audit.report import Outcome, Report
from fedchest.audit.verify import LAYERS, verify_run
from fedchest.federation.directory import RunDirectory
from fedchest.reporting.explorer.app import explorer
from fedchest.reporting.explorer.concealing import concealing, run_names
from fedchest.reporting.explorer.verification import State, Verification, Verify

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ENDS_WITHIN_SECONDS = 120
STEPS = [name for steps in LAYERS.values() for name in steps]


@contextmanager
def closing(verify: Verify) -> Iterator[Verification]:
    verification = Verification(verify)
    try:
        yield verification
    finally:
        verification.close()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + ENDS_WITHIN_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def ended(client: TestClient) -> str:
    """The verify page once nothing is running."""
    until(lambda: "http-equiv" not in client.get("/verify").text)
    return client.get("/verify").text


def client_of(index: Path, run: RunDirectory, verification: Verification) -> TestClient:
    conceal = concealing(run_names(run.root, None, None))
    return TestClient(explorer(index, verification, conceal), base_url="http://127.0.0.1:8765")


def test_a_sound_run_passes_in_three_layers(finished_run, played_index):
    before = {path: path.stat().st_mtime_ns for path in finished_run.root.rglob("*")}
    with closing(partial(verify_run, finished_run)) as verification:
        client = client_of(played_index, finished_run, verification)
        assert text_of(client.get("/verify").text).count("not run yet") == len(STEPS) + 3
        answer = client.post("/verify")
        assert answer.history[0].status_code == 303  # so that reloading does not start it again
        assert '<meta http-equiv="refresh"' in answer.text
        shown = text_of(ended(client))
    for layer in ("1. Chain passed", "2. Artifacts passed", "3. Computation passed"):
        assert layer in shown
    for step in STEPS:
        assert f"passed {step} " in shown
    assert "The audit passed" in shown
    assert {path: path.stat().st_mtime_ns for path in finished_run.root.rglob("*")} == before


def test_what_is_wrong_is_shown_where_it_is_and_no_folder_with_it(run, node, played_index):
    changed = run.artifacts.path(next(iter(run.artifacts)))
    changed.write_bytes(b"other bytes")
    report = verify_run(run, rpc_url=node, keep_going=True)
    failed = [outcome for outcome in report.outcomes if outcome.verdict == "failed"]
    with closing(partial(verify_run, run, rpc_url=node, keep_going=True)) as verification:
        client = client_of(played_index, run, verification)
        client.post("/verify")
        html = ended(client)
    assert failed
    for outcome in failed:
        assert f"failed {outcome.step} " in text_of(html)
        for finding in outcome.findings:
            assert finding.what in text_of(html)
            assert finding.expected is None or finding.expected in text_of(html)
    assert str(run.root) not in html
    assert str(run.root.parent) not in html


def test_a_verification_that_can_not_be_run_says_why(run, played_index):
    (run.root / "settings.json").unlink()
    with closing(partial(verify_run, run)) as verification:
        client = client_of(played_index, run, verification)
        client.post("/verify")
        html = ended(client)
    assert "The verification could not be carried out: RUN/settings.json" in text_of(html)
    assert "passed" not in text_of(html)
    assert str(run.root) not in html


def _die(*, on_step: Callable[[Outcome], None]) -> Report:
    os._exit(3)


def test_a_process_that_dies_is_not_taken_for_a_passed_audit():
    with closing(_die) as verification:
        verification.start()
        until(lambda: verification.progress().state is not State.RUNNING)
        assert verification.progress().state is State.BROKEN
        assert "ended before its report" in verification.progress().summary


def test_asking_twice_runs_once_and_closing_ends_it_with_its_node(finished_run):
    with closing(partial(verify_run, finished_run)) as verification:
        verification.start()
        process = only_child()
        verification.start()
        assert only_child() == process
        until(lambda: bool(children(process)))  # the node that the chain is rebuilt in
        nodes = children(process)
    assert not alive(process)
    until(lambda: not any(alive(node) for node in nodes))  # the kernel ends them after their owner
    assert verification.progress().state is State.BROKEN


def children(parent: int) -> set[int]:
    listed = [task / "children" for task in Path(f"/proc/{parent}/task").iterdir()]
    return {int(child) for path in listed for child in path.read_text().split()}


def only_child() -> int:
    """The one process that verifies."""
    (process,) = multiprocessing.active_children()
    assert process.pid is not None
    return process.pid


def alive(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
