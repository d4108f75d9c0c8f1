"""The local chain as a process: it comes up, goes down, survives being killed, and says what is wrong."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from studies import CONFIG, NEW_MODEL, StudyOnChain

from fedchest.errors import ChainError
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.records import Phase
from fedchest.ledger.rpc import command, connect

pytestmark = pytest.mark.e2e


def hashes(chain: LocalChain) -> list[bytes]:
    w3 = connect(chain.rpc_url)
    return [bytes(w3.eth.get_block(number)["hash"]) for number in range(w3.eth.block_number + 1)]


def kill(chain: LocalChain) -> None:
    process: Any = chain._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_chain_is_rebuilt_to_the_same_hashes_and_goes_on(tmp_path: Path) -> None:
    chain = LocalChain(tmp_path / "chain")
    with chain:
        study = StudyOnChain(chain.rpc_url, tmp_path, journal=chain.journal)
        round = study.proposed_round()
        study.coordinator.sync()
        before = hashes(chain)
        kill(chain)
        assert not chain.running
        with pytest.raises(ChainError, match="No Ethereum node answers"):
            study.attest(0, round)

        chain.start()

        *rebuilt, _one_empty_block = hashes(chain)
        assert rebuilt == before
        for institution in range(3):
            study.attest(institution, round)
        assert study.coordinator.round(round).phase is Phase.FINALIZED
        assert study.coordinator.global_model() == NEW_MODEL


def test_blocks_with_several_transactions_are_rebuilt_in_their_order(tmp_path: Path) -> None:
    chain = LocalChain(tmp_path / "chain")
    with chain:
        study = StudyOnChain(chain.rpc_url, tmp_path, size=6)
        round = study.coordinator.open_round(CONFIG)
        w3 = connect(chain.rpc_url)
        command(w3, "evm_setAutomine", False)
        threads = [threading.Thread(target=study.submit, args=(member, round)) for member in (4, 2, 5, 0)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        before = hashes(chain)
        assert max(len(w3.eth.get_block(number)["transactions"]) for number in range(len(before))) > 1
    with LocalChain(tmp_path / "chain") as again:
        assert hashes(again) == before


def test_block_times_follow_the_clock_after_a_rebuild(tmp_path: Path) -> None:
    chain = LocalChain(tmp_path / "chain")
    with chain:
        StudyOnChain(chain.rpc_url, tmp_path)
    with chain:
        w3 = connect(chain.rpc_url)
        command(w3, "evm_mine")
        assert abs(w3.eth.get_block("latest")["timestamp"] - time.time()) < 30


def test_a_stalled_node_is_pushed_once(tmp_path: Path) -> None:
    with LocalChain(tmp_path / "chain") as chain:
        study = StudyOnChain(chain.rpc_url, tmp_path)
        command(connect(chain.rpc_url), "evm_setAutomine", False)
        assert study.coordinator.open_round(CONFIG) == 1


def test_a_busy_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ChainError, match=rf"^Port {port} on 127\.0\.0\.1 can't be used; .*\?$"):
            LocalChain(tmp_path, port=port).start()


def test_a_missing_program_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDCHEST_ANVIL", str(tmp_path / "nowhere"))
    with pytest.raises(ChainError, match=r"FEDCHEST_ANVIL names .*nowhere, which is not a program\."):
        LocalChain(tmp_path).start()


def test_a_program_that_is_no_node_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDCHEST_ANVIL", "/bin/false")
    with pytest.raises(ChainError, match=r"did not start; .*node\.log says why"):
        LocalChain(tmp_path).start()


def test_nothing_is_left_running(tmp_path: Path) -> None:
    chain = LocalChain(tmp_path)
    with pytest.raises(RuntimeError), chain:
        url = chain.rpc_url
        raise RuntimeError
    assert not chain.running
    with pytest.raises(ChainError):
        connect(url)


@pytest.mark.parametrize("ending", ["pass", "raise SystemExit(1)", "os.kill(os.getpid(), 9)"])
def test_the_node_ends_with_its_owner(tmp_path: Path, ending: str) -> None:
    if ending.startswith("os.kill") and sys.platform != "linux":
        pytest.skip("only Linux ends a process with its parent")
    script = (
        "import os, pathlib, sys; from fedchest.ledger.chain import LocalChain\n"
        "chain = LocalChain(pathlib.Path(sys.argv[1])); chain.start()\n"
        f"print(chain.rpc_url, flush=True); {ending}"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    url = ended.stdout.strip()
    deadline = time.monotonic() + 10
    with pytest.raises(ChainError, match="No Ethereum node answers"):
        while time.monotonic() < deadline:
            connect(url)
            time.sleep(0.05)


@pytest.mark.slow
def test_ganache_serves_the_same_round(tmp_path: Path) -> None:
    chain = LocalChain(tmp_path / "chain", engine="ganache")
    with chain:
        study = StudyOnChain(chain.rpc_url, tmp_path, journal=chain.journal)
        study.finalized_round()
        with pytest.raises(ChainError, match="WrongPhase"):
            study.submit(2, 1)
        events = study.coordinator.events()
    with chain:
        again = LedgerClient(chain.rpc_url, study.address)
        assert again.events() == events
        assert again.global_model() == NEW_MODEL
