"""The commitment's preimage, built here word by word as the ABI specification says."""

import dataclasses
import hashlib

import pytest
from eth_utils.crypto import keccak

from fedchest.protection.commitment import commitment
from fedchest.protection.context import UpdateContext

CONTEXT = UpdateContext(
    chain_id=31337,
    contract="0x5FbDB2315678afecb367f032d93F642f64180aa3",
    round=7,
    institution="0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    base_model=hashlib.sha256(b"model").digest(),
)
HASHES = tuple(hashlib.sha256(bytes([i])).digest() for i in range(3))


def word(value: int | bytes | str) -> bytes:
    if isinstance(value, str):
        value = int(value, 16)
    return value.to_bytes(32, "big") if isinstance(value, int) else value


def test_commitment_is_keccak_of_padded_words() -> None:
    preimage = b"".join(
        map(
            word,
            (
                keccak(b"fedchest/commitment/v1"),
                CONTEXT.chain_id,
                CONTEXT.contract,
                CONTEXT.round,
                CONTEXT.institution,
                CONTEXT.base_model,
                *HASHES,
                12,
                3_500_000,
            ),
        )
    )
    assert len(preimage) == 11 * 32
    assert commitment(CONTEXT, *HASHES, 12, 3_500_000) == keccak(preimage)


@pytest.mark.parametrize("field", ["chain_id", "contract", "round", "institution", "base_model"])
def test_every_field_of_the_context_is_bound(field: str) -> None:
    other = {
        "chain_id": 1,
        "contract": CONTEXT.institution,
        "round": 8,
        "institution": CONTEXT.contract,
        "base_model": HASHES[0],
    }
    changed = dataclasses.replace(CONTEXT, **{field: other[field]})
    assert commitment(changed, *HASHES, 12, 1) != commitment(CONTEXT, *HASHES, 12, 1)


@pytest.mark.parametrize("at", range(5))
def test_everything_submitted_is_bound(at: int) -> None:
    submitted: list[bytes | int] = [*HASHES, 12, 3_500_000]
    reference = commitment(CONTEXT, *submitted)  # type: ignore[arg-type]
    value = submitted[at]
    submitted[at] = value + 1 if isinstance(value, int) else bytes(32)
    assert commitment(CONTEXT, *submitted) != reference  # type: ignore[arg-type]
