"""The pruning rule: the sealed updates and sums of settled rounds may go; chain, manifests, records and models stay.

What is left still proves what happened (chain, inclusion proofs, lineage); what is gone can't be recomputed any more.
"""

from collections.abc import Iterator

from fedchest.audit.case import Case
from fedchest.audit.pruned import SUM, UPDATE, PrunedArtifact, append_pruned
from fedchest.audit.report import Faults, NotChecked
from fedchest.audit.source import chain_source
from fedchest.audit.steps.artifacts.files import digests_that_stay
from fedchest.errors import StoreError
from fedchest.federation.directory import SEALING_KEY, RunDirectory
from fedchest.files import held
from fedchest.ledger.records import RoundState

_Named = tuple[bytes, str, int | None]
"""A digest, what it is, and of which institution."""


def prune(
    directory: RunDirectory, keep: int, *, rpc_url: str | None = None, dry_run: bool = False
) -> list[PrunedArtifact]:
    """Delete what the rule lets go of all rounds but the last `keep`; each is in the run's pruned.jsonl before it goes.

    With `dry_run` nothing is deleted. Raises StoreError while the run goes on and where a record can't be read, and as
    `chain_source`.
    """
    with held(directory.coordinator), chain_source(directory, rpc_url) as source:
        case = Case(directory, source, directory.auditor / SEALING_KEY)
        try:
            gone = _prunable(case, keep)
        except (Faults, NotChecked) as reason:
            raise StoreError(f"{directory.root} can't be pruned: {reason}.") from None
        for artifact in [] if dry_run else gone:
            append_pruned(directory.pruned, artifact)
            directory.artifacts.path(bytes.fromhex(artifact.digest)).unlink()
    return gone


def _prunable(case: Case, keep: int) -> list[PrunedArtifact]:
    """What is there, of the rounds before; what a later one names too stays.

    An institution may call anything its sealed update: what is named as something else stays as well.
    """
    settled = [state for state in case.rounds if not state.phase.is_live]
    old = settled[: max(len(settled) - keep, 0)]
    kept = {digest for state in case.rounds if state not in old for digest, *_ in _heavy(case, state)}
    kept |= digests_that_stay(case)
    store, gone = case.directory.artifacts, dict[bytes, PrunedArtifact]()
    for state in old:
        for digest, what, institution in _heavy(case, state):
            if digest in store and digest not in kept:
                size = store.path(digest).stat().st_size
                gone[digest] = PrunedArtifact(digest.hex(), what, state.number, institution, size)
    return list(gone.values())


def _heavy(case: Case, state: RoundState) -> Iterator[_Named]:
    """What of a round grows with the model and no proof needs."""
    for institution, submission in case.submissions(state.number).items():
        yield submission.sealed_hash, UPDATE, institution
    if state not in case.proposed_rounds:
        return
    yield state.sum_hash, SUM, None
    for entry in case.record(state).entries:
        if entry.sealed is not None:
            yield bytes.fromhex(entry.sealed), UPDATE, entry.institution
