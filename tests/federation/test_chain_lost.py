"""The chain dies under a running federation, or comes back from the past: the same result, or a clear stop."""

import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedchest.audit.verify import verify_run
from fedchest.errors import ChainError, StoreError
from fedchest.federation.config import Settings
from fedchest.federation.directory import (
    CONNECTION,
    Connection,
    RunDirectory,
    read_document,
    write_document,
)
from fedchest.federation.results import Results
from fedchest.federation.simulate import resume, simulate
from fedchest.files import held
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.records import Phase
from fedchest.ledger.rpc import command, connect
from fedchest.ledger.transactions import Sender
from server.coordinator import Coordinator

pytestmark = pytest.mark.e2e


def silent(stage: str) -> None:
    pass


def kill(chain: LocalChain) -> None:
    process: Any = chain._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def chains(monkeypatch: pytest.MonkeyPatch) -> list[LocalChain]:
    """The local chains that were started, the oldest first."""
    started: list[LocalChain] = []
    start = LocalChain.start

    def starting(chain: LocalChain) -> None:
        start(chain)
        if chain not in started:
            started.append(chain)

    monkeypatch.setattr(LocalChain, "start", starting)
    return started


def reproducible(make_settings: Callable[..., Settings], out: Path, **chain: Any) -> Settings:
    """Two rounds whose models depend on the seed alone."""
    return make_settings(
        training={"rounds": 2},
        partition={"institutions": 2},
        privacy={"dp": True, "epsilon": 8, "reproducible_noise": True, "epsilon_ledger": out / "epsilon"},
        run={"out": out / "run", "workers": 1},
        chain=chain,
    )


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Results]:
    return {}


MOMENTS: dict[str, tuple[type, str, int, bool]] = {
    "before a commitment": (LedgerClient, "submit_update", 3, True),
    "after a commitment": (LedgerClient, "submit_update", 4, False),
    "before the proposal": (LedgerClient, "propose", 2, True),
    "between two attestations": (LedgerClient, "attest", 3, False),
    # The node has mined it, and nobody's journal has its block yet.
    "with the proposal in flight": (Sender, "_push", 11, False),
}


SLOW = MOMENTS.keys() - {"before the proposal", "with the proposal in flight"}


@pytest.mark.parametrize(
    "moment", [pytest.param(moment, marks=pytest.mark.slow if moment in SLOW else ()) for moment in MOMENTS]
)
def test_a_chain_killed_in_round_2_is_rebuilt_and_the_round_goes_on(
    make_settings: Callable[..., Settings],
    tmp_path: Path,
    chains: list[LocalChain],
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: dict[str, Results],
    moment: str,
) -> None:
    if not undisturbed:
        undisturbed["run"] = simulate(reproducible(make_settings, tmp_path / "a"), tmp_path / "a/run", silent)
    kind, name, occurrence, before = MOMENTS[moment]
    original = getattr(kind, name)
    calls = Counter[str]()

    def deadly(self: Any, *arguments: Any, **facts: Any) -> Any:
        calls[name] += 1
        now = calls[name] == occurrence
        if now and before:
            kill(chains[-1])
        result = original(self, *arguments, **facts)
        if now and not before:
            kill(chains[-1])
        return result

    monkeypatch.setattr(kind, name, deadly)
    results = simulate(reproducible(make_settings, tmp_path / "b"), tmp_path / "b/run", silent)

    assert calls[name] >= occurrence
    assert [figures.finalized for figures in results.rounds] == [True, True]
    assert [figures.model for figures in results.rounds] == [
        figures.model for figures in undisturbed["run"].rounds
    ]
    report = verify_run(RunDirectory(tmp_path / "b/run"))
    assert report.passed, report.sentence()


def test_the_wait_for_a_chain_that_stays_away_ends_in_one_sentence(make_federation: Any) -> None:
    """Nobody starts the chain again, as with one that somebody else runs."""
    federation = make_federation(chain={"patience_seconds": 2})
    connection = federation.directory.coordinator / CONNECTION
    write_document(
        connection, read_document(connection, Connection).model_copy(update={"rpc_url": "http://127.0.0.1:1"})
    )
    start = time.monotonic()
    with pytest.raises(
        ChainError, match=r"^No Ethereum node answers at http://127\.0\.0\.1:1; .* after 2 s\)\.$"
    ):
        federation.run()
    assert time.monotonic() - start < 20


def test_a_chain_of_others_that_is_restarted_from_an_older_state_stops_the_run_and_comes_back_at_resume(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    with LocalChain(tmp_path / "node") as node:
        w3 = connect(node.rpc_url)
        command(w3, "evm_mine")
        settings = reproducible(make_settings, tmp_path, rpc=node.rpc_url, patience_seconds=1)
        results = simulate(settings, tmp_path / "run", silent)
        head = w3.eth.get_block("latest")
        command(w3, "anvil_rollback", 7)
        with pytest.raises(ChainError, match=r"block \d+ is missing. Was it restarted from an older state"):
            Coordinator.open(tmp_path / "run/coordinator")

        again = resume(tmp_path / "run", silent)

        assert w3.eth.get_block(head["number"])["hash"] == head["hash"]
    assert [figures.model for figures in again.rounds] == [figures.model for figures in results.rounds]
    assert again.rounds == results.rounds


def test_a_second_coordinator_on_one_folder_is_stopped(make_federation: Any) -> None:
    federation = make_federation()
    with (
        held(federation.directory.coordinator),
        pytest.raises(StoreError, match=r"coordinator is in use by another process"),
    ):
        federation.run()
    assert federation.ledger.current_round() == 0
    federation.run()
    assert federation.state().phase is Phase.FINALIZED


def test_a_run_that_is_under_way_is_not_resumed_besides(make_federation: Any) -> None:
    """A second chain and new addresses for every party would tear the first run apart."""
    federation = make_federation()
    before = (federation.directory.coordinator / CONNECTION).read_bytes()
    with (
        held(federation.directory.root),
        pytest.raises(StoreError, match=r"run is in use by another process"),
    ):
        resume(federation.directory.root, silent)
    assert (federation.directory.coordinator / CONNECTION).read_bytes() == before


def test_a_second_coordinator_from_another_folder_doubles_nothing(
    make_federation: Any, tmp_path: Path
) -> None:
    """Same wallet, no lock in common: the chain lets one of them open a round, and tells the other why not."""
    federation = make_federation()
    copy = tmp_path / "copy"
    shutil.copytree(federation.directory.coordinator, copy)
    outcomes: list[str] = []

    def open_round(folder: Path) -> None:
        try:
            outcomes.append(f"round {Coordinator.open(folder).open_round().number}")
        except ChainError as error:
            outcomes.append(str(error))

    threads = [
        threading.Thread(target=open_round, args=(folder,))
        for folder in (federation.directory.coordinator, copy)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[1:] == ["round 1"]
    assert "RoundLive" in sorted(outcomes)[0]
    assert federation.ledger.current_round() == 1
