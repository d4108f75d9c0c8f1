"""A chain that was restarted from an older state gets its journal's blocks back, to the same hashes, or is refused."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from studies import CONFIG, NEW_MODEL, StudyOnChain

from fedchest.errors import ChainError
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.journal import Journal
from fedchest.ledger.keeper import kept_running
from fedchest.ledger.rebuild import bring_back
from fedchest.ledger.records import Phase
from fedchest.ledger.rpc import command, connect

pytestmark = pytest.mark.e2e


def hashes(rpc_url: str) -> list[bytes]:
    w3 = connect(rpc_url)
    return [bytes(w3.eth.get_block(number)["hash"]) for number in range(w3.eth.block_number + 1)]


def kill(chain: LocalChain) -> None:
    process: Any = chain._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[LocalChain]:
    """A chain that stands for a node which somebody else runs, and restarts as he likes."""
    with LocalChain(tmp_path / "node") as chain:
        yield chain


@contextmanager
def rolled_back(rpc_url: str) -> Iterator[None]:
    """What happens in the block is gone after it."""
    w3 = connect(rpc_url)
    state = command(w3, "anvil_dumpState", True)
    yield
    command(w3, "anvil_reset")
    command(w3, "anvil_loadState", state)


def test_blocks_come_back_bit_for_bit(node: LocalChain, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "party.jsonl")
    study = StudyOnChain(node.rpc_url, tmp_path, journal=journal)
    with rolled_back(node.rpc_url):
        round = study.finalized_round()
        study.coordinator.sync()
        before = hashes(node.rpc_url)
    with pytest.raises(ChainError, match="is missing"):
        study.coordinator.sync()

    bring_back(node.rpc_url, journal)

    assert hashes(node.rpc_url) == before
    assert study.coordinator.round(round).phase is Phase.FINALIZED
    assert study.finalized_round() == round + 1


def test_blocks_do_not_come_back_on_another_chain(node: LocalChain, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "party.jsonl")
    study = StudyOnChain(node.rpc_url, tmp_path, journal=journal)
    with rolled_back(node.rpc_url):
        study.finalized_round()
        study.coordinator.sync()
    command(connect(node.rpc_url), "evm_mine")
    height = connect(node.rpc_url).eth.block_number
    with pytest.raises(ChainError, match=rf"Block {height} of the journal does not reproduce"):
        bring_back(node.rpc_url, journal)
    assert connect(node.rpc_url).eth.block_number == height
    assert command(connect(node.rpc_url), "anvil_getAutomine")
    with pytest.raises(ChainError, match=r"block \d+ is missing"):
        study.coordinator.sync()


def test_a_chain_that_has_all_blocks_is_left_alone(node: LocalChain, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "party.jsonl")
    study = StudyOnChain(node.rpc_url, tmp_path, journal=journal)
    before = hashes(node.rpc_url)
    bring_back(node.rpc_url, journal)
    assert hashes(node.rpc_url) == before
    assert study.coordinator.open_round(CONFIG) == 1


def test_who_waits_for_a_chain_never_sees_half_of_it(tmp_path: Path) -> None:
    """While it is rebuilt, a party that asks all the time meets silence or the whole chain."""
    chain = LocalChain(tmp_path / "chain")
    with chain:
        study = StudyOnChain(chain.rpc_url, tmp_path, journal=chain.journal)
        for _ in range(8):
            study.finalized_round()
        study.coordinator.sync()
        height, done, seen = connect(chain.rpc_url).eth.block_number, threading.Event(), set[int]()

        def ask() -> None:
            while not done.is_set():
                try:
                    seen.add(connect(chain.rpc_url).eth.block_number)
                except ChainError:
                    seen.add(-1)

        kill(chain)
        asking = threading.Thread(target=ask)
        asking.start()
        chain.start()
        done.set()
        asking.join()
    assert -1 in seen
    assert seen - {-1} <= {height, height + 1}  # with the empty block that a restart makes


def test_a_kept_chain_comes_back_at_its_address_each_time_it_dies(tmp_path: Path) -> None:
    chain = LocalChain(tmp_path / "chain")
    chain.start()
    with kept_running(chain, lambda: None):
        journal = Journal(tmp_path / "party.jsonl")
        study = StudyOnChain(chain.rpc_url, tmp_path, journal=journal, patience=60)
        for _ in range(3):
            round = study.proposed_round()
            study.coordinator.sync()
            chain.journal.path.write_bytes(journal.path.read_bytes())
            kill(chain)
            for institution in range(3):
                study.attest(institution, round)
            assert study.coordinator.round(round).phase is Phase.FINALIZED
        assert study.coordinator.global_model() == NEW_MODEL
    assert not chain.running


def test_a_kept_chain_that_can_not_be_rebuilt_is_told_when_patience_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chain = LocalChain(tmp_path / "chain")
    chain.start()
    with kept_running(chain, lambda: None):
        study = StudyOnChain(chain.rpc_url, tmp_path, journal=chain.journal, patience=3)
        lines = chain.journal.path.read_text().splitlines()
        changed = json.loads(lines[2]) | {"timestamp": json.loads(lines[2])["timestamp"] + 1}
        chain.journal.path.write_text("\n".join([*lines[:2], json.dumps(changed), *lines[3:]]) + "\n")
        kill(chain)
        with pytest.raises(ChainError, match="No Ethereum node answers"):
            LedgerClient(chain.rpc_url, study.address, patience=3).rules()
    assert "can't be started again: Block 3 of the journal does not reproduce" in caplog.text


def test_a_cohort_drawn_right_after_a_restart_reproduces(tmp_path: Path) -> None:
    """A round that is decided by the first vote after it draws the next members from the block before."""
    chain = LocalChain(tmp_path / "chain")
    chain.start()
    try:
        study = StudyOnChain(chain.rpc_url, tmp_path, size=6, cohort_size=2)
        round = study.coordinator.open_round(CONFIG)
        first, last = study.coordinator.members(round)
        for member in (first, last):
            study.submit(member, round)
        study.propose(round, accepted=sorted((first, last)))
        study.attest(first, round)
        chain.journal.follow(connect(chain.rpc_url))
        kill(chain)
        chain.start()
        study.attest(last, round)
        study.coordinator.open_round(CONFIG)
        before = hashes(chain.rpc_url)
    finally:
        chain.stop()
    shutil.copytree(tmp_path / "chain", tmp_path / "copy")
    with LocalChain(tmp_path / "copy") as copy:
        assert hashes(copy.rpc_url) == before
