"""What an institution's wallet writes on chain about an update: the Python twin of the contract's hash."""

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fedchest.protection.context import UpdateContext

_TYPE_TAG = keccak(b"fedchest/commitment/v1")
_ABI_TYPES = (
    "bytes32",  # type tag
    "uint256",  # chain id
    "address",  # contract
    "uint256",  # round
    "address",  # institution
    "bytes32",  # base model
    "bytes32",  # sealed hash
    "bytes32",  # plaintext hash
    "bytes32",  # manifest hash
    "uint16",  # weight class
    "uint64",  # epsilon
)


def commitment(
    context: UpdateContext,
    sealed_hash: bytes,
    plaintext_hash: bytes,
    manifest_hash: bytes,
    weight_class: int,
    epsilon: int,
) -> bytes:
    """keccak256(abi.encode(...)) over the context and what is submitted in it, 32 bytes.

    The three hashes are SHA-256 digests (32 bytes), `weight_class` is a uint16, `epsilon` is in micro-units
    (uint64). Every argument has a fixed length in the encoding: no two submissions share a preimage.
    """
    values = (
        _TYPE_TAG,
        context.chain_id,
        context.contract,
        context.round,
        context.institution,
        context.base_model,
        sealed_hash,
        plaintext_hash,
        manifest_hash,
        weight_class,
        epsilon,
    )
    return keccak(encode(_ABI_TYPES, values))
