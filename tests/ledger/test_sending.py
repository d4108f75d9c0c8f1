"""Sending: what was signed is sent once, whoever crashes, restarts, reorganises or uses the same key besides."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from studies import CONFIG, StudyOnChain
from web3 import Web3

from fedchest.errors import ChainError, StoreError
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.contract import LedgerRefusal
from fedchest.ledger.journal import Journal
from fedchest.ledger.records import Phase
from fedchest.ledger.rpc import command, connect
from fedchest.ledger.transactions import Sender
from fedchest.ledger.wallet import Wallet

pytestmark = pytest.mark.e2e

EACH = 12


def register(rpc_url: str, address: str, wallet: Path, first: int, count: int = EACH) -> None:
    """What a process does: register `count` made-up institutions, numbered from `first`."""
    client = LedgerClient(rpc_url, address, Wallet.load(wallet))
    for number in range(first, first + count):
        client.register_founder(Web3.to_checksum_address(f"0x{number:040x}"), 1, 1)


def registered(study: StudyOnChain) -> list[int]:
    return sorted(int(institution.wallet, 16) for institution in study.coordinator.institutions()[4:])


def nonce(study: StudyOnChain, wallet: Wallet) -> int:
    w3 = connect(study.rpc_url)
    return w3.eth.get_transaction_count(Web3.to_checksum_address(wallet.address))


def in_processes(study: StudyOnChain, wallets: list[Path]) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=register, args=(study.rpc_url, study.address, wallet, 1 + EACH * index))
        for index, wallet in enumerate(wallets)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(processes)


@pytest.fixture
def unfounded(chain: LocalChain, tmp_path: Path) -> StudyOnChain:
    """A study whose coordinator may still list institutions."""
    return StudyOnChain(chain.rpc_url, tmp_path, founders=100, founded=False)


def test_two_processes_of_one_wallet_keep_its_nonces_in_order(unfounded: StudyOnChain) -> None:
    study = unfounded
    before = nonce(study, study.wallet)
    in_processes(study, [study.wallet.path, study.wallet.path])
    assert registered(study) == list(range(1, 2 * EACH + 1))
    assert nonce(study, study.wallet) == before + 2 * EACH


def test_so_do_two_copies_of_a_wallet_that_know_nothing_of_each_other(
    unfounded: StudyOnChain, tmp_path: Path
) -> None:
    """As on two machines: no lock is shared, and whoever finds its nonce used takes the next."""
    study = unfounded
    copy = tmp_path / "elsewhere" / "coordinator.key"
    copy.parent.mkdir()
    shutil.copy(study.wallet.path, copy)
    before = nonce(study, study.wallet)
    in_processes(study, [study.wallet.path, copy])
    assert registered(study) == list(range(1, 2 * EACH + 1))
    assert nonce(study, study.wallet) == before + 2 * EACH


def test_a_wallet_that_another_process_keeps_is_waited_for_and_then_named(
    study: StudyOnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedchest.ledger.transactions.ACTION_SECONDS", 0.5)
    client = LedgerClient(study.rpc_url, study.address, study.wallet)
    with (
        Wallet.load(study.wallet.path).exclusive(0),
        pytest.raises(StoreError, match=r"coordinator\.key is in use by another process"),
    ):
        client.open_round(CONFIG)


def die_while_sending(rpc_url: str, address: str, wallet: Path, pushed: bool) -> None:
    push = Sender._push

    def deadly(self: Sender, transaction: Any) -> None:
        if pushed:
            push(self, transaction)
        os.kill(os.getpid(), signal.SIGKILL)

    client = LedgerClient(rpc_url, address, Wallet.load(wallet))
    Sender._push = deadly  # type: ignore[method-assign]
    client.open_round(CONFIG)


@pytest.mark.parametrize("pushed", [False, True], ids=["before it was sent", "after it was sent"])
def test_a_process_killed_while_sending_left_what_the_next_one_sends(
    study: StudyOnChain, pushed: bool
) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=die_while_sending, args=(study.rpc_url, study.address, study.wallet.path, pushed)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    kept = json.loads(study.wallet.path.with_suffix(".sent").read_bytes().splitlines()[-1])

    client = LedgerClient(study.rpc_url, study.address, study.wallet)

    assert client.current_round() == 1
    opened = [event for event in client.events() if event.name == "RoundOpened"]
    assert [event.transaction for event in opened] == [Web3.to_hex(Web3.keccak(hexstr=kept["raw"]))]
    assert LedgerClient(study.rpc_url, study.address, study.wallet).current_round() == 1


@pytest.fixture
def own_chain(tmp_path: Path) -> Iterator[LocalChain]:
    """A chain that a test may roll back or reorganise."""
    with LocalChain(tmp_path / "chain") as chain:
        yield chain


def test_a_chain_restarted_from_an_older_state_gets_what_it_lacks(
    own_chain: LocalChain, tmp_path: Path
) -> None:
    """The institution kept what it sent; no journal was written meanwhile, so nobody saw a block that is gone."""
    study = StudyOnChain(own_chain.rpc_url, tmp_path)
    w3 = connect(own_chain.rpc_url)
    round = study.coordinator.open_round(CONFIG)
    older = command(w3, "evm_snapshot")
    first = study.submit(0, round)
    command(w3, "evm_revert", older)
    assert study.coordinator.submissions(round) == {}

    client = LedgerClient(own_chain.rpc_url, study.address, study.wallets[0])

    assert list(client.submissions(round)) == [0]
    submitted = [event for event in client.events() if event.name == "UpdateSubmitted"]
    assert [event.transaction for event in submitted] == [first.transaction]


def test_what_is_missing_is_sent_in_order_before_anything_new(own_chain: LocalChain, tmp_path: Path) -> None:
    study = StudyOnChain(own_chain.rpc_url, tmp_path)
    w3 = connect(own_chain.rpc_url)
    older = command(w3, "evm_snapshot")
    for _ in range(2):
        study.coordinator.abandon(study.coordinator.open_round(CONFIG), {})
    command(w3, "evm_revert", older)
    study.coordinator._sender.catch_up()  # type: ignore[union-attr]
    assert study.coordinator.open_round(CONFIG) == 3
    names = [event.name for event in study.coordinator.events()]
    assert names[-5:] == [*2 * ["RoundOpened", "RoundVoided"], "RoundOpened"]


def test_a_chain_that_lacks_what_a_journal_holds_is_refused(own_chain: LocalChain, tmp_path: Path) -> None:
    """Only the journal's own blocks may come back: sent again, the transactions would come into other blocks."""
    study = StudyOnChain(own_chain.rpc_url, tmp_path, journal=Journal(tmp_path / "party.jsonl"))
    w3 = connect(own_chain.rpc_url)
    older = command(w3, "evm_snapshot")
    study.coordinator.open_round(CONFIG)
    command(w3, "evm_revert", older)
    height = w3.eth.block_number
    with pytest.raises(ChainError, match=r"party\.jsonl: block 9 is missing. Was it restarted from an older"):
        LedgerClient(own_chain.rpc_url, study.address, study.wallet, Journal(tmp_path / "party.jsonl"))
    with pytest.raises(ChainError, match="block 9 is missing"):
        study.coordinator.open_round(CONFIG)
    assert w3.eth.block_number == height


