"""The step on the contract: one address for all, the shipped code, the study's hash."""

import hashlib
from pathlib import Path

from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.errors import ChainError
from fedchest.federation.directory import CONNECTION, Connection, read_document
from fedchest.ledger.ledger import Ledger


def contract(case: Case) -> str:
    """Every party pins one contract, which runs the shipped code under the study's hash."""
    _one_address(case)
    ledger = _shipped_code(case)
    _study_is_on_chain(case, ledger)
    _rules_are_the_studys(case, ledger)
    copies = len(case.study_files())
    code = "is the file's; no code is pinned" if case.in_file else "runs the shipped code"
    return f"{ledger.address} {code}; {copies} copies of the study hash to the ledger's"


def _one_address(case: Case) -> None:
    pinned = read_document(case.directory.auditor / CONNECTION, Connection)

    def check(folder: Path) -> None:
        own = read_document(folder / CONNECTION, Connection)
        if (own.contract, own.chain_id) != (pinned.contract, pinned.chain_id):
            raise Fault(
                "pins another contract than the auditor",
                expected=f"{pinned.contract} on chain {pinned.chain_id}",
                found=f"{own.contract} on chain {own.chain_id}",
                file=case.name(folder / CONNECTION),
            )

    case.each(case.directory.parties(), check)


def _shipped_code(case: Case) -> Ledger:
    try:
        return case.open_ledger()
    except ChainError as error:
        raise Fault(
            "does not lead to the study's ledger",
            expected="a contract of the shipped code",
            found=str(error).rstrip("."),
            file=case.name(case.directory.auditor / CONNECTION),
        ) from None


def _study_is_on_chain(case: Case, ledger: Ledger) -> None:
    on_chain = ledger.rules().study

    def check(path: Path) -> None:
        if not path.exists():
            raise Fault("is missing", expected=on_chain, found="no file", file=case.name(path))
        found = hashlib.sha256(path.read_bytes()).digest()
        if found != on_chain:
            raise Fault(
                "does not hash to the study on chain", expected=on_chain, found=found, file=case.name(path)
            )

    case.each(case.study_files(), check)


def _rules_are_the_studys(case: Case, ledger: Ledger) -> None:
    """The contract splits credits by what the study says."""
    by_contribution = case.study.rewards is not None
    if ledger.rules().by_contribution != by_contribution:
        names = {True: "by contribution", False: "by weight class"}
        raise Fault(
            "the contract's credits follow another rule than the study's",
            expected=names[by_contribution],
            found=names[not by_contribution],
        )
