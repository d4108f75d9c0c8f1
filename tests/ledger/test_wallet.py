"""Wallet files: owner-only, never overwritten, and readable in every failure."""

from pathlib import Path

import pytest
from eth_account import Account

from fedchest.errors import KeyFileError
from fedchest.ledger.wallet import Wallet, recover_address


def test_a_wallet_is_read_back_and_its_file_is_the_owners(tmp_path: Path) -> None:
    wallet = Wallet.create(tmp_path / "key")
    assert Wallet.load(tmp_path / "key").address == wallet.address
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_wallet_is_never_overwritten(tmp_path: Path) -> None:
    Wallet.create(tmp_path / "key")
    with pytest.raises(KeyFileError, match="not overwritten"):
        Wallet.create(tmp_path / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    Wallet.create(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Wallet.load(tmp_path / "key")


@pytest.mark.parametrize("content", ["", "zz" * 32, "11" * 31, "00" * 32, "ff" * 32])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(KeyFileError, match="does not hold a wallet's key"):
        Wallet.load(tmp_path / "key")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="absent can't be read"):
        Wallet.load(tmp_path / "absent")


def test_a_signed_transaction_is_the_wallets(tmp_path: Path) -> None:
    wallet = Wallet.create(tmp_path / "key")
    fields = {"chainId": 1, "nonce": 0, "gas": 21000, "gasPrice": 0, "to": wallet.address, "value": 0}
    signed = wallet.sign(fields)
    assert Account.recover_transaction(signed.raw_transaction) == wallet.address
    assert wallet.sign(fields).raw_transaction == signed.raw_transaction


def test_a_signed_message_names_its_signer_and_no_other_message(tmp_path: Path) -> None:
    wallet = Wallet.create(tmp_path / "key")
    signature = wallet.sign_message(b"hello")
    assert recover_address(b"hello", signature) == wallet.address
    assert recover_address(b"hellp", signature) != wallet.address
    assert recover_address(b"hello", signature[:-1]) is None
    assert recover_address(b"hello", bytes(65)) is None
