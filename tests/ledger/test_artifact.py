"""The artifact in the package, against the sources it claims to come from."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fedchest
from fedchest.ledger.artifact import artifact
from fedchest.ledger.contract import LedgerRefusal, refusal
from fedchest.ledger.records import REQUIRED_CHECKS, Check, Phase, VoidCause

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "contracts" / "src"


@pytest.mark.e2e
def test_the_shipped_artifact_is_what_the_sources_give() -> None:
    if shutil.which("node") is None or not (ROOT / "contracts" / "node_modules" / "solc").exists():
        pytest.skip("needs Node and npm install in contracts/")
    check = [sys.executable, str(ROOT / "contracts" / "build.py"), "--check"]
    built = subprocess.run(check, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stdout + built.stderr


def test_the_artifact_names_the_sources_it_was_built_from() -> None:
    shipped = json.loads((Path(fedchest.__file__).parent / "ledger" / "FedChestLedger.json").read_text())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in SOURCES.glob("*.sol")}
    assert shipped["sourceSha256"] == found
    assert shipped["settings"]["evmVersion"] == "paris"


def test_the_code_fits_into_a_contract() -> None:
    assert len(artifact().deployed_bytecode) < 24_576


@pytest.mark.parametrize(("solidity", "python"), [("Phase", Phase), ("VoidCause", VoidCause)])
def test_the_enums_are_the_contracts(solidity: str, python: type[Phase] | type[VoidCause]) -> None:
    source = (SOURCES / "IFedChestLedger.sol").read_text()
    names = re.search(rf"enum {solidity} {{([^}}]*)}}", source)
    assert names is not None
    assert [name.strip().upper() for name in names[1].split(",")] == [member.name for member in python]


def test_the_required_checks_are_all_that_there_are() -> None:
    assert sum(Check) == REQUIRED_CHECKS
    assert f"REQUIRED_CHECKS = 0x{REQUIRED_CHECKS:02X};" in (SOURCES / "FedChestLedger.sol").read_text()


def test_an_error_of_another_contract_is_shown_by_its_data() -> None:
    refused = refusal("0x12345678")
    assert isinstance(refused, LedgerRefusal)
    assert str(refused) == "The ledger refused: UnknownError(data=0x12345678)."
