"""What a witness signs: that a chain's block of some height has this hash, as EIP-712 typed data."""

import json
import re
from dataclasses import dataclass

from eth_utils.crypto import keccak

from fedchest.ledger.wallet import Wallet, recover_digest_signer

_NAME, _VERSION = "fedchest-checkpoint", "1"
_TYPES = {
    "Checkpoint": [
        {"name": "genesis", "type": "bytes32"},
        {"name": "height", "type": "uint256"},
        {"name": "blockHash", "type": "bytes32"},
    ]
}
_TYPE_HASH = keccak(b"Checkpoint(bytes32 genesis,uint256 height,bytes32 blockHash)")
_DOMAIN_HASH = keccak(b"EIP712Domain(string name,string version,uint256 chainId)")
_WORD = 32
# Matched whole rather than parsed: what a liar puts up is not worth a parser.
_LINE = re.compile(
    rb'\{"genesis": "0x(?P<genesis>[0-9a-f]{64})", "height": (?P<height>[1-9][0-9]{0,17}), '
    rb'"hash": "0x(?P<hash>[0-9a-f]{64})", "signature": "0x(?P<signature>[0-9a-f]{130})"\}\n'
)
_HEXADECIMAL = ("genesis", "hash", "signature")


@dataclass(frozen=True)
class Checkpoint:
    """A block of a chain: hash of the genesis block, height, and the block's hash (32 bytes each)."""

    genesis: bytes
    height: int
    block_hash: bytes

    def __str__(self) -> str:
        return f"block {self.height}, 0x{self.block_hash.hex()}"

    def digest(self, chain_id: int) -> bytes:
        """The 32 bytes that are signed (EIP-712): chain id and `fedchest-checkpoint` are in it."""
        domain = keccak(
            _DOMAIN_HASH + keccak(_NAME.encode()) + keccak(_VERSION.encode()) + chain_id.to_bytes(_WORD)
        )
        content = keccak(_TYPE_HASH + self.genesis + self.height.to_bytes(_WORD) + self.block_hash)
        return keccak(b"\x19\x01" + domain + content)


@dataclass(frozen=True)
class Cosignature:
    """A signature over a checkpoint, and the checksummed address that it shows to have made it."""

    checkpoint: Checkpoint
    signature: bytes
    signer: str

    def holds(self, chain_id: int) -> bool:
        """Whether the signature is the signer's, and over this checkpoint."""
        return recover_digest_signer(self.checkpoint.digest(chain_id), self.signature) == self.signer

    def to_json(self) -> dict[str, object]:
        """The form in which it is published. The signer is left out: the signature shows it."""
        return {
            "genesis": "0x" + self.checkpoint.genesis.hex(),
            "height": self.checkpoint.height,
            "hash": "0x" + self.checkpoint.block_hash.hex(),
            "signature": "0x" + self.signature.hex(),
        }

    def to_line(self) -> bytes:
        """One JSON line, newline included."""
        return json.dumps(self.to_json()).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes, chain_id: int) -> "Cosignature | None":
        """Read what `to_line` wrote; None for anything else, and where the signature is no one's."""
        form = _LINE.fullmatch(line)
        if form is None:
            return None
        genesis, block_hash, signature = (bytes.fromhex(form[name].decode()) for name in _HEXADECIMAL)
        checkpoint = Checkpoint(genesis, int(form["height"]), block_hash)
        signer = recover_digest_signer(checkpoint.digest(chain_id), signature)
        return None if signer is None else cls(checkpoint, signature, signer)


def cosign(wallet: Wallet, checkpoint: Checkpoint, chain_id: int) -> Cosignature:
    """Sign a checkpoint; the same one gives the same bytes. That no other was signed before is the caller's to know."""
    domain = {"name": _NAME, "version": _VERSION, "chainId": chain_id}
    message = {
        "genesis": checkpoint.genesis,
        "height": checkpoint.height,
        "blockHash": checkpoint.block_hash,
    }
    return Cosignature(checkpoint, wallet.sign_typed(domain, _TYPES, message), wallet.address)
