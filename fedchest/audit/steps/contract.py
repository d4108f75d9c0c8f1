"""The step on the contract: one address for all, the shipped code, the study's hash."""

import hashlib

from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.errors import ChainError
from fedchest.federation.directory import CONNECTION, Connection, read_document
from fedchest.ledger.client import LedgerClient


def contract(case: Case) -> str:
    """Every party pins one contract, which runs the shipped code under the study's hash."""
    _one_address(case)
    ledger = _shipped_code(case)
    _study_is_on_chain(case, ledger)
    copies = len(case.study_files())
    return f"{ledger.address} runs the shipped code; {copies} copies of the study hash to the chain's"


def _one_address(case: Case) -> None:
    pinned = read_document(case.directory.auditor / CONNECTION, Connection)
    for folder in case.directory.parties():
        path = folder / CONNECTION
        own = read_document(path, Connection)
        if (own.contract, own.chain_id) != (pinned.contract, pinned.chain_id):
            raise Fault(
                f"pins contract {own.contract} on chain {own.chain_id}, the auditor {pinned.contract} on chain"
                f" {pinned.chain_id}",
                file=case.name(path),
            )


def _shipped_code(case: Case) -> LedgerClient:
    try:
        return case.open_ledger()
    except ChainError as error:
        raise Fault(str(error), file=case.name(case.directory.auditor / CONNECTION)) from None


def _study_is_on_chain(case: Case, ledger: LedgerClient) -> None:
    on_chain = ledger.rules().study
    for path in case.study_files():
        if not path.exists():
            raise Fault("is missing", file=case.name(path))
        if hashlib.sha256(path.read_bytes()).digest() != on_chain:
            raise Fault("does not hash to the study on chain", file=case.name(path))
