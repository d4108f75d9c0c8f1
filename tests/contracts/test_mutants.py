"""The Foundry suite against contracts/mutants: every rule of the contract that is broken must be noticed.

Each mutant is one replacement in a copy of the sources, which are compiled a batch at a time; the tests run on each
one's bytecode.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import pytest
from foundry import CONTRACTS, forge, require_forge

from contracts.build import compile_sources, read_sources

require_forge()

T = TypeVar("T")

MUTANTS = tomllib.loads((CONTRACTS / "mutants" / "mutants.toml").read_text())["mutant"]
ARTIFACTS = CONTRACTS / "out" / "mutants"  # where forge may read
UNCHANGED = "nothing"
AT_ONCE = 14  # more and the compiler runs out of memory
# The quick way of compiling. The suite passes on the shipped bytecode in test_foundry.py.
SETTINGS = {
    "evmVersion": "paris",
    "outputSelection": {"*": {"FedChestLedger": ["evm.bytecode.object"]}},
}


def mutated(mutant: dict[str, str]) -> dict[str, str]:
    """The sources with one rule broken."""
    sources = read_sources()
    text = sources[mutant["file"]]
    assert text.count(mutant["code"]) == 1, f"{mutant['breaks']}: its code is not there exactly once"
    return sources | {mutant["file"]: text.replace(mutant["code"], mutant["becomes"])}


@pytest.fixture(scope="module")
def artifacts() -> dict[str, str]:
    """Paths from contracts/ of every mutant's bytecode and the unchanged one's, by what it breaks."""
    copies = {UNCHANGED: read_sources()} | {one["breaks"]: mutated(one) for one in MUTANTS}
    names = {rule: f"{number:03}" for number, rule in enumerate(copies)}
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        batches = batched(((names[rule], copy) for rule, copy in copies.items()), AT_ONCE)
        list(pool.map(compile_batch, batches))
    return {rule: f"out/mutants/{name}.json" for rule, name in names.items()}


def compile_batch(copies: Sequence[tuple[str, dict[str, str]]]) -> None:
    """Compile copies of the sources in one run, and write each one's bytecode under its name."""
    sources = {f"{name}/{file}": text for name, copy in copies for file, text in copy.items()}
    compiled = compile_sources(sources, SETTINGS)
    for name, _ in copies:
        code = compiled[f"{name}/FedChestLedger.sol"]["FedChestLedger"]["evm"]["bytecode"]
        (ARTIFACTS / f"{name}.json").write_text(json.dumps({"bytecode": "0x" + code["object"]}))


def batched(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """`items` in sequences of `size`; the last may be shorter."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


def survives(artifact: str, contract: str) -> bool:
    """Whether that test contract passes on that bytecode."""
    suite = ("test", "--fail-fast", f"--match-contract={contract}")
    return forge(*suite, ledger=artifact, FOUNDRY_FUZZ_RUNS="16").returncode == 0


def test_every_mutant_breaks_a_rule_of_its_own() -> None:
    assert len(MUTANTS) >= 25
    assert len({one["breaks"] for one in MUTANTS}) == len(MUTANTS)


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(1200)
def test_every_mutant_is_killed(artifacts: dict[str, str]) -> None:
    everything = "|".join({f"{one['killed_by']}Test" for one in MUTANTS})
    # Forge compiles the tests here, so that none of the runs below finds them changed.
    assert survives(artifacts[UNCHANGED], everything), "the suite fails on the contract as it is"

    def survivor(mutant: dict[str, str]) -> bool:
        return survives(artifacts[mutant["breaks"]], f"{mutant['killed_by']}Test")

    with ThreadPoolExecutor(2) as pool:
        survived = list(pool.map(survivor, MUTANTS))
    assert [one["breaks"] for one, lives in zip(MUTANTS, survived, strict=True) if lives] == []
