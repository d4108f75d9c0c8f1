"""Compile the ledger contract and write its artifact into the package: `python contracts/build.py [--check]`.

With --check nothing is written; the exit status is 1 when the shipped artifact differs from what the sources
give. Needs Node and `npm install` in contracts/.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import solcx

CONTRACTS = Path(__file__).resolve().parent
COMPILER = CONTRACTS / "tools" / "solc"
SOURCES = CONTRACTS / "src"
ARTIFACT = CONTRACTS.parent / "fedchest" / "ledger" / "FedChestLedger.json"
SETTINGS: dict[str, Any] = {
    # Paris, the last version without PUSH0, runs on Anvil, Ganache, Besu and old chains alike.
    "evmVersion": "paris",
    # No metadata hash: the bytecode depends on the code alone, not on comments or file names.
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
    "optimizer": {"enabled": True, "runs": 500},
    # Through Yul: smaller and cheaper code than the older pipeline makes.
    "viaIR": True,
}


def read_sources() -> dict[str, str]:
    """The contract's sources by file name."""
    return {path.name: path.read_text() for path in sorted(SOURCES.glob("*.sol"))}


def compile_sources(sources: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
    """What the compiler makes of `sources` by name: contracts by source and contract name."""
    output = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": {name: {"content": text} for name, text in sources.items()},
            "settings": settings,
        },
        solc_binary=COMPILER,
    )
    for warning in output.get("errors", []):
        print(warning["formattedMessage"], file=sys.stderr)
    contracts: dict[str, Any] = output["contracts"]
    return contracts


def compile_ledger() -> dict[str, Any]:
    """The artifact of FedChestLedger: abi, creation and deployed bytecode, and what they were made from."""
    sources = read_sources()
    outputs = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]
    compiled = compile_sources(sources, SETTINGS | {"outputSelection": {"*": {"*": outputs}}})
    contract = compiled["FedChestLedger.sol"]["FedChestLedger"]
    return {
        "contract": "FedChestLedger",
        "compiler": str(solcx.wrapper.get_solc_version(COMPILER, with_commit_hash=True)),
        "settings": SETTINGS,
        "sourceSha256": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sources.items()},
        "abi": contract["abi"],
        "bytecode": "0x" + contract["evm"]["bytecode"]["object"],
        "deployedBytecode": "0x" + contract["evm"]["deployedBytecode"]["object"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile the ledger contract and write its artifact.")
    parser.add_argument(
        "--check", action="store_true", help="compare with the shipped artifact; write nothing"
    )
    check = parser.parse_args().check
    text = json.dumps(compile_ledger(), indent=1, sort_keys=True) + "\n"
    if not check:
        ARTIFACT.write_text(text)
        print(f"{ARTIFACT} written.")
        return 0
    same = ARTIFACT.exists() and ARTIFACT.read_text() == text
    print(f"{ARTIFACT} {'is what the sources give' if same else 'differs from what the sources give'}.")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
