"""What each accepted update added to the model: computed by the coordinator, and again by whoever may open them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eth_utils.crypto import keccak

from fedchest.aggregation.fedavg import model_from_sum, weighted_sum
from fedchest.aggregation.fingerprint import SumClaim
from fedchest.aggregation.record import RecordContribution, RecordValue
from fedchest.contribution.assessment import Trial, assess
from fedchest.contribution.design import Coalition
from fedchest.contribution.predictions import Predictions
from fedchest.federation.evaluation import PublicEvaluation
from fedchest.federation.study import StudyRewards
from fedchest.models.parameters import Arrays
from fedchest.protection.codec import Codec, EncodedUpdate

_DOMAIN = keccak(b"fedchest/contribution/v1")


@dataclass(frozen=True)
class AcceptedUpdates:
    """A round's base model and accepted updates, with the weight classes of those institutions at least."""

    base: Arrays
    updates: Mapping[int, EncodedUpdate]
    weights: Mapping[int, int]
    codec: Codec

    @property
    def institutions(self) -> list[int]:
        """Whose updates they are: bit i of a coalition stands for the i-th of them."""
        return sorted(self.updates)

    def model(self, coalition: Coalition) -> Arrays:
        """The model that the round would have given, had only `coalition` been accepted: the base model without any."""
        chosen = [id for place, id in enumerate(self.institutions) if coalition >> place & 1]
        if not chosen:
            return self.base
        updates, weights = [self.updates[id] for id in chosen], [self.weights[id] for id in chosen]
        total = weighted_sum(updates, weights)
        return model_from_sum(self.base, total, sum(weights), updates[0].layout, self.codec)


def trial_of(rewards: StudyRewards, claim: SumClaim) -> Trial:
    """What the round's updates are tried by; its seed is fixed when accepted commitments and sum are, as the points."""
    return Trial(rewards.scoring, len(claim.commitments), claim.digest(_DOMAIN, 0))


def predict_coalitions(accepted: AcceptedUpdates, trial: Trial, evaluation: PublicEvaluation) -> Predictions:
    """What every coalition's model says about the public set. Raises StoreError without such a set."""
    return evaluation.predictions(map(accepted.model, trial.design().coalitions))


def values_of(predictions: Predictions, trial: Trial, accepted: Sequence[int]) -> tuple[RecordValue, ...]:
    """The values of the `accepted` institutions, as the round's record states them. Raises ConfigError as `assess`."""
    found = assess(predictions, trial)
    return tuple(
        RecordValue(institution, value.value, value.low, value.high)
        for institution, value in zip(accepted, found, strict=True)
    )


def scores_of(contribution: RecordContribution | None) -> list[int]:
    """What is proposed beside the accepted institutions, in their order; nothing where credits follow the weights."""
    return [] if contribution is None else [value.score for value in contribution.values]
