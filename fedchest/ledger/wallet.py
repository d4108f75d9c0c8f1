"""A party's secp256k1 key in an owner-only file, and the lock by which it sends one transaction a time."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.datastructures import SignedTransaction
from eth_account.messages import encode_defunct
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from fedchest.errors import KeyFileError
from fedchest.protection.keys import read_secret, write_secret


class Wallet:
    """A key that signs transactions. `address` is checksummed; the key itself stays inside."""

    def __init__(self, path: Path, key: bytes) -> None:
        self.path = path
        self._account = Account.from_key(key)
        self.address = str(self._account.address)

    @classmethod
    def create(cls, path: Path) -> "Wallet":
        """Make a key from the system's generator and keep it at `path`. Raises as `write_secret`."""
        key = bytes(Account.create(os.urandom(32)).key)
        write_secret(path, key.hex().encode() + b"\n")
        return cls(path, key)

    @classmethod
    def load(cls, path: Path) -> "Wallet":
        """Read the key at `path`. Raises KeyFileError when it is missing, malformed or readable by others."""
        try:
            return cls(path, bytes.fromhex(read_secret(path).decode().strip()))
        except ValueError:
            raise KeyFileError(f"{path} does not hold a wallet's key (64 hexadecimal digits).") from None

    def sign_message(self, message: bytes) -> bytes:
        """The EIP-191 signature (65 bytes) over `message`, which can never be taken for a transaction."""
        return bytes(self._account.sign_message(encode_defunct(message)).signature)

    def sign_digest(self, digest: bytes) -> bytes:
        """The signature (65 bytes) of a digest of 32 bytes, which the caller made and so knows the meaning of."""
        return bytes(self._account.unsafe_sign_hash(digest).signature)

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign a transaction; the same fields give the same bytes (RFC 6979)."""
        signed: SignedTransaction = self._account.sign_transaction(transaction)
        return signed

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the key alone, among threads and processes of this machine."""
        with self.path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def recover_address(message: bytes, signature: bytes) -> str | None:
    """The checksummed address that signed `message` by `sign_message`; None for a malformed signature."""
    try:
        return str(Account.recover_message(encode_defunct(message), signature=signature))
    except (BadSignature, ValidationError, ValueError, TypeError, IndexError):
        return None
