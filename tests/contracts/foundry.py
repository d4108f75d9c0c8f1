"""Forge, halmos, Slither and solhint on contracts/, as the tests of this folder run them."""

import os
import subprocess
from pathlib import Path

import pytest

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
# The native program: the npm package's starter ends with 0 whatever the tests said.
_FORGE = sorted(CONTRACTS.glob("node_modules/@foundry-rs/forge-*/bin/forge"))
_PROVERS = CONTRACTS / ".venv" / "bin"
SOLHINT = CONTRACTS / "node_modules" / ".bin" / "solhint"
SHIPPED = "../fedchest/ledger/FedChestLedger.json"
"""The artifact in the package, from contracts/."""


def require_forge() -> None:
    """Skip the module where `npm install` was not run with the development dependencies."""
    if not _FORGE:
        pytest.skip("needs Node and npm install in contracts/", allow_module_level=True)


def forge(*arguments: str, ledger: str | None = SHIPPED, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run forge in contracts/. The tests deploy the artifact `ledger`, or what forge compiles itself.

    `settings` are foundry.toml's, by their names in the environment.
    """
    chosen = {"LEDGER": ledger} if ledger else {}
    return _run(str(_FORGE[0]), *arguments, environment=chosen | settings)


def prover(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `halmos` or `slither` in contracts/. Skips the test where their environment was not made."""
    if not (_PROVERS / name).exists():
        pytest.skip("needs make contracts/.venv/.installed")
    # They call forge by its name.
    path = os.pathsep.join([str(_PROVERS), str(_FORGE[0].parent), os.environ["PATH"]])
    return _run(str(_PROVERS / name), *arguments, environment={"PATH": path})


def _run(*command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=CONTRACTS,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
    )
