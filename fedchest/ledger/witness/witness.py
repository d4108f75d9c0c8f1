"""A witness: follows the sequencer's chain on a node of its own, and cosigns what comes out there too."""

import fcntl
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from fedchest.errors import StoreError, TamperError
from fedchest.ledger.journal import BlockRecord
from fedchest.ledger.wallet import Wallet
from fedchest.ledger.witness.board import Board
from fedchest.ledger.witness.checkpoint import Checkpoint, cosign
from fedchest.ledger.witness.replica import Replica
from fedchest.ledger.witness.roster import Roster
from fedchest.ledger.witness.sequencer import Sequencer
from fedchest.ledger.witness.tally import Tally

WALLET, NODE = "witness.key", "node"


@dataclass(frozen=True)
class Progress:
    """What a step came to: the last block cosigned, how many were in this step, the last final one if any."""

    height: int
    cosigned: int
    final: Checkpoint | None


class Witness:
    """One witness, with its wallet and journal in `folder`; a context manager, in which its node runs.

    It signs what its journal holds and nothing else, and the journal is flushed before: there is no second hash for a
    height, whenever the process is killed. Who loses the journal must not use the key again.

    Entering raises KeyFileError without a wallet, StoreError when another process runs this witness or its journal is
    older than what it put up, and as `Replica.start`.
    """

    def __init__(
        self, folder: Path, rpc_url: str, board: Path, roster: Roster, *, port: int | None = None
    ) -> None:
        self.tally = Tally(roster)
        self._folder = folder
        self._roster = roster
        self._board = Board(board, roster.chain_id)
        self._sequencer = Sequencer(rpc_url)
        self._replica = Replica(folder / NODE, roster.genesis_hash, port)
        self._open = ExitStack()

    @property
    def rpc_url(self) -> str:
        """Its own node: what is read there follows from the blocks, whatever the sequencer's node answers."""
        return self._replica.rpc_url

    @property
    def address(self) -> str:
        """Of the key with which it cosigns."""
        return self._wallet.address

    def __enter__(self) -> "Witness":
        with ExitStack() as opening:
            self._wallet = self._held_wallet(opening)
            opening.callback(self._replica.stop)
            self._replica.start()
            self._put_up_what_is_missing()
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def step(self) -> Progress:
        """Follow the chain a stretch: re-execute, compare, record, cosign, put up.

        Raises TamperError when the chain, the state that its node serves, or more of the other witnesses than may lie
        contradict what came out here; nothing of the stretch is cosigned then. Raises ChainError when a node does not
        answer, and the next step goes on.
        """
        news = self._board.new()
        self.tally.add(news)
        final = self.tally.final()
        reading = self._sequencer.read_on(self._replica.checkpoint(self._replica.height), final)
        state_root = self._replica.repeat(reading.records, f"the chain at {self._sequencer.rpc_url}")
        changed = reading.state_root not in (None, state_root)
        if changed and not self._sequencer.serves(reading.head, state_root):
            raise TamperError(
                f"The node at {self._sequencer.rpc_url} does not serve the state that its block {reading.head} left: "
                "storage, code, a balance or a nonce was edited."
            )
        self._compare_with_others(reading.records, {cosignature.checkpoint.height for cosignature in news})
        self._replica.agree(reading.records)
        self._cosign(record.number for record in reading.records)
        return Progress(self._replica.height, len(reading.records), self.tally.final())

    def _held_wallet(self, opening: ExitStack) -> Wallet:
        wallet = Wallet.load(self._folder / WALLET)
        file = opening.enter_context(wallet.path.open("rb"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(f"{wallet.path} is in use: another process runs this witness.") from None
        return wallet

    def _put_up_what_is_missing(self) -> None:
        """Publish what was recorded before a crash and not put up; refuse a journal older than what was."""
        self._board.create()
        news = self._board.new()
        self.tally.add(news)
        published = [one.checkpoint for one in news if one.signer == self._wallet.address]
        for checkpoint in published:
            if checkpoint.height > self._replica.height or self._contradicts(checkpoint):
                raise StoreError(
                    f"The journal in {self._folder} lacks {checkpoint}, which its key cosigned: it is an old copy, or "
                    "the key is used elsewhere. Going on could give two answers for one height."
                )
        done = {checkpoint.height for checkpoint in published}
        self._cosign(height for height in range(1, self._replica.height + 1) if height not in done)

    def _contradicts(self, checkpoint: Checkpoint) -> bool:
        return checkpoint != self._replica.checkpoint(checkpoint.height)

    def _compare_with_others(self, records: Sequence[BlockRecord], heights: Iterable[int]) -> None:
        """Hold these blocks, and the older ones at `heights`, against what other members cosigned."""
        candidates = [
            Checkpoint(self._roster.genesis_hash, record.number, record.hash) for record in records
        ] + [self._replica.checkpoint(height) for height in heights if height <= self._replica.height]
        for candidate in candidates:
            against = self.tally.against(candidate)
            if len(against) > self._roster.tolerated or self._wallet.address in against:
                raise TamperError(
                    f"Split view: here {candidate}, but {', '.join(sorted(against))} cosigned another block of that "
                    "height."
                )

    def _cosign(self, heights: Iterable[int]) -> None:
        checkpoints = [self._replica.checkpoint(height) for height in heights]
        if checkpoints:
            chain_id = self._roster.chain_id
            made = [cosign(self._wallet, checkpoint, chain_id) for checkpoint in checkpoints]
            self._board.publish(self._wallet.address, made)
            self.tally.add(made)
