"""The step on what the coordinator handed out: every member was given the model that the chain names."""

from collections.abc import Iterator
from typing import NamedTuple

from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.parsing import parse_json
from fedchest.refusals import Reason


class _Complaint(NamedTuple):
    """A member's word that it was handed another model than the chain's, and where it stands."""

    round: int | None
    institution: int
    what: str
    expected: bytes | str
    found: bytes | str


def distribution(case: Case) -> str:
    """No member says, on chain or in its own log, that it was handed another model than the chain names.

    Who lies, the coordinator or the member, no record can tell; that one of them does is a fault.
    """
    complaints = {(one.round, one.institution, one.what): one for one in _complaints(case)}

    def complain(one: _Complaint) -> None:
        raise Fault(
            f"was handed another {one.what} than the chain's, by its own word",
            expected=one.expected,
            found=one.found,
            round=one.round,
            institution=one.institution,
        )

    case.each(complaints.values(), complain)
    members = sum(len(case.members(state.number)) for state in case.rounds)
    return f"none of {members} members in {len(case.rounds)} rounds says that it was handed another model"


def _complaints(case: Case) -> Iterator[_Complaint]:
    """What stands on chain comes last, and so replaces the same word in a log."""
    for number in case.institutions:
        for round in _logged(case, number):
            yield _Complaint(round, number, "base model", _base(case, round), "WRONG_MODEL in its own log")
    for event in case.events_of("UpdateRefused"):
        if event.values["reason"] == Reason.WRONG_MODEL and event.institution is not None:
            found = "its refusal of it, WRONG_MODEL"
            yield _Complaint(event.round, event.institution, "base model", _base(case, event.round), found)
    for state in case.proposed_rounds:
        for vote in case.events_of("Attested", state.number):
            recomputed = vote.values["recomputed_model"]
            if recomputed != state.new_model and vote.institution is not None:
                assert isinstance(recomputed, bytes)
                yield _Complaint(state.number, vote.institution, "proposal", state.new_model, recomputed)


def _base(case: Case, round: int | None) -> bytes | str:
    bases = {state.number: state.base_model for state in case.rounds}
    return bases.get(round or 0, "the round's base model")


def _logged(case: Case, institution: int) -> Iterator[int | None]:
    """The rounds in which the hospital's own log says that it refused what it was handed, by the times in it."""
    path = case.directory.institution(institution) / "site.log"
    opened = [(event.timestamp, event.round) for event in case.events_of("RoundOpened")]
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            entry = parse_json(line)
            wrong, time = entry["reason"] == Reason.WRONG_MODEL.name, float(entry["time"])
        except (ValueError, TypeError, KeyError):
            continue  # a line that a crash cut off
        if wrong:
            yield max(((start, round) for start, round in opened if start <= time), default=(0, None))[1]
