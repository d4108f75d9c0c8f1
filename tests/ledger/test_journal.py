"""The journal: complete, shared, safe against cut-off lines, and the only chain it accepts is the one it saw."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import CONFIG, StudyOnChain
from web3 import Web3

from fedchest.errors import ChainError, StoreError
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.journal import BlockRecord, Journal, block_records
from fedchest.ledger.rpc import command, connect

records = st.builds(
    BlockRecord,
    st.integers(1, 10**6),
    st.integers(0, 2**40),
    st.binary(min_size=32, max_size=32),
    st.lists(st.binary(min_size=1), max_size=3).map(tuple),
)


@given(records)
def test_a_record_is_one_line_that_reads_back(record: BlockRecord) -> None:
    line = record.to_line()
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert BlockRecord.from_line(line) == record


def write(path: Path, count: int) -> list[bytes]:
    lines = [BlockRecord(number, number, bytes(32), ()).to_line() for number in range(1, count + 1)]
    path.write_bytes(b"".join(lines))
    return lines


def test_an_absent_journal_is_empty(tmp_path: Path) -> None:
    assert Journal(tmp_path / "new" / "journal.jsonl").records() == []


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_last_line_cut_off_while_written_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    path = tmp_path / "journal.jsonl"
    lines = write(path, 3)
    path.write_bytes(path.read_bytes()[:-cut])
    assert [record.number for record in Journal(path).records()] == [1, 2]
    assert "cut off" in caplog.text
    assert path.read_bytes() == b"".join(lines[:2])


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = write(path, 3)
    path.write_bytes(lines[0] + b"{}\n" + lines[2])
    with pytest.raises(StoreError, match=r"journal\.jsonl: line 2 is not a block record"):
        Journal(path).records()


def test_a_missing_block_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = write(path, 3)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(StoreError, match="line 2 holds block 3"):
        Journal(path).records()


@pytest.mark.e2e
def test_two_parties_share_a_file(chain: LocalChain, tmp_path: Path) -> None:
    w3 = connect(chain.rpc_url)
    one, two = Journal(tmp_path / "journal.jsonl"), Journal(tmp_path / "journal.jsonl")
    one.follow(w3)
    command(w3, "evm_mine")
    two.follow(w3)
    command(w3, "evm_mine")
    head = one.follow(w3)
    assert [record.number for record in two.records()] == list(range(1, head + 1))
    assert two.records()[-1] == block_records(w3, [head])[0]


@pytest.mark.e2e
def test_both_kinds_of_transaction_are_kept_as_they_were_signed(chain: LocalChain) -> None:
    w3 = connect(chain.rpc_url)
    account = w3.eth.account.create()
    fields = {"chainId": 31337, "gas": 30_000, "to": account.address, "value": 0, "data": b"\x01"}
    for nonce, fees in enumerate([{"gasPrice": 0}, {"maxFeePerGas": 0, "maxPriorityFeePerGas": 0}]):
        raw = account.sign_transaction(fields | fees | {"nonce": nonce}).raw_transaction
        receipt = w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(raw))
        (record,) = block_records(w3, [receipt["blockNumber"]])
        assert record.transactions == (bytes(raw),)


@pytest.mark.e2e
def test_a_chain_that_was_rolled_back_or_replaced_is_noticed(tmp_path: Path) -> None:
    with LocalChain(tmp_path) as chain:
        w3 = connect(chain.rpc_url)
        study = StudyOnChain(chain.rpc_url, tmp_path, journal=Journal(tmp_path / "party.jsonl"))
        snapshot = command(w3, "evm_snapshot")
        study.coordinator.open_round(CONFIG)
        command(w3, "evm_revert", snapshot)
        with pytest.raises(ChainError, match=r"party\.jsonl: block 9 is missing"):
            study.coordinator.sync()
        command(w3, "evm_mine")
        with pytest.raises(ChainError, match="block 9 differs"):
            study.coordinator.sync()


def _set_storage(w3: Web3, address: str) -> None:
    command(w3, "anvil_setStorageAt", address, "0x" + 64 * "0", "0x" + 64 * "1")


def _set_code(w3: Web3, address: str) -> None:
    command(w3, "anvil_setCode", address, "0x00")


def _set_nonce(w3: Web3, address: str) -> None:
    command(w3, "anvil_setNonce", "0x" + 40 * "5", "0x10")


@pytest.mark.e2e
@pytest.mark.parametrize("tamper", [_set_storage, _set_code, _set_nonce])
def test_a_node_that_was_edited_does_not_reproduce(tmp_path: Path, tamper: object) -> None:
    """The edit itself leaves no trace in the node; the next block's state root does."""
    assert callable(tamper)
    chain = LocalChain(tmp_path / "chain")
    with chain:
        study = StudyOnChain(chain.rpc_url, tmp_path)
        w3 = connect(chain.rpc_url)
        tamper(w3, study.address)
        command(w3, "evm_mine")
    with pytest.raises(ChainError, match="Block 9 of the journal does not reproduce"):
        chain.start()
    assert not chain.running


@pytest.mark.e2e
def test_a_transaction_that_its_sender_did_not_sign_is_noticed(tmp_path: Path) -> None:
    """A development node executes in anyone's name; its block then holds what no key signed."""
    with LocalChain(tmp_path / "chain") as chain:
        study = StudyOnChain(chain.rpc_url, tmp_path)
        w3 = connect(chain.rpc_url)
        forged = study.wallets[0].address
        command(w3, "anvil_impersonateAccount", forged)
        call = {"from": forged, "to": study.address, "data": "0x", "gas": "0x10000", "gasPrice": "0x0"}
        sent = command(w3, "eth_sendTransaction", call)
        height = w3.eth.wait_for_transaction_receipt(sent)["blockNumber"]
        with pytest.raises(ChainError, match=f"in block {height} is not signed by its sender"):
            chain.journal.follow(w3)


@pytest.mark.e2e
def test_a_changed_time_in_the_journal_is_noticed(tmp_path: Path) -> None:
    chain = LocalChain(tmp_path / "chain")
    with chain:
        StudyOnChain(chain.rpc_url, tmp_path)
    lines = chain.journal.path.read_text().splitlines()
    changed = json.loads(lines[2])
    changed["timestamp"] += 1
    lines[2] = json.dumps(changed)
    chain.journal.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ChainError, match="Block 3 of the journal does not reproduce"):
        LocalChain(tmp_path / "chain").start()


def test_a_line_nested_beyond_reason_is_one_sentence(tmp_path: Path) -> None:
    """Parsed without bound, it would end the process and not only the reading."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(100_000 * b"[" + b"\n")
    with pytest.raises(StoreError):
        Journal(path).records()
