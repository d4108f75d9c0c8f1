"""A wallet's own record of what it signed: flushed before it is sent, so that the same bytes can be sent again."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from fedchest.errors import StoreError
from fedchest.files import OWNER_ONLY, append_durably, write_atomically

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SentTransaction:
    """A signed transaction, ready to be sent (again); `ledger` is the hash of the block that created its contract."""

    ledger: bytes
    nonce: int
    raw: bytes

    def to_line(self) -> bytes:
        """One JSON line, without its newline."""
        fields = {"ledger": "0x" + self.ledger.hex(), "nonce": self.nonce, "raw": "0x" + self.raw.hex()}
        return json.dumps(fields).encode()

    @classmethod
    def from_line(cls, line: bytes) -> "SentTransaction":
        """Raises ValueError, KeyError or TypeError on a line that is none of ours."""
        fields = json.loads(line)
        ledger, raw = (bytes.fromhex(fields[name][2:]) for name in ("ledger", "raw"))
        return cls(ledger, int(fields["nonce"]), raw)


class SentTransactions:
    """One wallet's transactions to one ledger, in a file beside the key; whoever calls holds the wallet alone.

    The ledger is known by the block that created it: chain id, genesis and even the contract's address are the same
    on every fresh development chain.
    """

    def __init__(self, wallet: Path, ledger: bytes) -> None:
        self._path = wallet.with_suffix(".sent")
        self._ledger = ledger

    def since(self, nonce: int) -> list[SentTransaction]:
        """Those with `nonce` or a later one, in order. Raises StoreError when the file is damaged."""
        own = (sent for sent in self._read() if sent.ledger == self._ledger and sent.nonce >= nonce)
        return sorted(own, key=lambda sent: sent.nonce)

    def add(self, nonce: int, raw: bytes) -> SentTransaction:
        """Flush a signed transaction that is about to be sent. Raises StoreError."""
        sent = SentTransaction(self._ledger, nonce, raw)
        append_durably(self._path, sent.to_line(), mode=OWNER_ONLY)
        return sent

    def drop(self, dropped: SentTransaction) -> None:
        """Forget one that can never be mined, since another holder of the key used its nonce."""
        left = [sent.to_line() + b"\n" for sent in self._read() if sent != dropped]
        write_atomically(self._path, b"".join(left), mode=OWNER_ONLY)

    def _read(self) -> list[SentTransaction]:
        if not self._path.exists():
            return []
        *lines, rest = self._path.read_bytes().split(b"\n")
        if rest:
            log.warning("%s: the last line was cut off while it was written and is dropped.", self._path)
            write_atomically(self._path, b"".join(line + b"\n" for line in lines), mode=OWNER_ONLY)
        return [self._parse(number, line) for number, line in enumerate(lines, start=1)]

    def _parse(self, number: int, line: bytes) -> SentTransaction:
        try:
            return SentTransaction.from_line(line)
        except (ValueError, KeyError, TypeError):
            raise StoreError(f"{self._path}: line {number} is not a sent transaction.") from None
