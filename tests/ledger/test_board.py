"""Cosignatures as they are signed, written and read: no byte changes unnoticed, and no garbage stops a reader."""

import json
from pathlib import Path

import pytest
from consortium import CHAIN_ID, GENESIS, signed, wallets
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from fedchest.errors import StoreError
from fedchest.ledger.wallet import Wallet, recover_digest_signer
from fedchest.ledger.witness.board import Board
from fedchest.ledger.witness.checkpoint import Checkpoint, Cosignature


@pytest.fixture(scope="module")
def wallet(tmp_path_factory: pytest.TempPathFactory) -> Wallet:
    return wallets(tmp_path_factory.mktemp("witness"), 1)[0]


@pytest.fixture(scope="module")
def cosignature(wallet: Wallet) -> Cosignature:
    return signed(wallet, 7, b"block")


def test_what_is_signed_is_eip_712_typed_data() -> None:
    checkpoint = Checkpoint(GENESIS, 2**40, b"h" * 32)
    types = {"Checkpoint": [("genesis", "bytes32"), ("height", "uint256"), ("blockHash", "bytes32")]}
    fields = {
        name: [{"name": field, "type": kind} for field, kind in listed] for name, listed in types.items()
    }
    message = {"genesis": GENESIS, "height": 2**40, "blockHash": b"h" * 32}
    domain = {"name": "fedchest-checkpoint", "version": "1", "chainId": 5}
    signable = encode_typed_data(domain, fields, message)
    assert checkpoint.digest(5) == keccak(b"\x19" + signable.version + signable.header + signable.body)


def test_a_cosignature_is_its_signers_and_reads_back(wallet: Wallet, cosignature: Cosignature) -> None:
    assert cosignature.signer == wallet.address
    assert cosignature.holds(CHAIN_ID) and not cosignature.holds(CHAIN_ID + 1)
    assert Cosignature.from_line(cosignature.to_line(), CHAIN_ID) == cosignature
    assert signed(wallet, 7, b"block") == cosignature


@given(data=st.data())
def test_a_changed_byte_is_no_cosignature_of_the_signer(
    cosignature: Cosignature, data: st.DataObject
) -> None:
    line = bytearray(cosignature.to_line())
    place = data.draw(st.integers(0, len(line) - 2))
    line[place] ^= data.draw(st.integers(1, 255))
    read = Cosignature.from_line(bytes(line), CHAIN_ID)
    assert read is None or read.signer != cosignature.signer


@given(st.binary(max_size=70))
def test_any_bytes_for_a_signature_are_read_without_a_fault(signature: bytes) -> None:
    recover_digest_signer(b"d" * 32, signature)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"null", b"7", b"\xff", b"[" * 100_000, b'{"genesis": 1, "height": 1}'],
)
def test_a_line_that_is_none_reads_as_none(line: bytes) -> None:
    assert Cosignature.from_line(line, CHAIN_ID) is None


@pytest.mark.parametrize("height", [0, -1, 2**64, 7.0, True, "7"])
def test_a_height_is_a_whole_number_above_zero(cosignature: Cosignature, height: object) -> None:
    line = cosignature.to_line()
    changed = line.replace(b'"height": 7', b'"height": ' + json.dumps(height).encode())
    assert changed != line
    assert Cosignature.from_line(changed, CHAIN_ID) is None


def test_a_reader_goes_on_where_it_stopped(wallet: Wallet, tmp_path: Path) -> None:
    writer, reader = Board(tmp_path, CHAIN_ID), Board(tmp_path, CHAIN_ID)
    first, second, third = (signed(wallet, height, b"x") for height in (1, 2, 3))
    writer.publish("w", [first])
    assert reader.new() == [first]
    writer.publish("w", [second, third])
    assert reader.new() == [second, third]
    assert reader.new() == []
    assert Board(tmp_path, CHAIN_ID).new() == [first, second, third]


def test_a_line_that_is_being_written_is_read_when_it_is_whole(
    cosignature: Cosignature, tmp_path: Path
) -> None:
    line = cosignature.to_line()
    board = Board(tmp_path, CHAIN_ID)
    for cut in range(0, len(line), 50):
        (tmp_path / "w.jsonl").write_bytes(line[:cut])
        assert board.new() == [] and board.bad_lines() == {}
    (tmp_path / "w.jsonl").write_bytes(line)
    assert board.new() == [cosignature]


@pytest.mark.parametrize("cut", [1, 100, 10_000])
def test_what_a_crash_cut_off_is_written_over(wallet: Wallet, tmp_path: Path, cut: int) -> None:
    board = Board(tmp_path, CHAIN_ID)
    board.publish("w", [signed(wallet, 1, b"x"), signed(wallet, 2, b"x")])
    path = tmp_path / "w.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    board.publish("w", [signed(wallet, 3, b"x")])
    heights = [one.checkpoint.height for one in Board(tmp_path, CHAIN_ID).new()]
    assert heights == ([1, 3] if cut < 1000 else [3])
    assert Board(tmp_path, CHAIN_ID).bad_lines() == {}


def test_nothing_of_a_cut_off_line_is_left_behind_a_shorter_one(wallet: Wallet, tmp_path: Path) -> None:
    (tmp_path / "w.jsonl").write_bytes(b"x" * 900)
    Board(tmp_path, CHAIN_ID).publish("w", [signed(wallet, 3, b"x")])
    board = Board(tmp_path, CHAIN_ID)
    assert [one.checkpoint.height for one in board.new()] == [3]
    assert (tmp_path / "w.jsonl").read_bytes() == signed(wallet, 3, b"x").to_line()


def test_garbage_in_one_file_hides_nothing_in_another(cosignature: Cosignature, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"nonsense\n{}\n")
    (tmp_path / "b.jsonl").write_bytes(b"x" * 5000 + b"\n" + cosignature.to_line())
    (tmp_path / "c.jsonl").write_bytes(b"\n" + cosignature.to_line())
    board = Board(tmp_path, CHAIN_ID)
    assert board.new() == [cosignature]
    assert board.bad_lines() == {"a.jsonl": 2, "b.jsonl": 1, "c.jsonl": 1}
    assert board.new() == []


def test_a_folder_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="absent is no folder"):
        Board(tmp_path / "absent", CHAIN_ID).new()
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(StoreError, match=r"d\.jsonl can't be read"):
        Board(tmp_path, CHAIN_ID).new()
    with pytest.raises(StoreError, match=r"d\.jsonl can't be written"):
        Board(tmp_path, CHAIN_ID).publish("d", [])
