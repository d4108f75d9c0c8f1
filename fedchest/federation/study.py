"""The study: the rules that every party pins by hash before the first round."""

import hashlib
import json
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from fedchest.contribution.design import Scoring
from fedchest.data.labels import UncertaintyPolicy
from fedchest.learning.augmentation import AUGMENTATIONS
from fedchest.learning.dp import DpConstants
from fedchest.learning.gradients import DpEngine
from fedchest.learning.objectives import Objective, objective_named
from fedchest.learning.optimisation import Optimisation
from fedchest.learning.views import Viewing
from fedchest.models.chest import ModelConfig
from fedchest.models.parameters import Trainable


class StudyPrivacy(BaseModel):
    """The DP constants that every institution shares; none of them follows from a hospital's own count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon: float = Field(gt=0)
    delta: float = Field(gt=0, lt=1)
    sampling_rate: float = Field(gt=0, le=1)
    noise_multiplier: float = Field(gt=0)
    clipping_norm: float = Field(gt=0)
    images_per_patient: int = Field(ge=1)
    engine: DpEngine


class StudyRewards(BaseModel):
    """How contribution decides over credits: the rule for scores, and the labels of the public images (hex SHA-256)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scoring: Scoring
    truth_sha256: str


class Stage(BaseModel):
    """A stretch of rounds with one objective and one choice of what is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: int = Field(ge=1)
    objective: str
    trainable: Trainable


class Study(BaseModel):
    """One training under fixed rules. Its canonical JSON is hashed, and the hash is on chain and in every folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    labels: tuple[str, ...]
    uncertainty: dict[str, UncertaintyPolicy]
    teacher_sha256: str | None = Field(
        description="of the file of the model that answers uncertain labels (policy u-self-trained)"
    )
    views: Literal["frontal", "lateral", "all"]
    model: ModelConfig
    stages: tuple[Stage, ...] = Field(min_length=1)
    optimisation: Optimisation
    augmentation: str
    views_per_image: int = Field(ge=1)
    class_weights: str
    precision: Literal["float32", "bfloat16"]
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    privacy: StudyPrivacy | None
    norm_bound: float = Field(gt=0)
    patients_per_weight_unit: int = Field(ge=1)
    rewards: StudyRewards | None = Field(description="None where credits follow the weight classes")
    coordinator_key: str
    auditor_key: str

    @property
    def rounds(self) -> int:
        """The rounds that the study is to finalize."""
        return sum(stage.rounds for stage in self.stages)

    def stage(self, finalized: int) -> Stage:
        """The stage of a round that starts from the `finalized`-th finalized model; after the last, the last goes on.

        It follows from the base model, not from the round's number, so that a void round is repeated as it was.
        """
        for stage in self.stages:
            if finalized < stage.rounds:
                return stage
            finalized -= stage.rounds
        return self.stages[-1]

    @property
    def viewing(self) -> Viewing:
        """How a step sees an image, beside what an objective needs."""
        return Viewing(AUGMENTATIONS[self.augmentation], self.views_per_image)

    @property
    def autocast(self) -> torch.dtype | None:
        """The type that networks compute in; None for their own, float32."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    def objective(self, stage: Stage) -> Objective:
        """The stage's objective. Raises UnboundedLossError for one that the study's DP can't bound, and ConfigError."""
        return objective_named(
            stage.objective, private=self.privacy is not None, class_weights=self.class_weights
        )

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, UTF-8."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()

    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON (32 bytes)."""
        return hashlib.sha256(self.to_bytes()).digest()

    def dp_constants(self, weight_class: int) -> DpConstants | None:
        """The constants of one round at an institution of `weight_class`; None with DP off.

        The divisor of the summed gradient is the number of patients expected in a draw from the public size
        that the weight class stands for, so it gives nothing of the hospital's own count away.
        """
        if self.privacy is None:
            return None
        return DpConstants(
            sampling_rate=self.privacy.sampling_rate,
            noise_multiplier=self.privacy.noise_multiplier,
            clipping_norm=self.privacy.clipping_norm,
            steps=self.steps,
            images_per_patient=self.privacy.images_per_patient,
            delta=self.privacy.delta,
            expected_patients=self.privacy.sampling_rate * weight_class * self.patients_per_weight_unit,
        )


def weight_class_of(patients: int, patients_per_unit: int) -> int:
    """The public weight class (1 to 65,535) of a cohort of `patients`: its size in rounded units."""
    return min(max(round(patients / patients_per_unit), 1), 2**16 - 1)
