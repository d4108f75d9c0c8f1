"""What each accepted update added to the model: computed by the coordinator, and again by whoever may open them."""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_utils.crypto import keccak

from fedchest.aggregation.fedavg import model_from_sum, weighted_sum
from fedchest.aggregation.fingerprint import SumClaim
from fedchest.aggregation.record import RecordValue
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
    """A round's accepted updates with their weight classes, in the order of the institutions' numbers."""

    base: Arrays
    updates: Sequence[EncodedUpdate]
    weights: Sequence[int]
    codec: Codec

    def model(self, coalition: Coalition) -> Arrays:
        """The model that the round would have given, had only `coalition` been accepted: the base model without any."""
        chosen = [place for place in range(len(self.updates)) if coalition >> place & 1]
        if not chosen:
            return self.base
        updates, weights = [self.updates[i] for i in chosen], [self.weights[i] for i in chosen]
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
