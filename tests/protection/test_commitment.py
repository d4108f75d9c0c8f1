"""The commitment against eth_account's own EIP-712 encoding, and what it binds."""

import dataclasses
import hashlib

import pytest
from eth_account.messages import _hash_eip191_message, encode_typed_data

from fedchest.protection.commitment import DOMAIN_FIELDS, NAME, SUBMISSION_FIELDS, VERSION, commitment
from fedchest.protection.context import UpdateContext

CONTEXT = UpdateContext(
    chain_id=31337,
    contract="0x5FbDB2315678afecb367f032d93F642f64180aa3",
    round=7,
    institution=3,
    base_model=hashlib.sha256(b"model").digest(),
)
HASHES = tuple(hashlib.sha256(bytes([i])).digest() for i in range(3))


def test_commitment_is_the_digest_of_the_typed_data() -> None:
    values = (CONTEXT.round, CONTEXT.institution, CONTEXT.base_model, *HASHES, 12, 3_500_000)
    domain = (NAME, VERSION, CONTEXT.chain_id, CONTEXT.contract)
    message = encode_typed_data(
        {name: value for (name, _), value in zip(DOMAIN_FIELDS, domain, strict=True)},
        {"Submission": [{"name": name, "type": kind} for name, kind in SUBMISSION_FIELDS]},
        {name: value for (name, _), value in zip(SUBMISSION_FIELDS, values, strict=True)},
    )
    assert commitment(CONTEXT, *HASHES, 12, 3_500_000) == bytes(_hash_eip191_message(message))


@pytest.mark.parametrize("field", ["chain_id", "contract", "round", "institution", "base_model"])
def test_every_field_of_the_context_is_bound(field: str) -> None:
    other = {
        "chain_id": 1,
        "contract": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "round": 8,
        "institution": 4,
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
