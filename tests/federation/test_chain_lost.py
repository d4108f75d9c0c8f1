"""The chain dies under a running federation, or comes back from the past: the same result, or a clear stop."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedchest.audit.verify import verify_run
from fedchest.federation.config import Settings
from fedchest.federation.directory import RunDirectory
from fedchest.federation.results import Results
from fedchest.federation.simulate import simulate
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.transactions import Sender

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


@pytest.mark.parametrize("moment", MOMENTS)
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