def test_a_chain_that_lacks_what_nobody_kept_is_refused(own_chain: LocalChain, tmp_path: Path) -> None:
    study = StudyOnChain(own_chain.rpc_url, tmp_path)
    w3 = connect(own_chain.rpc_url)
    older = command(w3, "evm_snapshot")
    study.coordinator.abandon(study.coordinator.open_round(CONFIG), {})
    command(w3, "evm_revert", older)
    kept = study.wallet.path.with_suffix(".sent")
    kept.write_bytes(kept.read_bytes().splitlines(keepends=True)[-1])
    with pytest.raises(ChainError, match="rolled back, and only its journal"):
        LedgerClient(own_chain.rpc_url, study.address, study.wallet)


def test_a_fresh_chain_gets_nothing_of_an_old_ones(tmp_path: Path) -> None:
    """Genesis, chain id, nonces and so the contract's address are the same on both."""
    with LocalChain(tmp_path / "one") as chain:
        first = StudyOnChain(chain.rpc_url, tmp_path)
        first.coordinator.open_round(CONFIG)
    with LocalChain(tmp_path / "two") as chain:
        for number in range(4):
            (tmp_path / f"institution{number}.key").unlink()
        command(connect(chain.rpc_url), "evm_increaseTime", 5)
        second = StudyOnChain(chain.rpc_url, tmp_path, size=4, wallet=Wallet.load(first.wallet.path))
        assert second.address == first.address
        assert [event.name for event in second.coordinator.events()].count("RoundOpened") == 0


