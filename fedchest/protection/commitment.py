"""What an institution commits to on chain about an update: an EIP-712 digest, the Python twin of Submissions.sol."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fedchest.protection.context import UpdateContext

Fields = tuple[tuple[str, str], ...]
"""Name and type of each field, in order."""

DOMAIN_FIELDS = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
)
SUBMISSION_FIELDS = (
    ("round", "uint256"),
    ("institution", "uint16"),
    ("baseModel", "bytes32"),
    ("sealedHash", "bytes32"),
    ("plaintextHash", "bytes32"),
    ("manifestHash", "bytes32"),
    ("weightClass", "uint16"),
    ("epsilon", "uint64"),
)
NAME, VERSION = "FedChest", "1"


def commitment(
    context: UpdateContext,
    sealed_hash: bytes,
    plaintext_hash: bytes,
    manifest_hash: bytes,
    weight_class: int,
    epsilon: int,
) -> bytes:
    """The EIP-712 digest (32 bytes) of what is submitted, under the domain of the context's chain and contract.

    The three hashes are SHA-256 digests (32 bytes), `weight_class` is a uint16, `epsilon` is in micro-units
    (uint64). Every field has a fixed length in the encoding: no two submissions share a preimage. A submission
    that somebody else sends for the institution carries its wallet's signature of this digest.
    """
    submitted = (
        context.round,
        context.institution,
        context.base_model,
        sealed_hash,
        plaintext_hash,
        manifest_hash,
        weight_class,
        epsilon,
    )
    return typed_digest(context.chain_id, context.contract, "Submission", SUBMISSION_FIELDS, submitted)


def typed_digest(chain_id: int, contract: str, kind: str, fields: Fields, values: Sequence[Any]) -> bytes:
    """The EIP-712 digest (32 bytes) of a message of `kind`, all fields of fixed length, for chain and contract."""
    types = ("bytes32", *(type for _, type in fields))
    struct = encode(types, (_type_hash(kind, fields), *values))
    return keccak(b"\x19\x01" + _domain(chain_id, contract) + keccak(struct))


@lru_cache
def _domain(chain_id: int, contract: str) -> bytes:
    types = ("bytes32", "bytes32", "bytes32", "uint256", "address")
    names = (keccak(text=NAME), keccak(text=VERSION))
    return keccak(encode(types, (_type_hash("EIP712Domain", DOMAIN_FIELDS), *names, chain_id, contract)))


@lru_cache
def _type_hash(name: str, fields: Fields) -> bytes:
    return keccak(text=f"{name}({','.join(f'{kind} {field}' for field, kind in fields)})")
