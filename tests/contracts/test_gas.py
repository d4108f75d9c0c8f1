"""What transactions cost, against the committed report contracts/snapshots, to the last unit of gas.

A change that is meant is written down by `FOUNDRY_PROFILE=gas LEDGER=... forge test`, as docs/contract-tests.md says.
"""

import json

import pytest
from foundry import CONTRACTS, forge, require_forge

require_forge()

MOST = 70_000
REPORT = {
    path.stem: {name: int(gas) for name, gas in json.loads(path.read_text()).items()}
    for path in (CONTRACTS / "snapshots").glob("*.json")
}
SUBMISSIONS = ("submitUpdate", "submitUpdate, first of the round")


@pytest.mark.slow
@pytest.mark.e2e
def test_gas_is_as_reported() -> None:
    ran = forge("test", "--gas-snapshot-check=true", FOUNDRY_PROFILE="gas", FORGE_SNAPSHOT_EMIT="false")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_submission_costs_at_most_what_was_promised() -> None:
    costs = [gas for kinds in REPORT.values() for name, gas in kinds.items() if name in SUBMISSIONS]
    assert len(costs) == 11
    assert max(costs) <= MOST


@pytest.mark.parametrize("kind", [*SUBMISSIONS, "submitUpdateFor"])
def test_a_submission_costs_the_same_however_many_institutions_there_are(kind: str) -> None:
    assert len({kinds[kind] for study, kinds in REPORT.items() if study != "first-round"}) == 1
