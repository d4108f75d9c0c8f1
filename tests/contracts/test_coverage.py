"""How much of the contract the Foundry suite runs: every function, line, statement and branch that forge counts.

Forge counts no branch for an `if` that is not taken and none for an operand; the mutants stand in for those.
"""

from pathlib import Path

import pytest
from foundry import forge, require_forge

require_forge()

KINDS = {"function": "FN", "line": "L", "branch": "BR"}


def counts(report: str) -> dict[str, dict[str, tuple[int, int]]]:
    """By source and kind: how many there are, and how many were run."""
    found = {}
    for record in report.split("end_of_record\n"):
        fields = dict(line.split(":", 1) for line in record.splitlines() if ":" in line)
        if fields.get("SF", "").startswith("src/"):
            found[fields["SF"]] = {
                kind: (int(fields[f"{key}F"]), int(fields[f"{key}H"])) for kind, key in KINDS.items()
            }
    return found


@pytest.mark.slow
@pytest.mark.e2e
def test_everything_is_covered(tmp_path: Path) -> None:
    report = tmp_path / "lcov.info"
    ran = forge(
        "coverage",
        "--report=lcov",
        f"--report-file={report}",
        "--no-match-contract=InvariantsTest|GasTest",
        ledger=None,
        FOUNDRY_FUZZ_RUNS="16",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    covered = counts(report.read_text())
    assert covered["src/FedChestLedger.sol"]["branch"][0] > 60
    missed = {
        (source, kind): f"{run} of {all_}"
        for source, kinds in covered.items()
        for kind, (all_, run) in kinds.items()
        if run != all_
    }
    assert missed == {}
