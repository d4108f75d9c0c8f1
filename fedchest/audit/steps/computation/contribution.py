"""Steps on contribution: scores are those of the committed predictions, and predictions those of the updates."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fedchest.aggregation.model import parse_model
from fedchest.aggregation.record import RecordContribution, RecordValue
from fedchest.audit.case import Case
from fedchest.audit.report import Fault, NotChecked
from fedchest.audit.steps.computation.updates import accepted_updates
from fedchest.contribution.assessment import Trial
from fedchest.contribution.predictions import TOLERANCE, Predictions
from fedchest.errors import DataError, StoreError
from fedchest.federation.contribution import AcceptedUpdates, predict_coalitions, trial_of, values_of
from fedchest.federation.directory import COORDINATOR, CoordinatorDocument, read_document
from fedchest.federation.evaluation import PublicEvaluation
from fedchest.federation.recomputation import sum_claim
from fedchest.federation.study import StudyRewards
from fedchest.ledger.records import RoundState
from fedchest.protection.codec import Codec

_BY_WEIGHT = "credits follow the weight classes, and nothing is scored"


def scores(case: Case) -> str:
    """Each round's values, intervals and scores follow from the predictions that it names, to the last digit."""
    rewards = case.study.rewards
    if rewards is None:
        case.each(case.proposed_rounds, partial(_states_nothing, case))
        return _BY_WEIGHT
    counted = case.each(case.proposed_rounds, partial(_follow_from_predictions, case, rewards))
    return f"{sum(counted)} scores and their intervals follow from the predictions of {len(counted)} rounds"


def predictions(case: Case) -> str:
    """Each round's predictions are what the coalitions of its updates say of the public set, within the tolerance."""
    rewards = case.study.rewards
    if rewards is None:
        return _BY_WEIGHT
    with _public_set(case, rewards) as evaluation:
        apart = case.each(case.proposed_rounds, partial(_follow_from_updates, case, rewards, evaluation))
    steps, score = (max(largest, default=0) for largest in zip(*apart, strict=True)) if apart else (0, 0)
    return (
        f"predictions of {len(apart)} rounds inferred again, {steps} steps apart at most (allowed {TOLERANCE}), which"
        f" moves no score by more than {score} millionths"
    )


@dataclass(frozen=True)
class _Tried:
    """A round whose updates were tried: what its record states, and the predictions that this rests on."""

    trial: Trial
    accepted: Sequence[int]
    stated: RecordContribution
    file: str
    predictions: Predictions

    def values(self, predictions: Predictions) -> tuple[RecordValue, ...]:
        return values_of(predictions, self.trial, self.accepted)


def _states_nothing(case: Case, state: RoundState) -> None:
    proposed = case.ledger.scores(state.number)
    if proposed or case.record(state).contribution is not None:
        raise Fault(
            "scores contribution, although credits follow the weight classes",
            expected="no scores",
            found=proposed or "values in the round's record",
            round=state.number,
        )


def _follow_from_predictions(case: Case, rewards: StudyRewards, state: RoundState) -> int:
    tried = _tried(case, rewards, state)
    found = tried.values(tried.predictions)
    if len(tried.stated.values) != len(found):
        raise Fault(
            "the record states values of others than the accepted",
            expected=tried.accepted,
            found=[value.institution for value in tried.stated.values],
            round=state.number,
        )
    proposed = case.ledger.scores(state.number)

    def check(place: int) -> None:
        for what, expected, given in (
            ("the record's value is not that", _text(found[place]), _text(tried.stated.values[place])),
            ("the proposed score is not that", found[place].score, proposed[place]),
        ):
            if given != expected:
                raise Fault(
                    f"{what} of the predictions",
                    expected=expected,
                    found=given,
                    file=tried.file,
                    round=state.number,
                    institution=found[place].institution,
                )

    return len(case.each(range(len(found)), check))


def _text(value: RecordValue) -> str:
    return f"{value.value} ({value.low} to {value.high}) of institution {value.institution}"


def _follow_from_updates(
    case: Case, rewards: StudyRewards, evaluation: PublicEvaluation, state: RoundState
) -> tuple[int, int]:
    """By how many steps predictions, and by how many millionths scores are apart at most."""
    tried = _tried(case, rewards, state)
    base = parse_model(case.artifact(state.base_model, "the base model", round=state.number))
    weights = {id: institution.weight_class for id, institution in case.institutions.items()}
    updates = AcceptedUpdates(base, accepted_updates(case, state), weights, Codec(case.study.norm_bound))
    own = predict_coalitions(updates, tried.trial, evaluation)
    apart = np.abs(own.logits.astype(np.int32) - tried.predictions.logits)
    place = np.unravel_index(int(apart.argmax()), apart.shape)
    if apart[place] > TOLERANCE:
        coalition = tried.trial.design().coalitions[place[0]]
        members = [id for bit, id in enumerate(tried.accepted) if coalition >> bit & 1]
        raise Fault(
            f"image {place[1]} is not given this {case.study.labels[place[2]]} by the updates of {members}",
            expected=f"{own.logits[place]}, {TOLERANCE} steps apart at most",
            found=tried.predictions.logits[place],
            file=tried.file,
            round=state.number,
        )
    scored = zip(tried.values(own), tried.values(tried.predictions), strict=True)
    return int(apart[place]), max(abs(one.score - other.score) for one, other in scored)


def _tried(case: Case, rewards: StudyRewards, state: RoundState) -> _Tried:
    """Raises Fault where the round names no predictions, or such as can't be of its trial."""
    stated = case.record(state).contribution
    if stated is None:
        raise Fault(
            "the record names no predictions", expected="their hash", found="nothing", round=state.number
        )
    digest = bytes.fromhex(stated.predictions)
    accepted = case.accepted(state.number)
    trial = trial_of(rewards, sum_claim(case.ledger, state.number, accepted, state.sum_hash))
    file = case.name(case.directory.artifacts.path(digest))
    content = case.artifact(digest, "the file of predictions", round=state.number)
    try:
        found = Predictions.from_bytes(content)
    except StoreError:
        found = None
    coalitions = len(trial.design().coalitions)
    if found is None or len(found.logits) != coalitions:
        raise Fault(
            "is no file of the round's predictions",
            expected=f"predictions of {coalitions} coalitions",
            found=f"{len(content)} other bytes" if found is None else f"predictions of {len(found.logits)}",
            file=file,
            round=state.number,
        )
    if found.truth.digest().hex() != rewards.truth_sha256:
        raise Fault(
            "the predictions are measured by other labels than the study's",
            expected=f"0x{rewards.truth_sha256}",
            found=found.truth.digest(),
            file=file,
            round=state.number,
        )
    return _Tried(trial, accepted, stated, file, found)


@contextmanager
def _public_set(case: Case, rewards: StudyRewards) -> Iterator[PublicEvaluation]:
    """The public set, its images decoded anew: what the coordinator keeps of them is the coordinator's."""
    document = read_document(case.directory.coordinator / COORDINATOR, CoordinatorDocument)
    data = case.public_data or document.evaluation_data
    with TemporaryDirectory() as cache:
        own = document.model_copy(update={"evaluation_data": data, "cache": Path(cache)})
        evaluation = PublicEvaluation(own, case.study, case.directory.coordinator)
        try:
            truth = evaluation.predictions([]).truth
        except (DataError, StoreError) as error:
            raise NotChecked(f"the public set can't be read: {error}") from None
        if truth.digest().hex() != rewards.truth_sha256:
            raise NotChecked(f"{data} has other labels than those that the study measures contribution by")
        yield evaluation
