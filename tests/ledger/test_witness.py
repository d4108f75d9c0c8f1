"""Witnesses on real chains: what they agree on becomes final, and each way of cheating them is refused by name."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from consortium import Consortium, consortium, signed
from studies import CONFIG, StudyOnChain
from web3 import Web3

from fedchest.errors import ChainError, KeyFileError, StoreError, TamperError
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.journal import Journal
from fedchest.ledger.records import Phase
from fedchest.ledger.rpc import command, connect
from fedchest.ledger.witness.board import Board
from fedchest.ledger.witness.witness import Witness

pytestmark = pytest.mark.e2e


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Consortium]:
    with consortium(tmp_path) as made:
        yield made


def step_all(*witnesses: Witness) -> None:
    for witness in witnesses:
        witness.step()


def journal_of(parties: Consortium, number: int) -> Path:
    return parties.folder / f"witness{number}" / "node" / "journal.jsonl"


def refuses(parties: Consortium, witness: Witness, reason: str) -> None:
    """The witness stops for that reason, and neither it nor anyone signed anything new."""
    before = Board(parties.board, 31337).new()
    with pytest.raises(TamperError, match=reason):
        witness.step()
    assert Board(parties.board, 31337).new() == before


# What agreement gives.


def test_what_a_quorum_repeats_is_final_and_the_journals_are_the_chains(parties):
    witnesses = parties.start(0, 1, 2, 3)
    parties.study.finalized_round()
    step_all(*witnesses[:2])
    assert parties.tally().final() is None
    step_all(witnesses[2])
    assert parties.tally().final() == parties.block()
    step_all(witnesses[3])
    tally = parties.tally()
    assert set(tally.heights().values()) == {parties.block().height}
    assert tally.disputes() == [] == tally.equivocations()
    parties.study.coordinator.sync()
    for number in range(4):
        assert journal_of(parties, number).read_bytes() == parties.chain.journal.path.read_bytes()


def test_every_block_is_cosigned_by_itself(parties):
    (witness,) = parties.start(0)
    parties.study.finalized_round()
    witness.step()
    cosigned = [one.checkpoint for one in Board(parties.board, 31337).new()]
    assert cosigned == [parties.block(number) for number in range(1, parties.block().height + 1)]


def test_a_long_chain_is_followed_in_stretches(parties):
    command(connect(parties.chain.rpc_url), "anvil_mine", hex(600 - parties.block().height))
    (witness,) = parties.start(0)
    assert [witness.step().cosigned for _ in range(4)] == [256, 256, 88, 0]


def test_one_of_four_silent_costs_nothing_and_two_cost_progress_only(parties):
    step_all(*parties.start(0, 2, 3))
    final = parties.block()
    assert parties.tally().final() == final
    parties.study.finalized_round()
    with parties.witness(1) as late:
        late.step()
    assert parties.tally().final() == final
    assert parties.tally().disputes() == []


def test_a_witnesss_own_node_answers_for_the_ledger(parties):
    (witness,) = parties.start(0)
    parties.study.finalized_round()
    witness.step()
    own = LedgerClient(witness.rpc_url, parties.study.address)
    assert own.round(1).phase is Phase.FINALIZED
    assert own.events() == parties.study.coordinator.events()


def test_transactions_with_access_lists_do_not_stop_a_witness(parties):
    w3 = connect(parties.chain.rpc_url)
    account = w3.eth.account.create()
    listed = [{"address": parties.study.address, "storageKeys": ["0x" + 64 * "0"]}]
    fields = {"chainId": 31337, "gas": 60_000, "to": account.address, "value": 0, "accessList": listed}
    for nonce, fees in enumerate([{"gasPrice": 0}, {"maxFeePerGas": 0, "maxPriorityFeePerGas": 0}]):
        raw = account.sign_transaction(fields | fees | {"nonce": nonce}).raw_transaction
        w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(raw))
    (witness,) = parties.start(0)
    assert witness.step().height == parties.block().height


# The six ways of cheating with a development node's RPC.


def _storage(w3: Web3, study: StudyOnChain) -> None:
    command(w3, "anvil_setStorageAt", study.address, "0x" + 64 * "0", "0x" + 64 * "1")


def _code(w3: Web3, study: StudyOnChain) -> None:
    command(w3, "anvil_setCode", study.address, "0x00")


def _nonce(w3: Web3, study: StudyOnChain) -> None:
    command(w3, "anvil_setNonce", study.wallets[0].address, "0x10")


def _balance(w3: Web3, study: StudyOnChain) -> None:
    command(w3, "anvil_setBalance", "0x" + 40 * "5", "0x10")


EDITS = [_storage, _code, _nonce, _balance]
Edit = Callable[[Web3, StudyOnChain], None]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_after_the_last_block_shows_in_the_state_that_is_served(parties, edit: Edit):
    """No block hash changes, then or ever, if no block follows."""
    (witness,) = parties.start(0)
    witness.step()
    before = parties.block()
    edit(connect(parties.chain.rpc_url), parties.study)
    assert parties.block() == before
    refuses(parties, witness, f"does not serve the state that its block {before.height} left")


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_before_a_block_shows_in_the_blocks_hash(parties, edit: Edit):
    (witness,) = parties.start(0)
    witness.step()
    w3 = connect(parties.chain.rpc_url)
    edit(w3, parties.study)
    command(w3, "evm_mine")
    refuses(parties, witness, f"Block {parties.block().height} of the chain at .* does not reproduce")


def test_an_edit_that_was_taken_back_shows_in_the_block_made_meanwhile(parties):
    (witness,) = parties.start(0)
    witness.step()
    w3 = connect(parties.chain.rpc_url)
    slot = "0x" + 64 * "0"
    old = command(w3, "eth_getStorageAt", parties.study.address, slot, "latest")
    _storage(w3, parties.study)
    command(w3, "evm_mine")
    command(w3, "anvil_setStorageAt", parties.study.address, slot, old)
    edited = parties.block().height
    command(w3, "evm_mine")
    refuses(parties, witness, f"Block {edited} of the chain at .* does not reproduce")


def test_an_impersonated_transaction_is_refused(parties):
    (witness,) = parties.start(0)
    witness.step()
    w3 = connect(parties.chain.rpc_url)
    forged = parties.study.wallets[0].address
    command(w3, "anvil_impersonateAccount", forged)
    call = {"from": forged, "to": parties.study.address, "data": "0x", "gas": "0x10000", "gasPrice": "0x0"}
    w3.eth.wait_for_transaction_receipt(command(w3, "eth_sendTransaction", call))
    refuses(parties, witness, f"in block {parties.block().height} is not signed by its sender")


def test_a_rollback_is_refused_before_and_after_the_chain_has_grown_again(parties):
    (witness,) = parties.start(0)
    w3 = connect(parties.chain.rpc_url)
    snapshot = command(w3, "evm_snapshot")
    parties.study.coordinator.open_round(CONFIG)
    height = witness.step().height
    command(w3, "evm_revert", snapshot)
    refuses(parties, witness, f"rolled back or begun anew: block {height} is missing")
    command(w3, "evm_mine")
    refuses(parties, witness, f"rolled back or begun anew: block {height} is another")


def restarted_empty(parties: Consortium) -> LocalChain:
    """The sequencer's port, answered by a chain that begins anew: same id, same genesis block."""
    port = int(parties.chain.rpc_url.rpartition(":")[2])
    parties.chain.stop()
    return LocalChain(parties.folder / "anew", port=port)


