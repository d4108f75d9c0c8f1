"""What cosignatures amount to: the final block, two answers by one witness, two histories. Nothing here asks a node."""

from collections.abc import Iterable
from dataclasses import dataclass

from fedchest.errors import TamperError
from fedchest.ledger.witness.checkpoint import Checkpoint, Cosignature
from fedchest.ledger.witness.roster import Roster


@dataclass(frozen=True)
class Equivocation:
    """Two cosignatures by one witness for different blocks of one height: proof against their signer."""

    one: Cosignature
    other: Cosignature

    @property
    def signer(self) -> str:
        """Who is proven to have signed both."""
        return self.one.signer

    @property
    def height(self) -> int:
        """Of both blocks."""
        return self.one.checkpoint.height

    def proves(self, roster: Roster) -> bool:
        """Whether it convicts a member, believing nothing but the two signatures."""
        first, second = self.one.checkpoint, self.other.checkpoint
        return (
            self.one.signer == self.other.signer
            and self.one.signer in roster.members
            and first.genesis == second.genesis == roster.genesis_hash
            and first.height == second.height
            and first.block_hash != second.block_hash
            and self.one.holds(roster.chain_id)
            and self.other.holds(roster.chain_id)
        )


@dataclass(frozen=True)
class Dispute:
    """A height at which members cosigned different blocks: who signed which hash."""

    height: int
    signers: dict[bytes, tuple[str, ...]]


class Tally:
    """The members' cosignatures of the roster's chain, counted; others' and other chains' are passed over."""

    def __init__(self, roster: Roster, cosignatures: Iterable[Cosignature] = ()) -> None:
        self.roster = roster
        self._members = frozenset(roster.members)
        self._votes: dict[int, dict[bytes, dict[str, Cosignature]]] = {}
        self._final: dict[int, list[bytes]] = {}
        self._heights: dict[str, int] = {}
        self.add(cosignatures)

    def add(self, cosignatures: Iterable[Cosignature]) -> None:
        """Count more; one that was counted already changes nothing."""
        for cosignature in cosignatures:
            checkpoint = cosignature.checkpoint
            if cosignature.signer not in self._members or checkpoint.genesis != self.roster.genesis_hash:
                continue
            hashes = self._votes.setdefault(checkpoint.height, {})
            voters = hashes.setdefault(checkpoint.block_hash, {})
            if cosignature.signer not in voters:
                voters[cosignature.signer] = cosignature
                self._note(cosignature.signer, checkpoint, len(voters))

    def final(self) -> Checkpoint | None:
        """The highest block with a quorum; it makes all before it final, since its hash covers theirs.

        Raises TamperError when two blocks of one height have one: more members lie than the roster tolerates.
        """
        for height, hashes in self._final.items():
            if len(hashes) > 1:
                culprits = ", ".join(
                    sorted(one.signer for one in self.equivocations() if one.height == height)
                )
                raise TamperError(
                    f"Two blocks of height {height} have a quorum each; {culprits} signed both."
                )
        if not self._final:
            return None
        height = max(self._final)
        return Checkpoint(self.roster.genesis_hash, height, self._final[height][0])

    def equivocations(self) -> list[Equivocation]:
        """For each member and height with two cosigned hashes, the proof."""
        found = []
        for hashes in self._votes.values():
            first: dict[str, Cosignature] = {}
            for voters in hashes.values():
                for signer, cosignature in voters.items():
                    if first.setdefault(signer, cosignature) is not cosignature:
                        found.append(Equivocation(first[signer], cosignature))
        return found

    def disputes(self) -> list[Dispute]:
        """The heights at which more than one block was cosigned, in order."""
        return [
            Dispute(height, {block_hash: tuple(sorted(voters)) for block_hash, voters in hashes.items()})
            for height, hashes in sorted(self._votes.items())
            if len(hashes) > 1
        ]

    def against(self, checkpoint: Checkpoint) -> set[str]:
        """The members who cosigned another block of that height."""
        hashes = self._votes.get(checkpoint.height, {})
        return {
            signer
            for block_hash, voters in hashes.items()
            if block_hash != checkpoint.block_hash
            for signer in voters
        }

    def heights(self) -> dict[str, int]:
        """The highest block that each member cosigned; 0 for none."""
        return {member: self._heights.get(member, 0) for member in self.roster.members}

    def _note(self, signer: str, checkpoint: Checkpoint, votes: int) -> None:
        self._heights[signer] = max(checkpoint.height, self._heights.get(signer, 0))
        if votes == self.roster.quorum:
            self._final.setdefault(checkpoint.height, []).append(checkpoint.block_hash)
