"""The file of an inclusion proof: its form, reading and writing. Nothing in it is believed; `inclusion` checks it."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, PlainSerializer, ValidationError

from fedchest.errors import StoreError
from fedchest.files import write_atomically

LARGEST_FILE = 1 << 20
"""Bytes of a proof that are read at most."""

_LARGEST_PART = 2048  # a header or trie node; honest ones have up to 700 bytes
_HEX = re.compile(r"0x(?:[0-9a-f]{2})*")


def hexadecimal(content: bytes) -> str:
    """`content` as the proof writes it: 0x and lower-case digits."""
    return "0x" + content.hex()


def _parsed(value: object) -> object:
    if isinstance(value, str) and _HEX.fullmatch(value):
        return bytes.fromhex(value[2:])
    if isinstance(value, bytes):
        return value
    raise ValueError("allowed is 0x and an even number of lower-case hexadecimal digits")


_Bytes = Annotated[bytes, BeforeValidator(_parsed), PlainSerializer(hexadecimal)]
_Hash = Annotated[_Bytes, Field(min_length=32, max_length=32)]
_Address = Annotated[_Bytes, Field(min_length=20, max_length=20)]
_Part = Annotated[_Bytes, Field(min_length=1, max_length=_LARGEST_PART)]
_Uint256 = Annotated[int, Field(ge=0, lt=1 << 256)]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Opening(_Form):
    """What an update's commitment hashes beside what the contract stores. `epsilon` is in micro-units."""

    institution: int = Field(ge=0, lt=1 << 16)
    chain_id: _Uint256
    sealed_hash: _Hash
    plaintext_hash: _Hash
    manifest_hash: _Hash
    epsilon: int = Field(ge=0, lt=1 << 64)


class Claim(_Form):
    """That `hash` belongs to a round of the contract's study.

    `update` opens the commitment of the update that the hash is of; None for a model's.
    """

    hash: _Hash
    contract: _Address
    round: _Uint256
    update: Opening | None


class InclusionProof(_Form):
    """A claim, and what leads to it from a block's hash.

    `header` is the block's, in RLP; `nodes` are those of the state trie that lead from it to the contract's words.
    """

    format: Literal["fedchest/inclusion-proof/v1"] = "fedchest/inclusion-proof/v1"
    claim: Claim
    header: _Part
    nodes: Annotated[tuple[_Part, ...], FailFast()]  # or a hostile file costs an error for each


def read_proof(path: Path) -> InclusionProof:
    """Read a proof. Raises StoreError when the file can't be read, is too large or is not of the form."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}.") from None
    if len(content) > LARGEST_FILE:
        raise StoreError(f"{path} is no inclusion proof: it has more than {LARGEST_FILE:,} bytes.")
    try:
        return InclusionProof.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise StoreError(f"{path} is no inclusion proof: {place!r:.80}: {fault['msg']:.200}.") from None


def write_proof(path: Path, proof: InclusionProof) -> int:
    """Write a proof; its size in bytes. Raises StoreError."""
    content = (proof.model_dump_json(indent=1) + "\n").encode()
    write_atomically(path, content)
    return len(content)
