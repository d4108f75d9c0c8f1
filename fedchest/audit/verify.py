"""Verification: every step in turn, each to an outcome."""

from collections.abc import Callable
from pathlib import Path

from fedchest.audit.case import Case
from fedchest.audit.report import Fault, NotChecked, Outcome, Report, Verdict
from fedchest.audit.source import chain_source
from fedchest.audit.steps.aggregation import aggregation, refusals
from fedchest.audit.steps.artifacts import artifacts
from fedchest.audit.steps.contract import contract
from fedchest.audit.steps.journals import completeness, journals
from fedchest.audit.steps.privacy import epsilon
from fedchest.audit.steps.records import records
from fedchest.audit.steps.results import results
from fedchest.audit.steps.rounds import attestations, credits, lineage
from fedchest.errors import ChainError, StoreError
from fedchest.federation.directory import SEALING_KEY, RunDirectory

Step = Callable[[Case], str]
"""Examines the case and returns, in a clause, what it checked. Raises Fault, StoreError or NotChecked."""

STEPS: dict[str, Step] = {
    "journals": journals,
    "completeness": completeness,
    "contract": contract,
    "artifacts": artifacts,
    "lineage": lineage,
    "records": records,
    "refusals": refusals,
    "aggregation": aggregation,
    "attestations": attestations,
    "credits": credits,
    "epsilon": epsilon,
    "results": results,
}


def verify_run(
    directory: RunDirectory,
    *,
    rpc_url: str | None = None,
    key: Path | None = None,
    on_step: Callable[[Outcome], None] | None = None,
) -> Report:
    """Examine a run against its chain; `on_step` hears each outcome as it comes.

    `rpc_url` is a node to read instead of rebuilding the chain, `key` the sealing key that opens the updates
    (the run's auditor's by default). What is changed in the run afterwards is found
    (tests/audit/test_tamper.py). Raises as `chain_source` when the verification can't be run at all.
    """
    outcomes: list[Outcome] = []
    with chain_source(directory, rpc_url) as source:
        case = Case(directory, source, key or directory.auditor / SEALING_KEY)
        for name, step in STEPS.items():
            outcomes.append(_carry_out(name, step, case))
            if on_step is not None:
                on_step(outcomes[-1])
        return Report(str(directory.root), source.origin, tuple(outcomes))


def _carry_out(name: str, step: Step, case: Case) -> Outcome:
    try:
        return Outcome(name, Verdict.PASSED, step(case), {})
    except Fault as fault:
        return Outcome(name, Verdict.FAILED, str(fault), fault.where)
    except StoreError as error:
        return Outcome(name, Verdict.FAILED, str(error), {})
    except (NotChecked, ChainError) as reason:
        return Outcome(name, Verdict.NOT_CHECKED, str(reason), {})
