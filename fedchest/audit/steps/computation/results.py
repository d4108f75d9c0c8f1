"""The step on what the run reports: results.json and the copies of the models say what the chain says."""

import hashlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fedchest.audit.case import Case
from fedchest.audit.journals import PartyJournal
from fedchest.audit.report import Fault, NotChecked, Pruned
from fedchest.audit.steps.artifacts.files import require_named_artifacts
from fedchest.federation.config import Settings
from fedchest.federation.directory import JOURNAL, LEDGER, ROUNDS, read_document
from fedchest.federation.results import Results, collect, read_results
from fedchest.ledger.records import Phase

_SIZES = {"sent_bytes", "stored_bytes"}
_MODEL_FILE = re.compile(r".*?(\d+)\.safetensors")


def results(case: Case) -> str:
    """The report, gathered again from the chain, is the same; its head is on the chain; model copies are equal.

    Measured figures are compared with the coordinator's notes only: neither is on chain. Local-only models
    are nobody's but their hospital's and are not compared.
    """
    if not case.directory.results.exists():
        raise NotChecked("results.json is not there: the run has not ended")
    reported = read_results(case.directory)
    _head_is_on_chain(case, reported)
    *_, copies = case.all(
        partial(require_named_artifacts, case),
        partial(_is_gathered_again, case, reported),
        partial(_model_copies, case),
    )
    return f"{len(reported.rounds)} rounds are reported as they happened; {copies} copies of models are right"


def _is_gathered_again(case: Case, reported: Results) -> None:
    case.each(_differences(reported, _gathered_again(case, reported)), partial(_report, case))


def _report(case: Case, difference: tuple[str, Any, Any]) -> None:
    place, stated, found = difference
    notes = case.name(case.directory.coordinator / ROUNDS)
    raise Fault(
        f"{place} is {stated}, the chain and {notes} say {found}",
        expected=found,
        found=stated,
        file=case.name(case.directory.results),
    )


def _head_is_on_chain(case: Case, reported: Results) -> None:
    file = case.name(case.directory.results)
    height, head = reported.chain.get("height"), reported.chain.get("head")
    blocks = case.source.blocks
    if not isinstance(height, int) or not 1 <= height <= len(blocks):
        raise Fault(
            f"names block {height} as the last, the journals end at {len(blocks)}",
            expected=f"at most block {len(blocks)}",
            found=f"block {height}",
            file=file,
        )
    if blocks[height - 1].hash.hex() != head:
        raise Fault(
            f"block {height} has another hash than the head that is named",
            expected=blocks[height - 1].hash,
            found=head,
            file=file,
        )
    _journals_reach(case, height)


def _journals_reach(case: Case, height: int) -> None:
    """The chain's own journal, where the chain was a local one, and the coordinator's go on to the run's end."""
    kept = [case.directory.coordinator, *([case.directory.chain] if case.directory.chain.is_dir() else [])]
    names = {case.name(folder / file) for folder in kept for file in (JOURNAL, LEDGER)}

    def check(journal: PartyJournal) -> None:
        if journal.name in names and journal.height < height:
            raise Fault(
                f"ends at block {journal.height}, the run ended at block {height}",
                expected=f"block {height}",
                found=f"block {journal.height}",
                file=journal.name,
            )

    case.each(case.source.journals, check)


def _gathered_again(case: Case, reported: Results) -> Results:
    pruned = _pruned_rounds(case)
    notes = case.directory.coordinator / ROUNDS
    try:
        again = collect(
            case.directory,
            case.study,
            case.ledger,
            read_document(case.directory.settings, Settings),
            {i: figures.local_only_auroc for i, figures in enumerate(reported.institutions)},
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Fault(
            "is not the coordinator's notes on the rounds",
            expected="a list of the rounds' figures",
            found="something else",
            file=case.name(notes),
        ) from None
    recorded_head = {key: reported.chain.get(key) for key in ("height", "head")}
    sizes = {one.round: one.model_dump(include=_SIZES) for one in reported.rounds if one.round in pruned}
    rounds = [one.model_copy(update=sizes.get(one.round)) for one in again.rounds]
    return again.model_copy(update={"rounds": rounds, "chain": {**again.chain, **recorded_head}})


def _pruned_rounds(case: Case) -> set[int]:
    """Rounds whose sizes can't be gathered again. Raises Faults for what is missing otherwise."""
    try:
        require_named_artifacts(case)
    except Pruned as gone:
        return set(gone.missing.values())
    return set()


def _differences(reported: Results, found: Results) -> Iterator[tuple[str, Any, Any]]:
    yield from _compare("", reported.model_dump(mode="json"), found.model_dump(mode="json"))


def _compare(place: str, stated: Any, found: Any) -> Iterator[tuple[str, Any, Any]]:
    """The leaves at which two JSON trees differ, by their dotted place."""
    if isinstance(stated, list) and isinstance(found, list):
        stated, found = dict(enumerate(stated)), dict(enumerate(found))
    if isinstance(stated, dict) and isinstance(found, dict):
        for key in [*stated, *(key for key in found if key not in stated)]:
            yield from _compare(f"{place}.{key}".lstrip("."), stated.get(key), found.get(key))
    elif stated != found:
        yield place, stated, found


def _model_copies(case: Case) -> int:
    """Files named by a round's number hold that round's model; number 0 is the initial one."""
    hashes = {state.number: state.new_model for state in case.rounds if state.phase is Phase.FINALIZED}
    hashes |= {0: case.rounds[0].base_model} if case.rounds else {}

    def check(path: Path) -> None:
        number = _MODEL_FILE.fullmatch(path.name)
        expected = hashes.get(int(number[1])) if number is not None else None
        found = hashlib.sha256(path.read_bytes()).digest()
        if found != expected:
            raise Fault(
                "is not the model of that round on chain",
                expected="no such file" if expected is None else expected,
                found=found,
                file=case.name(path),
            )

    return len(case.each(sorted(case.directory.models.glob("*.safetensors")), check))
