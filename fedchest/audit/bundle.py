"""The signed bundle: a study's chain and its artifacts' hashes in one file, to be checked offline.

JSON lines. The first says what it is of; then come the blocks from the genesis on, and the artifacts in the order of
their hashes; the last one signs the bytes of all before it. Nothing is read from a file before its signature holds.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedchest.audit.history import check_block, check_creation, creation
from fedchest.audit.machine import Machine
from fedchest.audit.registry import NO_HASH
from fedchest.audit.report import Faults
from fedchest.audit.signing import Signer, signed_by
from fedchest.errors import ChainError, ProofError, StoreError
from fedchest.files import write_atomically
from fedchest.ledger.blocks import Block
from fedchest.ledger.records import Event

FORMAT: Final = "fedchest/bundle/v1"
_LONGEST_LINE = 1 << 31

_Hex = Annotated[str, Field(pattern=r"^0x(?:[0-9a-f]{2})*$")]
_Hash = Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
_Line = TypeVar("_Line", bound="_Form")


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def to_line(self) -> bytes:
        """The one way to write it."""
        return self.model_dump_json().encode() + b"\n"


class _Title(_Form):
    format: Literal["fedchest/bundle/v1"] = FORMAT
    chain_id: int
    contract: str
    study: _Hash
    block: int = Field(ge=0)
    block_hash: _Hash
    artifacts: int


class _Block(_Form):
    header: _Hex
    transactions: list[_Hex]
    receipts: list[_Hex]


class _Artifact(_Form):
    sha256: _Hash
    bytes: int | None
    content: str | None


class _Signature(_Form):
    scheme: str
    signer: str
    signature: _Hex


@dataclass(frozen=True)
class Artifact:
    """An artifact by its SHA-256 digest; `size` in bytes and `content` are None where they are not in the bundle."""

    digest: bytes
    size: int | None
    content: bytes | None


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: who signed it, what it is of, and what it holds."""

    scheme: str
    signer: str
    chain_id: int
    contract: str
    study: bytes
    blocks: Sequence[Block]
    events: Sequence[Event]
    artifacts: int
    contained: int

    @property
    def head(self) -> bytes:
        """Hash of the last block."""
        return self.blocks[-1].header.hash

    def facts(self) -> dict[str, Any]:
        """What it shows, in plain form."""
        return {
            "scheme": self.scheme,
            "signer": self.signer,
            "chain_id": self.chain_id,
            "contract": self.contract,
            "study": "0x" + self.study.hex(),
            "block": len(self.blocks) - 1,
            "block_hash": "0x" + self.head.hex(),
            "events": len(self.events),
            "artifacts": self.artifacts,
            "artifacts_contained": self.contained,
        }


def write_bundle(
    path: Path,
    signer: Signer,
    *,
    chain_id: int,
    contract: str,
    study: bytes,
    blocks: Sequence[Block],
    artifacts: Iterable[Artifact],
) -> int:
    """Write and sign a bundle; its size in bytes. Raises StoreError."""
    listed = sorted(artifacts, key=lambda artifact: artifact.digest)
    head = blocks[-1].header
    title = _Title(
        chain_id=chain_id,
        contract=contract,
        study=_hex(study),
        block=head.number,
        block_hash=_hex(head.hash),
        artifacts=len(listed),
    )
    lines = [title.to_line(), *map(_block_line, blocks), *map(_artifact_line, listed)]
    body = b"".join(lines)
    signature = signer.sign(_message(hashlib.sha256(body).digest()))
    last = _Signature(scheme=signer.scheme, signer=signer.identity, signature=_hex(signature))
    content = body + last.to_line()
    write_atomically(path, content)
    return len(content)