@pytest.mark.parametrize("cut", [1, 40])
def test_a_line_cut_off_by_a_crash_was_never_sent(
    study: StudyOnChain, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    path = study.wallet.path.with_suffix(".sent")
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1][:-cut])
    assert LedgerClient(study.rpc_url, study.address, study.wallet).open_round(CONFIG) == 1
    assert "cut off" in caplog.text


def test_a_damaged_line_is_named(study: StudyOnChain) -> None:
    path = study.wallet.path.with_suffix(".sent")
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(StoreError, match=r"coordinator\.sent: line 5 is not a sent transaction"):
        LedgerClient(study.rpc_url, study.address, study.wallet)


def test_only_its_owner_reads_what_was_sent(study: StudyOnChain) -> None:
    assert study.wallet.path.with_suffix(".sent").stat().st_mode & 0o777 == 0o600


def test_two_coordinators_with_one_wallet_double_nothing(
    study: StudyOnChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From two folders, so that no lock is shared, and both have signed before either sends: one opens the round."""
    copy = tmp_path / "elsewhere.key"
    shutil.copy(study.wallet.path, copy)
    wallets = [Wallet.load(path) for path in (study.wallet.path, copy)]
    clients = [LedgerClient(study.rpc_url, study.address, wallet) for wallet in wallets]
    outcomes: list[str] = []
    signed, both = threading.Barrier(2), threading.local()
    push = Sender._push

    def push_together(sender: Sender, transaction: Any) -> None:
        if not hasattr(both, "signed"):
            both.signed = True
            signed.wait(30)
        push(sender, transaction)

    def open_round(client: LedgerClient) -> None:
        try:
            outcomes.append(str(client.open_round(CONFIG)))
        except LedgerRefusal as refused:
            outcomes.append(refused.name)

    monkeypatch.setattr(Sender, "_push", push_together)
    threads = [threading.Thread(target=open_round, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["1", "RoundLive"]
    assert [event.name for event in study.coordinator.events()].count("RoundOpened") == 1


def test_a_receipt_that_is_gone_once_it_was_recorded_does_not_count(
    own_chain: LocalChain, tmp_path: Path
) -> None:
    """The chain may be killed between the receipt and the journal, and be rebuilt without the block."""
    study = StudyOnChain(own_chain.rpc_url, tmp_path)
    w3 = connect(own_chain.rpc_url)
    older = [command(w3, "evm_snapshot")]

    def lose_once() -> None:
        if older:
            command(w3, "evm_revert", older.pop())

    data = study.coordinator._contract.encode_abi("openRound", [CONFIG])
    receipt = Sender(w3, study.wallet, 31337, record=lose_once).send(study.address, data, 500_000)
    assert not older
    assert study.coordinator.current_round() == 1
    assert w3.eth.get_transaction_receipt(receipt["transactionHash"])["blockHash"] == receipt["blockHash"]


def test_gas_suffices_for_the_attestation_that_became_the_last_of_the_quorum(
    study: StudyOnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was estimated before another one came in between, and pays the credits now."""
    round = study.proposed_round()
    study.attest(0, round)
    send = Sender.send

    def send_after_another(sender: Sender, *arguments: Any) -> Any:
        monkeypatch.setattr(Sender, "send", send)
        study.attest(1, round)
        return send(sender, *arguments)

    monkeypatch.setattr(Sender, "send", send_after_another)
    study.attest(2, round)
    assert study.coordinator.round(round).phase is Phase.FINALIZED


@pytest.fixture
def mining(own_chain: LocalChain) -> Iterator[Web3]:
    """A chain that makes a block every 50 ms, whether or not there is a transaction."""
    w3 = connect(own_chain.rpc_url)
    command(w3, "anvil_setIntervalMining", 0)
    done = threading.Event()

    def mine() -> None:
        while not done.wait(0.05):
            command(connect(own_chain.rpc_url), "evm_mine")

    thread = threading.Thread(target=mine)
    thread.start()
    yield w3
    done.set()
    thread.join()


DEPTH = 3


def test_a_receipt_counts_when_it_is_deep_and_still_there(
    own_chain: LocalChain, mining: Web3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction's block is taken back once, just after it was seen."""
    study = StudyOnChain(own_chain.rpc_url, tmp_path, finality_depth=DEPTH)
    journal = Journal(tmp_path / "party.jsonl")
    client = LedgerClient(
        own_chain.rpc_url, study.address, study.wallet, journal, patience=60, finality_depth=DEPTH
    )
    look = Sender._receipt
    taken_back: list[int] = []

    def take_back_once(sender: Sender, transaction: Any) -> Any:
        receipt = look(sender, transaction)
        if receipt is not None and not taken_back:
            taken_back.append(receipt["blockNumber"])
            depth = mining.eth.block_number - receipt["blockNumber"] + 1
            command(mining, "anvil_reorg", depth, [])
        return receipt

    monkeypatch.setattr(Sender, "_receipt", take_back_once)
    assert client.open_round(CONFIG) == 1

    opened = [event for event in client.events() if event.name == "RoundOpened"]
    assert len(taken_back) == len(opened) == 1
    assert opened[0].block >= taken_back[0]
    assert mining.eth.block_number - opened[0].block >= DEPTH
    hashes = {record.number: record.hash for record in journal.records()}
    assert opened[0].block in hashes
    assert all(bytes(mining.eth.get_block(number)["hash"]) == hash for number, hash in hashes.items())


def test_a_transaction_that_the_node_refuses_is_not_kept(study: StudyOnChain) -> None:
    """Or it would be sent, and refused, before everything that comes after it."""
    with pytest.raises(ChainError, match="The node refused a transaction of 0x"):
        study.coordinator._sender.send(study.address, "0x", gas=1)  # type: ignore[union-attr]
    assert LedgerClient(study.rpc_url, study.address, study.wallet).open_round(CONFIG) == 1


def test_what_is_not_final_is_not_believed(own_chain: LocalChain, tmp_path: Path) -> None:
    study = StudyOnChain(own_chain.rpc_url, tmp_path)
    w3 = connect(own_chain.rpc_url)
    command(w3, "anvil_mine", hex(DEPTH))
    journal = Journal(tmp_path / "party.jsonl")
    reader = LedgerClient(own_chain.rpc_url, study.address, journal=journal, finality_depth=DEPTH)
    opened = study.coordinator.open_round(CONFIG)
    for newer in range(DEPTH + 1):
        final = newer == DEPTH
        reader.sync()
        assert reader.current_round() == (opened if final else 0)
        assert ("RoundOpened" in [event.name for event in reader.events()]) == final
        assert reader.head()[0] == journal.records()[-1].number == w3.eth.block_number - DEPTH
        command(w3, "evm_mine")