def test_a_restart_from_empty_is_refused(parties):
    (witness,) = parties.start(0)
    height = witness.step().height
    with restarted_empty(parties) as anew:
        refuses(parties, witness, f"block {height} is missing")
        StudyOnChain(anew.rpc_url, parties.folder / "other")
        refuses(parties, witness, f"block {height} is another")


def test_a_witness_without_memory_is_not_deceived_by_a_restart_from_empty(parties):
    """It has no journal yet, but the others' cosignatures are up."""
    step_all(*parties.start(0, 1, 2))
    height = parties.block().height
    with restarted_empty(parties) as anew:
        (late,) = parties.start(3)
        refuses(parties, late, f"it ends at block 0, and block {height}, .* is final")
        StudyOnChain(anew.rpc_url, parties.folder / "other")
        refuses(parties, late, "Split view: here block 1, ")
    assert parties.tally().heights()[late.address] == 0


@pytest.fixture
def second_view(parties: Consortium) -> Iterator[LocalChain]:
    """Another node with the sequencer's blocks so far; from here on the two can be told different things."""
    parties.study.coordinator.sync()
    shutil.copytree(parties.chain.directory, parties.folder / "second")
    with LocalChain(parties.folder / "second") as second:
        yield second


def test_a_split_view_is_noticed_on_both_sides_and_nothing_of_it_is_final(parties, second_view):
    here, there = parties.start(0, 1), parties.start(2, 3, rpc_url=second_view.rpc_url)
    step_all(*here, *there)
    shared = parties.block()
    assert parties.tally().final() == shared
    parties.study.coordinator.open_round(CONFIG)
    command(connect(second_view.rpc_url), "evm_mine")
    step_all(*here)
    reason = f"Split view: here block {shared.height + 1}, "
    refuses(parties, there[0], reason)
    assert parties.tally().final() == shared


