"""One entry of a file ledger: an action, signed by its wallet and bound to the entry before it."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from fedchest.ledger.contract import LedgerRefusal
from fedchest.ledger.file.rules.submissions import recovered
from fedchest.ledger.wallet import Wallet
from fedchest.protection.commitment import typed_digest

CHAIN_ID = 0
"""Of every file ledger; no chain has it."""

_FIELDS = (
    ("number", "uint64"),
    ("time", "uint64"),
    ("previous", "bytes32"),
    ("callHash", "bytes32"),
)

# One form for one entry: what JSON leaves open (spaces, order, escapes, nesting) is no entry's.
_NUMBER = rb"(0|[1-9][0-9]{0,18})"
_LINE = re.compile(
    rb'\{"number":' + _NUMBER + rb',"time":' + _NUMBER + rb',"previous":"(0x[0-9a-f]{64})",'
    rb'"sender":"(0x[0-9a-fA-F]{40})","call":"(0x(?:[0-9a-f]{2})*)","signature":"(0x[0-9a-f]{130})"\}'
)


@dataclass(frozen=True)
class Entry:
    """An action of the wallet `sender` (checksummed) at `time`, seconds since 1970. Entries count from 1.

    `previous` is the hash (0x..., SHA-256 of its line) of the entry before, of the first one what sets this ledger
    apart from every other. `call` (0x...) is what a transaction to the contract would carry, of the first the rules.
    """

    number: int
    time: int
    previous: str
    sender: str
    call: str
    signature: str = ""

    def to_line(self) -> bytes:
        """One JSON line, without its newline."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_line(cls, line: bytes) -> "Entry":
        """Raises ValueError on a line that is not exactly what `to_line` writes of a signed entry."""
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError("not of an entry's form")
        number, time, previous, sender, call, signature = (text.decode() for text in found.groups())
        return cls(int(number), int(time), previous, sender, call, signature)

    @property
    def hash(self) -> bytes:
        """What the next entry is bound to: SHA-256 (32 bytes) of the line."""
        return hashlib.sha256(self.to_line()).digest()

    @property
    def parent(self) -> bytes:
        """`previous` as bytes."""
        return bytes.fromhex(self.previous[2:])

    def signed(self, wallet: Wallet, ledger: str) -> "Entry":
        """With the wallet's signature, for the ledger at that address."""
        return replace(self, signature="0x" + wallet.sign_digest(self._digest(ledger)).hex())

    def is_signed(self, ledger: str) -> bool:
        """Whether `sender` signed it, for the ledger at that address."""
        try:
            signer = recovered(self._digest(ledger), bytes.fromhex(self.signature[2:]))
        except LedgerRefusal:
            return False
        return signer == self.sender

    def _digest(self, ledger: str) -> bytes:
        """EIP-712, so that no wallet can be made to sign an entry as something else."""
        values = (self.number, self.time, self.parent, keccak(hexstr=self.call))
        return typed_digest(CHAIN_ID, ledger, "Entry", _FIELDS, values)


def ledger_address(first: Entry) -> str:
    """The address (checksummed) that stands for a ledger: the end of its first entry's hash."""
    return to_checksum_address(first.hash[-20:])
