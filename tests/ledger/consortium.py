"""A chain with a study on it, and the folders of witnesses who may follow it; for tests to attack."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from studies import StudyOnChain

from fedchest.ledger.chain import LocalChain
from fedchest.ledger.rpc import connect
from fedchest.ledger.wallet import Wallet
from fedchest.ledger.witness.board import Board
from fedchest.ledger.witness.checkpoint import Checkpoint, Cosignature, cosign
from fedchest.ledger.witness.roster import Roster
from fedchest.ledger.witness.tally import Tally
from fedchest.ledger.witness.witness import WALLET, Witness

# Of every LocalChain, by its settings.
GENESIS = bytes.fromhex("188a4b4768cc795dc53809f0b2036197" + "53bd9a7e5fa03e024686cffd919daf2e")
CHAIN_ID = 31337


def wallets(folder: Path, count: int) -> list[Wallet]:
    """Witnesses' wallets, each in the folder of its own that `Witness` takes."""
    made = []
    for number in range(count):
        (folder / f"witness{number}").mkdir(parents=True)
        made.append(Wallet.create(folder / f"witness{number}" / WALLET))
    return made


def roster_of(members: Sequence[Wallet]) -> Roster:
    return Roster(
        chain_id=CHAIN_ID, genesis="0x" + GENESIS.hex(), members=tuple(one.address for one in members)
    )


def signed(wallet: Wallet, height: int, block: bytes, genesis: bytes = GENESIS) -> Cosignature:
    """The wallet's cosignature of a block, whose hash begins with `block`."""
    return cosign(wallet, Checkpoint(genesis, height, block.ljust(32, b"\0")), CHAIN_ID)


@dataclass
class Consortium:
    """`chain` is the sequencer's; `board` where the witnesses put up what they sign."""

    folder: Path
    chain: LocalChain
    study: StudyOnChain
    wallets: list[Wallet]
    _open: ExitStack = field(default_factory=ExitStack)

    @property
    def roster(self) -> Roster:
        return roster_of(self.wallets)

    @property
    def board(self) -> Path:
        return self.folder / "board"

    def witness(self, number: int, rpc_url: str | None = None) -> Witness:
        """The witness of that number, not yet started."""
        return Witness(
            self.folder / f"witness{number}", rpc_url or self.chain.rpc_url, self.board, self.roster
        )

    def start(self, *numbers: int, rpc_url: str | None = None) -> list[Witness]:
        """Witnesses whose nodes run until the test ends."""
        return [self._open.enter_context(self.witness(number, rpc_url)) for number in numbers]

    def tally(self) -> Tally:
        """What the board says now, read afresh."""
        return Tally(self.roster, Board(self.board, CHAIN_ID).new())

    def block(self, number: int | None = None) -> Checkpoint:
        """The sequencer's block of that number, or its last."""
        block = connect(self.chain.rpc_url).eth.get_block("latest" if number is None else number)
        return Checkpoint(GENESIS, block["number"], bytes(block["hash"]))


@contextmanager
def consortium(folder: Path, members: int = 4) -> Iterator[Consortium]:
    """A running chain with a fresh study, and `members` witnesses of whom none runs yet."""
    with LocalChain(folder / "chain") as chain, ExitStack() as witnesses:
        study = StudyOnChain(chain.rpc_url, folder, journal=chain.journal)
        yield Consortium(folder, chain, study, wallets(folder, members), witnesses)
