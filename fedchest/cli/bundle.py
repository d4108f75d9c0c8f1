"""`fedchest audit export --bundle` and `check-bundle`: a run's chain and artifacts in one signed file."""

import json
from pathlib import Path

import click
from rich.console import Console

from fedchest.audit.bundle import check_bundle
from fedchest.audit.bundling import bundle_run
from fedchest.audit.signing import load_signer
from fedchest.errors import ConfigError, ProofError
from fedchest.federation.directory import RunDirectory
from fedchest.reporting.trail import facts_table

_PATH = click.Path(path_type=Path)


def export_bundle(
    run: Path, out: Path | None, key: Path | None, with_artifacts: bool, rpc: str | None
) -> None:
    """Write RUN's signed bundle. Raises ConfigError when there is no file or key for it, and as `bundle_run`."""
    if out is None or key is None:
        raise ConfigError("--bundle needs --out FILE, and --sign KEY to sign it with.")
    signer = load_signer(key)
    size = bundle_run(RunDirectory(run), out, signer, with_artifacts=with_artifacts, rpc_url=rpc)
    click.echo(f"{out} ({size:,} bytes) is signed by {signer.identity} ({signer.scheme}).")


@click.command("check-bundle")
@click.argument("bundle", type=_PATH)
@click.option("--signer", metavar="ADDRESS|KEY", help="require this wallet's address or Ed25519 public key")
@click.option("--json", "as_json", is_flag=True, help="print the result as one JSON object")
def check_bundle_command(bundle: Path, signer: str | None, as_json: bool) -> int:
    """Check BUNDLE offline: its signature, and its chain from first principles.

    Exit status: 0 when it holds, 1 when it does not, 2 when BUNDLE is none.
    """
    try:
        checked = check_bundle(bundle)
        if signer is not None and signer.lower() != checked.signer.lower():
            raise ProofError(f"The bundle is signed by {checked.signer}, not by {signer}.")
    except ProofError as fault:
        click.echo(
            json.dumps({"holds": False, "because": str(fault)}) if as_json else f"Does not hold: {fault}"
        )
        return 1
    if as_json:
        click.echo(json.dumps({"holds": True, **checked.facts()}))
        return 0
    console = Console()
    console.print(facts_table("Bundle", checked.facts()))
    console.print(
        "Holds: signature, blocks, constructor and events. The computation is fedchest audit verify's to check.",
        highlight=False,
    )
    if signer is None:
        console.print("Anyone can sign a bundle: compare the signer, or give --signer.", highlight=False)
    return 0
