"""`fedchest witness`: re-execute a chain's blocks and cosign them, and read from cosignatures what is final."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from eth_utils.address import is_address, to_checksum_address
from rich.console import Console

from fedchest.errors import ChainError, ConfigError, TamperError
from fedchest.ledger.rpc import connect
from fedchest.ledger.wallet import Wallet
from fedchest.ledger.witness.board import Board
from fedchest.ledger.witness.checkpoint import Checkpoint
from fedchest.ledger.witness.finality import ChainFinality, CosignedFinality, Finality
from fedchest.ledger.witness.roster import Roster, read_roster, write_roster
from fedchest.ledger.witness.tally import Tally
from fedchest.ledger.witness.witness import WALLET, Progress, Witness
from fedchest.reporting.witness import members_table

_PATH = click.Path(path_type=Path)
_WRONG, _INTERRUPTED = 1, 130

RosterOption = click.option(
    "--roster", type=_PATH, metavar="FILE", required=True, help="who the chain's witnesses are"
)
JsonOption = click.option("--json", "as_json", is_flag=True, help="one JSON object a line")


@click.group()
def witness() -> None:
    """Re-execute and cosign a chain's blocks; read what is final, and who signed two answers."""


@witness.command()
@click.argument("folder", type=_PATH)
@JsonOption
def create(folder: Path, as_json: bool) -> None:
    """Make a witness's key in FOLDER and print its address. The key is for one chain only."""
    address = Wallet.create(folder / WALLET).address
    click.echo(json.dumps({"folder": str(folder), "address": address}) if as_json else address)


@witness.command()
@click.argument("file", type=_PATH)
@click.argument("members", metavar="ADDRESS...", nargs=-1, required=True)
@click.option("--rpc", metavar="URL", required=True, help="node of the chain that they are to witness")
@JsonOption
def roster(file: Path, members: tuple[str, ...], rpc: str, as_json: bool) -> None:
    """Write to FILE who witnesses the chain at --rpc: its id and genesis block, and the members' addresses."""
    if file.exists():
        raise ConfigError(f"{file} exists already and is not overwritten.")
    for member in members:
        if not is_address(member):
            raise ConfigError(f"{member} is not an address.")
    addresses = tuple(to_checksum_address(member) for member in members)
    if len(set(addresses)) < len(addresses):
        raise ConfigError("A member is named twice.")
    w3 = connect(rpc)
    genesis = "0x" + bytes(w3.eth.get_block(0)["hash"]).hex()
    made = Roster(chain_id=w3.eth.chain_id, genesis=genesis, members=addresses)
    write_roster(file, made)
    if as_json:
        click.echo(
            json.dumps({"members": len(addresses), "quorum": made.quorum, "tolerated": made.tolerated})
        )
    else:
        click.echo(
            f"{len(addresses)} witnesses, of whom {made.quorum} make a block final; "
            f"{made.tolerated} may lie, be silent or be cut off."
        )


@witness.command()
@click.argument("folder", type=_PATH)
@click.option("--rpc", metavar="URL", required=True, help="node that makes the chain's blocks")
@click.option("--board", type=_PATH, metavar="FOLDER", required=True, help="where cosignatures are put up")
@RosterOption
@click.option("--port", type=int, metavar="N", help="port of the witness's own node; default: a free one")
@click.option(
    "--every",
    type=click.FloatRange(min=0.01),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="how long to wait when there is no new block",
)
@JsonOption
def run(
    folder: Path, rpc: str, board: Path, roster: Path, port: int | None, every: float, as_json: bool
) -> int:
    """Follow the chain at --rpc with the key in FOLDER until Ctrl-C; the same command goes on.

    Exit status: 1 when the chain shows a forgery, after which nothing more is cosigned; 130 after Ctrl-C.
    """
    members = read_roster(roster)
    say = _speaker(as_json)
    try:
        with Witness(folder, rpc, board, members, port=port) as running:
            say(f"Own node: {running.rpc_url}", node=running.rpc_url)
            for progress in _steps(running, every, say):
                _tell(progress, say)
    except TamperError as fault:
        say(f"Stopped, nothing more is cosigned. {fault}", tampered=str(fault))
        return _WRONG
    except KeyboardInterrupt:
        say("Stopped; the same command goes on.", stopped=True)
        return _INTERRUPTED
    raise AssertionError("a witness only ends by a fault or an interrupt")


