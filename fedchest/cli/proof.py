"""`fedchest audit prove` and `check`: a hash's place in a study, proven to others and checked by them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import click
from eth_utils.address import to_canonical_address
from rich.console import Console

from fedchest.audit.inclusion import Statement
from fedchest.audit.inclusion import check as check_proof
from fedchest.audit.proof import InclusionProof, hexadecimal, read_proof, write_proof
from fedchest.audit.prove import prove as make_proof
from fedchest.audit.source import run_contract
from fedchest.cli.trail import RpcOption
from fedchest.errors import ConfigError, ProofError
from fedchest.federation.directory import RunDirectory
from fedchest.ledger.snapshot import block_hash
from fedchest.ledger.state import Header
from fedchest.reporting.trail import facts_table

_PATH = click.Path(path_type=Path)
_LOOK_ALIKES = (
    "Anyone can create such a contract under this study's hash: compare its address, or give --contract."
)


def _hexadecimal(digits: int) -> Callable[[click.Context, click.Parameter, str | None], bytes | None]:
    def parse(_context: click.Context, _parameter: click.Parameter, text: str | None) -> bytes | None:
        if text is not None and re.fullmatch(f"(0x)?[0-9a-fA-F]{{{digits}}}", text) is None:
            raise ConfigError(f"{text}: allowed are {digits} hexadecimal digits.")
        return None if text is None else bytes.fromhex(text.removeprefix("0x"))

    return parse


_hash, _address = _hexadecimal(64), _hexadecimal(40)


@click.command()
@click.argument("run", type=_PATH)
@click.argument("digest", metavar="HASH", callback=_hash)
@click.option("--out", type=_PATH, required=True, metavar="FILE", help="write the proof here")
@click.option("--round", type=int, metavar="N", help="of several rounds with this hash, the one to prove")
@click.option(
    "--institution", type=int, metavar="N", help="of several updates with this hash, whose to prove"
)
@click.option(
    "--block",
    type=click.IntRange(min=0),
    metavar="N",
    help="prove to who knows this block's hash; default: the last",
)
@RpcOption
def prove(
    run: Path,
    digest: bytes,
    out: Path,
    round: int | None,
    institution: int | None,
    block: int | None,
    rpc: str | None,
) -> None:
    """Prove that HASH, of an update or a model, belongs to a round of RUN's study."""
    with run_contract(RunDirectory(run), rpc) as ledger:
        proof = make_proof(ledger, digest, round=round, institution=institution, block=block)
    size = write_proof(out, proof)
    header = Header.from_bytes(proof.header)
    click.echo(check_proof(proof, header.hash).sentence())
    click.echo(f"{out} ({size:,} bytes) proves it from block {header.number}, {hexadecimal(header.hash)}.")


@click.command()
@click.argument("proof", type=_PATH)
@click.option(
    "--block-hash", "pinned", metavar="HASH", callback=_hash, help="hash of a block that you know to be right"
)
@click.option(
    "--rpc", metavar="URL", help="believe the node at this JSON-RPC address which block is the chain's"
)
@click.option("--run", type=_PATH, metavar="RUN", help="rebuild this run's chain, and require its contract")
@click.option(
    "--contract", metavar="ADDRESS", callback=_address, help="require that the proof is of this contract"
)
@click.option("--json", "as_json", is_flag=True, help="print the result as one JSON object")
def check(
    proof: Path,
    pinned: bytes | None,
    rpc: str | None,
    run: Path | None,
    contract: bytes | None,
    as_json: bool,
) -> int:
    """Check PROOF against one thing that you trust: a block's hash, a node, or a run.

    Exit status: 0 when it holds, 1 when it does not, 2 when PROOF is no proof or there is nothing to check it against.
    """
    if [pinned, rpc, run].count(None) != 2:
        raise ConfigError(
            "Give one of --block-hash, --rpc and --run: without a block that you trust a proof proves nothing."
        )
    read = read_proof(proof)
    try:
        statement = _checked(read, pinned, rpc, run, contract)
    except ProofError as fault:
        click.echo(
            json.dumps({"holds": False, "because": str(fault)}) if as_json else f"Does not hold: {fault}"
        )
        return 1
    _show(statement, as_json, look_alikes=run is None and contract is None)
    return 0


def _checked(
    proof: InclusionProof, pinned: bytes | None, rpc: str | None, run: Path | None, contract: bytes | None
) -> Statement:
    number = Header.from_bytes(proof.header).number
    if run is not None:
        with run_contract(RunDirectory(run)) as ledger:
            _require_contract(proof, to_canonical_address(ledger.address))
            (pinned,) = ledger.block_hashes([number])
    elif rpc is not None:
        pinned = block_hash(rpc, number)
    if pinned is None:
        raise ProofError(f"The chain has no block {number}.")
    if contract is not None:
        _require_contract(proof, contract)
    return check_proof(proof, pinned)


def _require_contract(proof: InclusionProof, contract: bytes) -> None:
    if proof.claim.contract != contract:
        raise ProofError(
            f"The proof is of contract {hexadecimal(proof.claim.contract)}, not of {hexadecimal(contract)}."
        )


def _show(statement: Statement, as_json: bool, *, look_alikes: bool) -> None:
    facts = statement.facts()
    if as_json:
        click.echo(json.dumps({"holds": True, **facts}))
        return
    console = Console()
    console.print(facts_table("Proven", facts))
    console.print(f"Holds: {statement.sentence()}", highlight=False, markup=False)
    if look_alikes:
        console.print(_LOOK_ALIKES, highlight=False, markup=False)