def test_a_split_view_of_one_leaves_the_others_in_peace(parties, second_view):
    others, (alone,) = parties.start(0, 1, 2), parties.start(3, rpc_url=second_view.rpc_url)
    command(connect(second_view.rpc_url), "evm_mine")
    parties.study.coordinator.open_round(CONFIG)
    alone.step()
    step_all(*others)
    assert parties.tally().final() == parties.block()
    refuses(parties, alone, "Split view: here block")
    step_all(*others)
    (dispute,) = parties.tally().disputes()
    assert (alone.address,) in dispute.signers.values()
    assert parties.tally().equivocations() == []


# Other witnesses, lying.


def test_as_many_liars_as_are_tolerated_stop_nobody_and_make_nothing_final(parties):
    liar = parties.wallets[3]
    witnesses = parties.start(0, 1, 2)
    Board(parties.board, 31337).publish(
        liar.address, [signed(liar, height, b"lie") for height in range(1, 9)]
    )
    step_all(*witnesses)
    assert parties.tally().final() == parties.block()


def test_more_who_contradict_than_may_lie_stop_a_witness(parties):
    (witness,) = parties.start(0)
    for other in parties.wallets[2:]:
        Board(parties.board, 31337).publish(other.address, [signed(other, 3, b"other")])
    refuses(parties, witness, "Split view: here block 3, ")


def test_a_second_signature_of_the_witnesss_own_key_stops_it(parties):
    (witness,) = parties.start(0)
    witness.step()
    own = parties.wallets[0]
    Board(parties.board, 31337).publish(own.address, [signed(own, 3, b"other")])
    refuses(parties, witness, f"{own.address} cosigned another block of that height")


# Crashes, copies, and going on.


def test_a_recorded_block_that_was_not_put_up_is_put_up_after_a_restart(parties):
    with parties.witness(0) as witness:
        witness.step()
    path = parties.board / f"{parties.wallets[0].address}.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    parties.start(0)
    assert path.read_bytes() == whole


def test_no_second_hash_is_signed_for_a_height_that_was_recorded_and_not_put_up(parties):
    """The crash between recording and putting up: what was recorded binds, though nobody ever saw it."""
    w3 = connect(parties.chain.rpc_url)
    snapshot = command(w3, "evm_snapshot")
    parties.study.coordinator.open_round(CONFIG)
    with parties.witness(0) as witness:
        height = witness.step().height
    path = parties.board / f"{parties.wallets[0].address}.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    recorded = Journal(journal_of(parties, 0)).records()[-1]
    command(w3, "evm_revert", snapshot)
    command(w3, "evm_mine")
    assert parties.block().height == height == recorded.number
    (again,) = parties.start(0)
    refuses(parties, again, f"block {height} is another")
    checkpoints = [one.checkpoint for one in Board(parties.board, 31337).new()]
    assert [one.block_hash for one in checkpoints if one.height == height] == [recorded.hash]