def is_bundle(path: Path) -> bool:
    """Whether a file begins as a bundle does. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(_BEGINNING)) == _BEGINNING


def check_bundle(path: Path) -> Bundle:
    """Check a bundle from its bytes alone.

    The signature is over every byte before it; blocks hash and link; the contract was created by the shipped
    constructor; the events are what its state machine allows; what the chain names is listed, and what is contained
    hashes to its name. Raises StoreError when the file is no bundle, ProofError when it does not hold.
    """
    try:
        if not is_bundle(path):
            raise StoreError(f"{path} is no signed bundle.")
        with path.open("rb") as file:
            signature = _signature(file)
            file.seek(0)
            return _checked(file, signature)
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}.") from None
    except (Faults, ChainError) as fault:
        raise ProofError(f"The bundle's chain does not hold: {fault}") from None


def _signature(file: BinaryIO) -> _Signature:
    """The last line, if it signs all before it."""
    digest, last = hashlib.sha256(), b""
    for line in _lines(file):
        digest.update(last)
        last = line
    try:
        signature = _Signature.model_validate_json(last)
    except ValidationError:
        raise ProofError("The bundle does not end in a signature: it was cut off or changed.") from None
    signed = signed_by(
        signature.scheme, signature.signer, _message(digest.digest()), bytes.fromhex(signature.signature[2:])
    )
    if not signed or signature.to_line() != last:
        raise ProofError(
            f"The signature is not {signature.signer:.66}'s over these bytes: they were changed."
        )
    return signature


def _checked(file: BinaryIO, signature: _Signature) -> Bundle:
    lines = _lines(file)
    title = _parsed(_Title, lines)
    blocks = [_read_block(_parsed(_Block, lines)) for _ in range(title.block + 1)]
    parent = NO_HASH
    for number, block in enumerate(blocks):
        check_block(block, number, parent)
        parent = block.header.hash
    events = [event for block in blocks for event in block.events(title.contract)]
    machine = _replayed(title, blocks, events)
    stated = (title.block_hash, title.study)
    if stated != (_hex(parent), _hex(machine.rules.study)):
        raise ProofError("The bundle's title names another block or study than it holds.")
    listed, contained = _artifacts(lines, title.artifacts)
    missing = _named(events) - listed
    if missing:
        raise ProofError(f"The bundle does not list {_hex(min(missing))}, which its chain names.")
    return Bundle(
        signature.scheme,
        signature.signer,
        title.chain_id,
        title.contract,
        machine.rules.study,
        blocks,
        events,
        len(listed),
        contained,
    )


def _replayed(title: _Title, blocks: Sequence[Block], events: Sequence[Event]) -> Machine:
    _, transaction = creation(blocks, title.contract)
    created = next((event for event in events if event.name == "StudyCreated"), None)
    if created is None:
        raise ProofError("The bundle's chain does not tell that its contract was created.")
    check_creation(transaction, dict(created.values))
    machine = Machine(title.chain_id, title.contract, lambda number: blocks[number - 1].header.hash)
    machine.replay(events)
    return machine


def _artifacts(lines: Iterator[bytes], count: int) -> tuple[set[bytes], int]:
    """The digests listed, and how many of their contents are there."""
    listed: list[str] = []
    contained = 0
    for _ in range(count):
        artifact = _parsed(_Artifact, lines)
        listed.append(artifact.sha256)
        if artifact.content is not None:
            content = _decoded(artifact.content)
            if _hex(hashlib.sha256(content).digest()) != artifact.sha256 or len(content) != artifact.bytes:
                raise ProofError(f"The content of {artifact.sha256} in the bundle does not hash to it.")
            contained += 1
    if listed != sorted(set(listed)):
        raise ProofError("The bundle lists an artifact twice, or out of order.")
    return {bytes.fromhex(digest[2:]) for digest in listed}, contained


def _decoded(content: str) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except ValueError:
        raise ProofError("The bundle holds an artifact that is not in base64.") from None


def _named(events: Iterable[Event]) -> set[bytes]:
    """What the events name and the chain rests on: models, records, and the parts of accepted updates."""
    named: set[Any] = set()
    submitted: dict[tuple[int | None, int | None], tuple[Any, Any]] = {}
    for event in events:
        values: Any = event.values
        if event.name == "InitialModelApproved":
            named |= {values["model"], values["provenance"]}
        if event.name == "UpdateSubmitted":
            submitted[event.round, event.institution] = (values["sealed_hash"], values["manifest_hash"])
        if event.name == "AggregateProposed":
            named |= {values["new_model"], values["record"], values["sum_hash"]}
            named |= {part for member in values["accepted"] for part in submitted[event.round, member]}
    return named


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE):
        yield line


def _parsed(kind: type[_Line], lines: Iterator[bytes]) -> _Line:
    try:
        return kind.model_validate_json(next(lines, b""))
    except ValidationError:
        raise ProofError(
            "The bundle is signed, but not of the form that this version of FedChest reads."
        ) from None


def _read_block(line: _Block) -> Block:
    return Block(
        bytes.fromhex(line.header[2:]),
        tuple(bytes.fromhex(raw[2:]) for raw in line.transactions),
        tuple(bytes.fromhex(raw[2:]) for raw in line.receipts),
    )


def _block_line(block: Block) -> bytes:
    return _Block(
        header=_hex(block.encoded_header),
        transactions=[_hex(raw) for raw in block.raw_transactions],
        receipts=[_hex(raw) for raw in block.receipts],
    ).to_line()


def _artifact_line(artifact: Artifact) -> bytes:
    content = None if artifact.content is None else base64.b64encode(artifact.content).decode()
    return _Artifact(sha256=_hex(artifact.digest), bytes=artifact.size, content=content).to_line()


def _message(digest: bytes) -> bytes:
    """What is signed: this format's name keeps it apart from whatever else the key signs."""
    return FORMAT.encode() + b"\n" + digest


def _hex(content: bytes) -> str:
    return "0x" + content.hex()


_BEGINNING = json.dumps({"format": FORMAT}, separators=(",", ":"))[:-1].encode()
