"""Who signs an exported bundle: an Ethereum wallet (EIP-191), or an Ed25519 key."""

from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fedchest.errors import KeyFileError
from fedchest.ledger.wallet import Wallet, recover_address
from fedchest.protection.keys import read_secret

EIP191, ED25519 = "eip191", "ed25519"
_PEM = b"-----BEGIN"
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_WALLET_SIGNATURE_BYTES = 65


class Signer(Protocol):
    """A key; `scheme` names how it signs, `identity` is the address or public key to compare with."""

    scheme: str
    identity: str

    def sign(self, message: bytes) -> bytes: ...


class _WalletSigner:
    scheme = EIP191

    def __init__(self, wallet: Wallet) -> None:
        self.identity = wallet.address
        self.sign = wallet.sign_message


class _Ed25519Signer:
    scheme = ED25519

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self.identity = "0x" + key.public_key().public_bytes_raw().hex()
        self.sign = key.sign


def load_signer(path: Path) -> Signer:
    """The wallet or Ed25519 key (PKCS#8 PEM) at `path`. Raises KeyFileError as `read_secret`, or when it is neither."""
    content = read_secret(path)
    if not content.startswith(_PEM):
        return _WalletSigner(Wallet.load(path))
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"The key file {path} holds no unencrypted Ed25519 private key in PEM form.")
    return _Ed25519Signer(key)


def signed_by(scheme: str, identity: str, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is the one that `identity` gave `message`; a second form of the same is none."""
    if scheme == EIP191:
        canonical = (
            len(signature) == _WALLET_SIGNATURE_BYTES
            and int.from_bytes(signature[32:64]) <= _HALF_ORDER
            and signature[64] in (27, 28)
        )
        return canonical and recover_address(message, signature) == identity
    if scheme != ED25519:
        return False
    try:
        public = bytes.fromhex(identity[2:])
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return identity == "0x" + public.hex()
