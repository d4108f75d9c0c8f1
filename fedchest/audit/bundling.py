"""Making a signed bundle of a run: its chain, and the artifacts that the chain and the records name."""

from pathlib import Path

from fedchest.audit.bundle import Artifact, check_bundle, write_bundle
from fedchest.audit.case import Case
from fedchest.audit.report import Faults, NotChecked
from fedchest.audit.signing import Signer
from fedchest.audit.source import chain_source
from fedchest.audit.steps.artifacts.files import named_digests
from fedchest.errors import ConfigError, StoreError
from fedchest.federation.directory import SEALING_KEY, RunDirectory


def bundle_run(
    directory: RunDirectory,
    out: Path,
    signer: Signer,
    *,
    with_artifacts: bool = False,
    rpc_url: str | None = None,
) -> int:
    """Write a run's bundle to `out`, signed; its size in bytes. It is checked before this returns.

    Raises as `chain_source`, ConfigError when the ledger is a file, StoreError when an artifact that the chain names is
    not in the store, ProofError when the run's chain does not hold.
    """
    with chain_source(directory, rpc_url) as source:
        case = Case(directory, source, directory.auditor / SEALING_KEY)
        if case.in_file:
            raise ConfigError(
                f"{directory.root}: the ledger is a file, without blocks to bundle; hand the file on."
            )
        try:
            size = write_bundle(
                out,
                signer,
                chain_id=case.ledger.chain_id,
                contract=case.ledger.address,
                study=case.ledger.rules().study,
                blocks=case.blocks,
                artifacts=[_artifact(case, digest, with_artifacts) for digest in named_digests(case)],
            )
        except (Faults, NotChecked) as reason:
            raise StoreError(f"{directory.root} can't be bundled: {reason}.") from None
    check_bundle(out)
    return size


def _artifact(case: Case, digest: bytes, with_content: bool) -> Artifact:
    store = case.directory.artifacts
    if with_content:
        content = store.get(digest)
        return Artifact(digest, len(content), content)
    return Artifact(digest, store.path(digest).stat().st_size if digest in store else None, None)