def test_an_old_copy_of_a_witness_is_refused(parties):
    with parties.witness(0) as witness:
        witness.step()
    shutil.copy(journal_of(parties, 0), parties.folder / "old")
    parties.study.finalized_round()
    with parties.witness(0) as witness:
        witness.step()
    shutil.copy(parties.folder / "old", journal_of(parties, 0))
    with pytest.raises(StoreError, match="it is an old copy, or the key is used elsewhere"):
        parties.start(0)


def test_a_key_of_another_chain_is_refused(parties):
    parties.start(1)
    own = parties.wallets[0]
    Board(parties.board, 31337).publish(own.address, [signed(own, 1, b"x", genesis=b"g" * 32)])
    with pytest.raises(StoreError, match="the key is used elsewhere"):
        parties.start(0)


def test_one_process_at_a_time(parties):
    parties.start(0)
    with pytest.raises(StoreError, match=r"witness\.key is in use: another process runs this witness"):
        parties.start(0)


def test_a_witness_without_a_key_is_one_sentence(parties):
    with pytest.raises(KeyFileError, match="can't be read"):
        parties.start(9)


def test_an_edited_journal_is_refused(parties):
    with parties.witness(0) as witness:
        witness.step()
    lines = journal_of(parties, 0).read_text().splitlines(keepends=True)
    journal_of(parties, 0).write_text(
        "".join([*lines[:2], lines[2].replace('"timestamp": 1', '"timestamp": 2')])
    )
    with pytest.raises(TamperError, match="Block 3 of the journal"):
        parties.start(0)


def test_a_roster_of_another_genesis_is_refused(parties):
    other = parties.roster.model_copy(update={"genesis": "0x" + 64 * "a"})
    witness = Witness(parties.folder / "witness0", parties.chain.rpc_url, parties.board, other)
    with pytest.raises(StoreError, match="genesis block is not the one"), witness:
        pass


def kill(chain: LocalChain) -> None:
    process: Any = chain._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_a_sequencer_that_is_away_is_no_forger(parties):
    (witness,) = parties.start(0)
    witness.step()
    parties.study.coordinator.sync()
    kill(parties.chain)
    with pytest.raises(ChainError, match="No Ethereum node answers") as away:
        witness.step()
    assert not isinstance(away.value, TamperError)
    parties.chain.start()
    parties.study.coordinator.open_round(CONFIG)
    assert witness.step().cosigned == 2  # a restarted chain begins with an empty block


def test_a_witness_whose_own_node_died_starts_it_again(parties):
    (witness,) = parties.start(0)
    witness.step()
    node: Any = witness
    kill(node._replica._chain)
    parties.study.coordinator.open_round(CONFIG)
    assert witness.step().cosigned == 1


def test_a_sequencer_restored_from_a_witnesss_journal_is_followed_again(parties):
    """After a storage edit the operator throws the node away; the witnesses hold every block."""
    with parties.witness(0) as witness:
        witness.step()
        _storage(connect(parties.chain.rpc_url), parties.study)
        command(connect(parties.chain.rpc_url), "evm_mine")
        refuses(parties, witness, "does not reproduce")
    port = int(parties.chain.rpc_url.rpartition(":")[2])
    parties.chain.stop()
    (parties.folder / "restored").mkdir()
    shutil.copy(journal_of(parties, 0), parties.folder / "restored" / "journal.jsonl")
    with LocalChain(parties.folder / "restored", port=port) as restored, parties.witness(0) as witness:
        command(connect(restored.rpc_url), "evm_mine")
        assert witness.step().cosigned == 1
        assert parties.tally().disputes() == []


def test_the_state_check_holds_on_the_chain_as_it_grows(parties):
    """A block may arrive between any two questions to the sequencer; that is no forgery."""
    (witness,) = parties.start(0)
    command(connect(parties.chain.rpc_url), "evm_setIntervalMining", 1)
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        witness.step()
    height = witness.step().height
    assert height > 6
    up = [one.checkpoint for one in Board(parties.board, 31337).new()]
    assert up == [parties.block(number) for number in range(1, height + 1)]