@witness.command()
@click.argument("board", type=_PATH)
@RosterOption
@JsonOption
def verify(board: Path, roster: Path, as_json: bool) -> int:
    """Read the cosignatures on BOARD: the final block, and members who signed two blocks of one height.

    Exit status: 0 when all tell one history, 1 when not.
    """
    members = read_roster(roster)
    folder = Board(board, members.chain_id)
    tally = Tally(members, folder.new())
    try:
        final, conflict = tally.final(), None
    except TamperError as fault:
        final, conflict = None, str(fault)
    if as_json:
        click.echo(json.dumps(_verdict(tally, folder, final, conflict)))
    else:
        _show(tally, folder, final, conflict)
    return _WRONG if conflict or tally.disputes() else 0


@witness.command()
@click.option("--board", type=_PATH, metavar="FOLDER", help="by the cosignatures there, with --roster")
@click.option("--roster", type=_PATH, metavar="FILE", help="who the chain's witnesses are")
@click.option("--rpc", metavar="URL", help="by the word of this node, whose chain has validators of its own")
@click.option("--at-once", is_flag=True, help="with --rpc: every block is final at once, as under QBFT")
@JsonOption
def final(board: Path | None, roster: Path | None, rpc: str | None, at_once: bool, as_json: bool) -> None:
    """The last final block: by the witnesses' cosignatures, or by the chain's own finality."""
    block = _finality(board, roster, rpc, at_once).last()
    if as_json:
        click.echo(json.dumps({"final": _block(block)}))
    else:
        click.echo("No block is final." if block is None else f"Final is {block}.")


def _finality(board: Path | None, roster: Path | None, rpc: str | None, at_once: bool) -> Finality:
    if rpc is not None and board is None and roster is None:
        return ChainFinality(connect(rpc), at_once=at_once)
    if rpc is None and not at_once and board is not None and roster is not None:
        members = read_roster(roster)
        return CosignedFinality(Board(board, members.chain_id), Tally(members))
    raise ConfigError("Give --board and --roster, or --rpc (and --at-once).")


def _steps(running: Witness, every: float, say: Callable[..., None]) -> Iterator[Progress]:
    """Every step that came to something new; a node that does not answer is named once and waited for."""
    unreachable = False
    known: Progress | None = None
    while True:
        try:
            progress = running.step()
        except TamperError:
            raise
        except ChainError as fault:
            if not unreachable:
                say(f"Waiting. {fault}", waiting=str(fault))
            unreachable = True
            time.sleep(every)
            continue
        unreachable = False
        if known is None or (progress.height, progress.final) != (known.height, known.final):
            known = progress
            yield progress
        if not progress.cosigned:
            time.sleep(every)


def _tell(progress: Progress, say: Callable[..., None]) -> None:
    final = 0 if progress.final is None else progress.final.height
    say(
        f"Cosigned up to block {progress.height}; final is block {final}.",
        height=progress.height,
        final=final,
    )


def _speaker(as_json: bool) -> Callable[..., None]:
    def say(sentence: str, **fields: Any) -> None:
        click.echo(json.dumps(fields) if as_json else sentence)

    return say


def _block(checkpoint: Checkpoint | None) -> dict[str, object] | None:
    if checkpoint is None:
        return None
    return {"height": checkpoint.height, "hash": "0x" + checkpoint.block_hash.hex()}


def _verdict(tally: Tally, board: Board, final: Checkpoint | None, conflict: str | None) -> dict[str, object]:
    return {
        "final": _block(final),
        "conflict": conflict,
        "quorum": tally.roster.quorum,
        "tolerated": tally.roster.tolerated,
        "members": tally.heights(),
        "equivocations": [
            {
                "signer": found.signer,
                "height": found.height,
                "cosignatures": [found.one.to_json(), found.other.to_json()],
            }
            for found in tally.equivocations()
        ],
        "disputes": [
            {
                "height": dispute.height,
                "signers": {"0x" + key.hex(): list(value) for key, value in dispute.signers.items()},
            }
            for dispute in tally.disputes()
        ],
        "bad_lines": board.bad_lines(),
    }


def _show(tally: Tally, board: Board, final: Checkpoint | None, conflict: str | None) -> None:
    console = Console()
    console.print(members_table(tally))
    for found in tally.equivocations():
        click.echo(f"{found.signer} cosigned two blocks of height {found.height}: proven by its signatures.")
    for dispute in tally.disputes():
        told = "; ".join(
            f"0x{key.hex()[:12]} by {', '.join(value)}" for key, value in dispute.signers.items()
        )
        click.echo(f"Block {dispute.height} was cosigned in {len(dispute.signers)} versions: {told}.")
    for name, count in board.bad_lines().items():
        click.echo(f"{name}: {count} lines are no cosignature.")
    if conflict is not None:
        click.echo(conflict)
    else:
        click.echo("No block is final." if final is None else f"Final is {final}.")
