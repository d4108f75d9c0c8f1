"""The Foundry suite, on the bytecode that is shipped: unit tests, fuzz tests, invariants."""

import json

import pytest
from foundry import forge, require_forge

require_forge()


@pytest.mark.slow
@pytest.mark.e2e
def test_the_foundry_suite_passes_on_the_shipped_bytecode() -> None:
    ran = forge("test", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    suites = json.loads(ran.stdout)
    kinds = {next(iter(test["kind"])) for suite in suites.values() for test in suite["test_results"].values()}
    assert kinds == {"Unit", "Fuzz", "Invariant"}


@pytest.mark.slow
@pytest.mark.e2e
def test_the_suite_fails_without_a_ledger() -> None:
    assert forge("test", ledger="out/mutants/absent.json").returncode != 0
