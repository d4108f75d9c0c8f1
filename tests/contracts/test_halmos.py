"""What halmos proves for all inputs, from contracts/test/symbolic."""

import json
from pathlib import Path

import pytest
from foundry import CONTRACTS, prover, require_forge

require_forge()

PROOFS = {
    path.stem: path.read_text().count("function check_") for path in CONTRACTS.glob("test/symbolic/*.t.sol")
}


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(1200)
def test_every_property_is_proved(tmp_path: Path) -> None:
    report = tmp_path / "halmos.json"
    # Five times around any loop: there are four institutions and three numbers in a fingerprint.
    ran = prover("halmos", "--match-contract=Proofs$", "--loop=5", f"--json-output={report}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # What halmos could not follow to its end is a warning; then nothing is proved for all inputs.
    assert "WARNING" not in ran.stdout + ran.stderr, ran.stdout + ran.stderr
    results = json.loads(report.read_text())["test_results"]
    proved = {
        Path(contract.split(":")[0]).name.removesuffix(".t.sol"): sum(one["exitcode"] == 0 for one in checks)
        for contract, checks in results.items()
    }
    assert proved == {name.removesuffix(".t"): number for name, number in PROOFS.items()}
