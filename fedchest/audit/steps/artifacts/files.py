"""The step on the artifact store: every file is what its name says, and nothing that is named is missing."""

import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from fedchest.audit.case import Case
from fedchest.audit.pruned import SUM, UPDATE
from fedchest.audit.report import Fault
from fedchest.ledger.records import RoundState

_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"\.[0-9a-f]{64}\.[0-9]+\.tmp")
"""What a crash leaves of a write that was never renamed; it is no artifact, so it is passed over."""


_Holds = Callable[[bytes], bool]
"""Whether the content of a digest is there and unchanged."""


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
    holds = cache(case.directory.artifacts.holds)  # so that each file is read once
    named: set[bytes] = set()
    _, present = case.all(
        partial(_check_named, case, holds, named), partial(_check_files, case, holds, named)
    )
    absent = sum(digest not in case.directory.artifacts for digest in _committed_in_vain(case))
    rest = f"; {absent} committed to but not accepted are absent" if absent else ""
    return (
        f"{len(present)} files hash to their names; all {len(named)} that the chain rests on are there{rest}"
    )


def require_named_artifacts(case: Case) -> None:
    """Raise Faults for what the chain and the records name and whose content is not there."""
    _check_named(case, case.directory.artifacts.holds, set())


def named_digests(case: Case) -> set[bytes]:
    """What the chain and the records name, there or not. Raises Fault for a record that can't be read."""
    return {one.digest for names in _parts(case) for one in names(case)}


def digests_that_stay(case: Case) -> set[bytes]:
    """What of it, and of what was committed to, is anything but a sealed update or a sum. Raises Fault likewise."""
    manifests = {
        one.manifest_hash for state in case.rounds for one in case.submissions(state.number).values()
    }
    named = {one.digest for names in _parts(case) for one in names(case) if one.what not in (UPDATE, SUM)}
    return named | manifests


def _check_named(case: Case, holds: _Holds, named: set[bytes]) -> list[Any]:
    """Check what chain and records name, and add it to `named`."""

    def check(one: _Named) -> None:
        named.add(one.digest)
        if not holds(one.digest):
            raise case.unsound(one.digest, one.what, round=one.round, institution=one.institution)

    return case.each(_parts(case), lambda names: case.each(names(case), check))


def _check_files(case: Case, holds: _Holds, named: set[bytes]) -> list[Any]:
    """Check the files that nothing names."""
    return case.each(_files(case), partial(_check_file, case, holds, named))


def _files(case: Case) -> list[Path]:
    directory = case.directory.artifacts.directory
    if not directory.is_dir():
        raise Fault("is missing", expected="a folder", found="none", file=case.name(directory))
    return sorted(path for path in directory.iterdir() if not _UNFINISHED.fullmatch(path.name))


def _check_file(case: Case, holds: _Holds, named: set[bytes], path: Path) -> None:
    name = case.name(path)
    if not _DIGEST.fullmatch(path.name) or path.is_symlink() or not path.is_file():
        raise Fault(
            "is foreign to the artifact store",
            expected="files named by their hash",
            found=path.name,
            file=name,
        )
    digest = bytes.fromhex(path.name)
    if digest not in named and not holds(digest):
        raise Fault(
            "does not hash to its name: it was changed, truncated or swapped",
            expected=digest,
            found="other bytes",
            file=name,
        )


def _parts(case: Case) -> list[Callable[[Case], Iterator[_Named]]]:
    """What names artifacts: the study, each round, and each record, which may be one that can't be read."""
    return [
        _named_by_study,
        *(partial(_named_by_round, state=state) for state in case.rounds),
        *(partial(_named_by_record, state=state) for state in case.proposed_rounds),
    ]


def _named_by_study(case: Case) -> Iterator[_Named]:
    for approved in case.events_of("InitialModelApproved"):
        for field, what in (("model", "the initial model"), ("provenance", "its provenance")):
            digest = approved.values[field]
            assert isinstance(digest, bytes)
            yield _Named(digest, what, None, None)


def _named_by_round(case: Case, state: RoundState) -> Iterator[_Named]:
    yield _Named(state.base_model, "the base model", state.number, None)
    if state not in case.proposed_rounds:
        return
    yield _Named(state.new_model, "the proposed model", state.number, None)
    yield _Named(state.sum_hash, SUM, state.number, None)
    yield _Named(state.record, "the round's record", state.number, None)
    submissions = case.submissions(state.number)
    for member in case.accepted(state.number):
        yield _Named(submissions[member].sealed_hash, UPDATE, state.number, member)
        yield _Named(submissions[member].manifest_hash, "the manifest", state.number, member)


def _named_by_record(case: Case, state: RoundState) -> Iterator[_Named]:
    record = case.record(state)
    if record.contribution is not None:
        digest = bytes.fromhex(record.contribution.predictions)
        yield _Named(digest, "the file of predictions", state.number, None)
    for entry in record.entries:
        for text, what in ((entry.sealed, UPDATE), (entry.manifest, "the manifest")):
            if text is not None:
                yield _Named(bytes.fromhex(text), what, state.number, entry.institution)


def _committed_in_vain(case: Case) -> Iterator[bytes]:
    for state in case.rounds:
        accepted = case.accepted(state.number)
        for institution, submission in case.submissions(state.number).items():
            if institution not in accepted:
                yield from (submission.sealed_hash, submission.manifest_hash)
