"""The shipped contract as it was compiled: interface and code, without anything that talks to a chain."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Artifact:
    """The compiled contract: ABI, creation code and deployed code."""

    abi: list[dict[str, Any]]
    bytecode: bytes
    deployed_bytecode: bytes


@cache
def artifact() -> Artifact:
    """The artifact in the package; test_the_shipped_artifact_is_what_the_sources_give holds it to them."""
    content = json.loads(files("fedchest.ledger").joinpath("FedChestLedger.json").read_text())
    return Artifact(
        content["abi"], bytes.fromhex(content["bytecode"][2:]), bytes.fromhex(content["deployedBytecode"][2:])
    )
