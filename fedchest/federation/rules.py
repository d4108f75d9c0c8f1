"""The study that a configuration asks for."""

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedchest.accounting.prv import noise_multiplier_for
from fedchest.federation.config import Settings
from fedchest.federation.study import Study, StudyPrivacy
from fedchest.models.chest import ModelConfig
from fedchest.protection.keys import encode_public_key


def study_of(settings: Settings, coordinator: X25519PrivateKey, auditor: X25519PrivateKey) -> Study:
    """The rules of a study under `settings`, whose updates are sealed for the two keys. Raises ConfigError."""
    training = settings.training
    return Study(
        name="fedchest",
        labels=settings.data.label_names(),
        uncertainty=settings.data.policies(),
        views=settings.data.views,
        model=ModelConfig(
            label_names=settings.data.label_names(),
            encoder=settings.model.encoder,
            image_size=settings.data.image_size,
        ),
        stages=training.stages(),
        optimisation=training.optimisation(),
        steps=training.steps,
        batch=training.batch,
        privacy=_privacy(settings),
        norm_bound=settings.protection.norm_bound,
        patients_per_weight_unit=settings.protection.patients_per_weight_unit,
        coordinator_key=encode_public_key(coordinator.public_key()),
        auditor_key=encode_public_key(auditor.public_key()),
    )


def _privacy(settings: Settings) -> StudyPrivacy | None:
    privacy = settings.privacy
    if not privacy.dp:
        return None
    steps = (settings.training.rounds + privacy.spare_rounds) * settings.training.steps
    return StudyPrivacy(
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        sampling_rate=privacy.sampling_rate,
        noise_multiplier=noise_multiplier_for(privacy.epsilon, privacy.delta, privacy.sampling_rate, steps),
        clipping_norm=privacy.clipping_norm,
        images_per_patient=privacy.images_per_patient,
        engine=privacy.dp_engine,
    )
