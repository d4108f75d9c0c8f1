"""Slither and solhint on the contract: nothing that is not explained, and no explanation of what is no longer there."""

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from foundry import CONTRACTS, SOLHINT, prover, require_forge

require_forge()

EXPLAINED = tomllib.loads((CONTRACTS / "findings.toml").read_text())["slither"]


def place(finding: dict[str, Any]) -> str:
    """The function that a finding is about, or its file where it is about a name."""
    element = finding["elements"][0]
    if element["type"] == "function":
        return f"{element['type_specific_fields']['parent']['name']}.{element['name']}"
    return Path(element["source_mapping"]["filename_relative"]).name


@pytest.mark.slow
@pytest.mark.e2e
def test_slither_finds_what_is_explained(tmp_path: Path) -> None:
    report = tmp_path / "slither.json"
    prover("slither", ".", "--filter-paths=node_modules|test", f"--json={report}")
    found = json.loads(report.read_text())
    assert found["success"], found["error"]
    findings = {(one["check"], place(one)) for one in found["results"].get("detectors", [])}
    assert findings == {(one["check"], where) for one in EXPLAINED for where in one["places"]}
    assert all(len(one["reason"]) > 20 for one in EXPLAINED)


@pytest.mark.slow
@pytest.mark.e2e
def test_solhint_has_nothing_to_say() -> None:
    linted = subprocess.run(
        [str(SOLHINT), "--config=.solhintrc.yaml", "--max-warnings=0", "src/*.sol"],
        cwd=CONTRACTS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "problem" not in linted.stdout


@pytest.mark.slow
@pytest.mark.e2e
def test_solhint_reads_its_rules(tmp_path: Path) -> None:
    """A fault of its own for solhint: it must be found, or the silence above says nothing."""
    (tmp_path / "Bad.sol").write_text(
        "pragma solidity 0.8.37;\ncontract Bad { function f() external { require(tx.origin == msg.sender); } }\n"
    )
    linted = subprocess.run(
        [str(SOLHINT), f"--config={CONTRACTS / '.solhintrc.yaml'}", "Bad.sol"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "avoid-tx-origin" in linted.stdout
