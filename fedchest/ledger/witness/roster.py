"""Who the witnesses of one chain are: the document that every party holds, and the rule that follows from it."""

from pathlib import Path
from typing import Annotated, Literal

from eth_utils.address import is_checksum_address
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from fedchest.errors import StoreError
from fedchest.files import write_atomically


def quorum(members: int) -> int:
    """Cosignatures that make a block final: more than two thirds of the members.

    Two quorums share more members than may lie, so that one of those would have had to sign both of two blocks.
    """
    return 2 * members // 3 + 1


def tolerated(members: int) -> int:
    """How many members may lie, be silent or be cut off before safety or progress is lost."""
    return (members - 1) // 3


def _checked_members(members: tuple[str, ...]) -> tuple[str, ...]:
    for member in members:
        if not is_checksum_address(member):
            raise ValueError(f"{member} is not an address with its checksum")
    if len(set(members)) < len(members):
        raise ValueError("a member is named twice")
    return members


class Roster(BaseModel):
    """The chain, by its id and genesis block's hash, and its witnesses' addresses.

    A witness's key serves one chain: development chains can share a genesis block, and two chains' blocks under one
    key would read as two answers to one question.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedchest/witnesses/v1"] = "fedchest/witnesses/v1"
    chain_id: int = Field(ge=0)
    genesis: Annotated[str, StringConstraints(pattern="^0x[0-9a-f]{64}$")]
    members: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_checked_members)]

    @property
    def genesis_hash(self) -> bytes:
        """Hash of the genesis block, 32 bytes."""
        return bytes.fromhex(self.genesis[2:])

    @property
    def quorum(self) -> int:
        """Cosignatures that make a block final."""
        return quorum(len(self.members))

    @property
    def tolerated(self) -> int:
        """How many members may lie, be silent or be cut off."""
        return tolerated(len(self.members))


def read_roster(path: Path) -> Roster:
    """Read a roster. Raises StoreError when the file can't be read or is none."""
    try:
        return Roster.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}.") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise StoreError(f"{path} is no roster of witnesses: {place!r:.80}: {fault['msg']:.200}.") from None


def write_roster(path: Path, roster: Roster) -> None:
    """Write a roster. Raises StoreError."""
    write_atomically(path, (roster.model_dump_json(indent=1) + "\n").encode())
