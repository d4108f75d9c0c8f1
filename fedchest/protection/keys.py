"""Secret files, readable by their owner only or not used, and the X25519 keys that seals are made for."""

import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fedchest.errors import ConfigError, KeyFileError
from fedchest.files import OWNER_ONLY, write_atomically

_SHARED = stat.S_IRWXG | stat.S_IRWXO


def write_secret(path: Path, secret: bytes) -> None:
    """Write `secret` to the new file `path`, readable by its owner only.

    Raises KeyFileError when the file exists (a key is never overwritten), StoreError as `write_atomically`.
    """
    try:
        write_atomically(path, secret, mode=OWNER_ONLY, overwrite=False)
    except FileExistsError:
        raise KeyFileError(f"{path} exists already and is not overwritten.") from None


def read_secret(path: Path) -> bytes:
    """The content of the secret file `path`. Raises KeyFileError when it is absent or others can reach it."""
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"The key file {path} can't be read: {error.strerror}.") from None
    if mode & _SHARED:
        raise KeyFileError(f"The key file {path} is open to others than its owner: run chmod 600 on it.")
    return content


def create_sealing_key(path: Path) -> X25519PrivateKey:
    """Make an X25519 key pair and write the private key to `path` (PKCS#8 PEM). Raises as `write_secret`."""
    key = X25519PrivateKey.generate()
    write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def load_sealing_key(path: Path) -> X25519PrivateKey:
    """The X25519 private key at `path`. Raises KeyFileError as `read_secret`, or when it is no such key."""
    content = read_secret(path)
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, X25519PrivateKey):
        raise KeyFileError(f"The key file {path} holds no unencrypted X25519 private key in PEM form.")
    return key


def encode_public_key(key: X25519PublicKey) -> str:
    """The public key as 64 hexadecimal digits."""
    return key.public_bytes_raw().hex()


def decode_public_key(text: str) -> X25519PublicKey:
    """The public key that `encode_public_key` wrote. Raises ConfigError when `text` is not of that form."""
    try:
        return X25519PublicKey.from_public_bytes(bytes.fromhex(text))
    except ValueError:
        raise ConfigError(f"{text!r} is not a public sealing key of 64 hexadecimal digits.") from None
