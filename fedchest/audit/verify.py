"""Verification: three layers, every step of each in turn, each to an outcome."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fedchest.audit.case import Case
from fedchest.audit.evidence import read_evidence
from fedchest.audit.report import Faults, Finding, Layer, NotChecked, Outcome, Report, Verdict
from fedchest.audit.source import chain_source
from fedchest.audit.steps.artifacts.distribution import distribution
from fedchest.audit.steps.artifacts.files import artifacts
from fedchest.audit.steps.artifacts.lineage import lineage
from fedchest.audit.steps.artifacts.manifests import manifests
from fedchest.audit.steps.artifacts.records import records
from fedchest.audit.steps.chain.anchors import anchors
from fedchest.audit.steps.chain.blocks import blocks, constructor
from fedchest.audit.steps.chain.contract import contract
from fedchest.audit.steps.chain.events import events
from fedchest.audit.steps.chain.journals import completeness, journals
from fedchest.audit.steps.chain.votes import attestations
from fedchest.audit.steps.computation.contribution import predictions, scores
from fedchest.audit.steps.computation.credits import credits
from fedchest.audit.steps.computation.privacy import epsilon
from fedchest.audit.steps.computation.results import results
from fedchest.audit.steps.computation.updates import aggregation, refusals
from fedchest.errors import ChainError, ProofError, StoreError
from fedchest.federation.directory import SEALING_KEY, RunDirectory

Step = Callable[[Case], str]
"""Examines the case and returns, in a clause, what it checked. Raises Faults, StoreError or NotChecked."""

LAYERS: Mapping[Layer, Mapping[str, Step]] = {
    Layer.CHAIN: {
        "journals": journals,
        "completeness": completeness,
        "blocks": blocks,
        "contract": contract,
        "constructor": constructor,
        "events": events,
        "attestations": attestations,
        "anchors": anchors,
    },
    Layer.ARTIFACTS: {
        "artifacts": artifacts,
        "manifests": manifests,
        "records": records,
        "lineage": lineage,
        "distribution": distribution,
    },
    Layer.COMPUTATION: {
        "refusals": refusals,
        "aggregation": aggregation,
        "scores": scores,
        "predictions": predictions,
        "epsilon": epsilon,
        "credits": credits,
        "results": results,
    },
}


def verify_run(
    directory: RunDirectory,
    *,
    rpc_url: str | None = None,
    key: Path | None = None,
    public_data: Path | None = None,
    against: Sequence[Path] = (),
    keep_going: bool = False,
    on_step: Callable[[Outcome], None] | None = None,
) -> Report:
    """Examine a run against its chain; `on_step` hears each outcome as it comes.

    `rpc_url` is a node to read instead of rebuilding the chain, `key` the sealing key that opens the updates
    (the run's auditor's by default), `public_data` the images that contribution was measured on (by default those that
    the coordinator had), `against` what parties hold of the chain outside the run, as `read_evidence`
    takes it. The first wrong thing ends it; with `keep_going` all are listed. What is changed in the run afterwards is
    found (tests/audit/test_tamper.py), and what parties lie about while it goes on (tests/audit/test_liars.py).
    Raises as `chain_source` and `read_evidence` when the verification can't be run at all.
    """
    outcomes: list[Outcome] = []
    evidence = [read_evidence(path) for path in against]
    with chain_source(directory, rpc_url) as source:
        case = Case(
            directory, source, key or directory.auditor / SEALING_KEY, keep_going, evidence, public_data
        )
        for layer, steps in LAYERS.items():
            for name, step in steps.items():
                stopped = None if keep_going else _stopped(layer, name, outcomes)
                outcomes.append(stopped or _carry_out(layer, name, step, case))
                if on_step is not None:
                    on_step(outcomes[-1])
        return Report(str(directory.root), source.origin, tuple(outcomes))


def _stopped(layer: Layer, name: str, earlier: Sequence[Outcome]) -> Outcome | None:
    for outcome in earlier:
        if outcome.verdict is Verdict.FAILED:
            reason = f"the audit stopped at the first wrong thing, in {outcome.step}; --keep-going goes on"
            return Outcome(layer, name, Verdict.NOT_CHECKED, reason)
    return None


def _carry_out(layer: Layer, name: str, step: Step, case: Case) -> Outcome:
    try:
        return Outcome(layer, name, Verdict.PASSED, step(case))
    except Faults as faults:
        return _failed(layer, name, faults.findings)
    except (StoreError, ProofError) as error:
        return _failed(layer, name, (Finding(str(error)),))
    except (NotChecked, ChainError) as reason:
        return Outcome(layer, name, Verdict.NOT_CHECKED, str(reason))


def _failed(layer: Layer, name: str, findings: tuple[Finding, ...]) -> Outcome:
    more = f"; and {len(findings) - 1} more" if len(findings) > 1 else ""
    return Outcome(layer, name, Verdict.FAILED, f"{findings[0]}{more}", findings)
