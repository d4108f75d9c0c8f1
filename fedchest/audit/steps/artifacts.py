"""The step on the artifact store: every file is what its name says, and nothing that is named is missing."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.errors import StoreError
from fedchest.ledger.records import RoundState

_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"\.[0-9a-f]{64}\.[0-9]+\.tmp")
"""What a crash leaves of a write that was never renamed; it is no artifact, so it is passed over."""


class _Named(NamedTuple):
    """An artifact that the chain or a record names, and as what."""

    digest: bytes
    what: str
    round: int | None
    institution: int | None


def artifacts(case: Case) -> str:
    """Every file hashes to its name, no other file is there, and all that chain and records rest on is present.

    Files that nothing names are no fault: a round that is cut short leaves some. Nor is it one that bytes are
    absent which an institution committed to and which were not accepted: they may never have arrived, so their
    number is stated.
    """
    present = [_check_file(case, path) for path in _files(case)]
    named = named_artifacts(case)
    absent = sum(digest not in case.directory.artifacts for digest in _committed_in_vain(case))
    rest = f"; {absent} committed to but not accepted are absent" if absent else ""
    return (
        f"{len(present)} files hash to their names; all {len(named)} that the chain rests on are there{rest}"
    )


def named_artifacts(case: Case) -> set[bytes]:
    """The digests that the chain and the records name. Raises Fault for the first whose content is not there."""
    named: set[bytes] = set()
    for digest, what, round, institution in _named(case):
        case.artifact(digest, what, round=round, institution=institution)
        named.add(digest)
    return named


def _files(case: Case) -> list[Path]:
    directory = case.directory.artifacts.directory
    if not directory.is_dir():
        raise Fault("is missing", file=case.name(directory))
    return sorted(path for path in directory.iterdir() if not _UNFINISHED.fullmatch(path.name))


def _check_file(case: Case, path: Path) -> Path:
    name = case.name(path)
    if not _DIGEST.fullmatch(path.name) or path.is_symlink() or not path.is_file():
        raise Fault("is foreign to the artifact store", file=name)
    try:
        case.directory.artifacts.get(bytes.fromhex(path.name))
    except StoreError:
        raise Fault("does not hash to its name: it was changed, truncated or swapped", file=name) from None
    return path


def _named(case: Case) -> Iterator[_Named]:
    (approved,) = case.events_of("InitialModelApproved")
    for field, what in (("model", "the initial model"), ("provenance", "its provenance")):
        digest = approved.values[field]
        assert isinstance(digest, bytes)
        yield _Named(digest, what, None, None)
    for state in case.rounds:
        yield _Named(state.base_model, "the base model", state.number, None)
    for state in case.proposed_rounds:
        yield _Named(state.new_model, "the proposed model", state.number, None)
        yield _Named(state.sum_hash, "the proposed sum", state.number, None)
        yield _Named(state.record, "the round's record", state.number, None)
        yield from _named_by_submissions(case, state)
        yield from _named_by_record(case, state)


def _named_by_submissions(case: Case, state: RoundState) -> Iterator[_Named]:
    submissions = case.submissions(state.number)
    for member in case.accepted(state.number):
        yield _Named(submissions[member].sealed_hash, "the sealed update", state.number, member)
        yield _Named(submissions[member].manifest_hash, "the manifest", state.number, member)


def _committed_in_vain(case: Case) -> Iterator[bytes]:
    for state in case.rounds:
        accepted = case.accepted(state.number)
        for institution, submission in case.submissions(state.number).items():
            if institution not in accepted:
                yield from (submission.sealed_hash, submission.manifest_hash)


def _named_by_record(case: Case, state: RoundState) -> Iterator[_Named]:
    for entry in case.record(state).entries:
        for text, what in ((entry.sealed, "the sealed update"), (entry.manifest, "the manifest")):
            if text is not None:
                yield _Named(bytes.fromhex(text), what, state.number, entry.institution)
