"""Forge on contracts/, as the tests of this folder run it."""

import os
import subprocess
from pathlib import Path

import pytest

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
# The native program: the npm package's starter ends with 0 whatever the tests said.
_FORGE = sorted(CONTRACTS.glob("node_modules/@foundry-rs/forge-*/bin/forge"))
SHIPPED = "../fedchest/ledger/FedChestLedger.json"
"""The artifact in the package, from contracts/."""


def require_forge() -> None:
    """Skip the module where `npm install` was not run with the development dependencies."""
    if not _FORGE:
        pytest.skip("needs Node and npm install in contracts/", allow_module_level=True)


def forge(
    *arguments: str, ledger: str | None = SHIPPED, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run forge in contracts/. The tests deploy the artifact `ledger`, or what forge compiles itself.

    `settings` are foundry.toml's, by their names in the environment.
    """
    chosen = {"LEDGER": ledger} if ledger else {}
    return subprocess.run(
        [str(_FORGE[0]), *arguments],
        cwd=CONTRACTS,
        env=os.environ | chosen | settings,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
