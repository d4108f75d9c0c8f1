"""The study that a configuration asks for."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedchest.accounting.prv import noise_multiplier_for
from fedchest.data.labels import UncertaintyPolicy
from fedchest.data.reader import cohort_folder
from fedchest.errors import ConfigError, UnboundedLossError
from fedchest.federation.config import Settings
from fedchest.federation.directory import RunDirectory, read_document, read_study
from fedchest.federation.run_model import load_run_model
from fedchest.federation.study import Study, StudyPrivacy
from fedchest.learning.gradients import PATIENT_GRADIENTS
from fedchest.learning.objectives import objective_named
from fedchest.learning.private_inputs import CALIBRATION, FINE_TUNING, POLICY, STOPPING, admit, declared
from fedchest.learning.reach import train_only
from fedchest.models.chest import ModelConfig, Part, build_model
from fedchest.protection.keys import encode_public_key


def study_of(settings: Settings, coordinator: X25519PrivateKey, auditor: X25519PrivateKey) -> Study:
    """The rules of a study under `settings`, whose updates are sealed for the two keys. Raises ConfigError."""
    training = settings.training
    return Study(
        name="fedchest",
        labels=settings.data.label_names(),
        uncertainty=settings.data.policies(),
        teacher_sha256=_teacher_sha256(settings),
        views=settings.data.views,
        model=model_config(settings),
        stages=training.stages(),
        optimisation=training.optimisation(),
        augmentation=training.augmentation,
        views_per_image=training.views_per_image,
        class_weights=training.class_weights,
        precision=training.precision,
        steps=training.steps,
        batch=training.batch,
        privacy=_privacy(settings),
        norm_bound=settings.protection.norm_bound,
        patients_per_weight_unit=settings.protection.patients_per_weight_unit,
        coordinator_key=encode_public_key(coordinator.public_key()),
        auditor_key=encode_public_key(auditor.public_key()),
    )


def refuse_inadmissible(settings: Settings) -> None:
    """Raise UnboundedLossError for a choice that reads more of the patients than DP accounts for, while it is on."""
    training, private = settings.training, settings.privacy.dp
    for stage in training.stages():
        objective_named(stage.objective, private=private, class_weights=training.class_weights)
    admit(declared(FINE_TUNING, training.trainable), private=private)
    admit(declared(STOPPING, training.stopping), private=private)
    admit(declared(CALIBRATION, training.calibration), private=private)
    if private:
        _refuse_start_without_noise(settings)
    for policy in settings.data.policies().values():
        if policy is not UncertaintyPolicy.SELF_TRAINED or not _taught_privately(settings):
            admit(declared(POLICY, policy), private=private)


def refuse_using_validation(settings: Settings, where: str) -> None:
    """Raise ConfigError for a stopping rule or a calibration that needs a validation split, which `where` has none."""
    for name, only in (("stopping", "rounds"), ("calibration", "none")):
        value = getattr(settings.training, name)
        if value != only:
            raise ConfigError(f"training.{name} = {value!r}: {where} allowed is {only!r}.")


def refuse_untrainable(study: Study) -> None:
    """Try each stage on blank images: raise ConfigError or UnboundedLossError for what can't be built or trained."""
    for stage in study.stages:
        model = build_model(study.model, seed=0)
        train_only(model, stage.trainable, study.objective(stage), study.viewing)
        if study.privacy is not None:
            with PATIENT_GRADIENTS[study.privacy.engine](model):
                pass  # entering is what refuses a layer whose gradient by patient can't be told


def _refuse_start_without_noise(settings: Settings) -> None:
    """Of a file outside a run, nobody can tell what it was trained on: `docs/privacy.md` leaves that to the user."""
    weights = settings.model.weights
    if weights is None or weights == "timm":
        return
    run = RunDirectory(weights.resolve().parent.parent)
    if weights.resolve().parent != run.models or not run.settings.exists():
        return
    earlier = read_document(run.settings, Settings)
    if earlier.privacy.dp or _cohort(earlier) != _cohort(settings):
        return
    raise UnboundedLossError(
        f"model.weights = {weights}: they were trained on the same patients without DP, and no noise that is added "
        "later hides what they learnt; start from weights trained with DP, or on public images."
    )


def _cohort(settings: Settings) -> Path:
    return cohort_folder(settings.data.data).resolve()


def _teacher_sha256(settings: Settings) -> str | None:
    teacher = settings.data.teacher
    return None if teacher is None else load_run_model(RunDirectory(teacher)).sha256


def _taught_privately(settings: Settings) -> bool:
    """Whether the teacher was itself trained with DP: what it says is then accounted for already."""
    teacher = settings.data.teacher
    return teacher is not None and read_study(RunDirectory(teacher).study).privacy is not None


def model_config(settings: Settings) -> ModelConfig:
    """The model of a study under `settings`: with the parts that its objectives need, and no other."""
    chosen, policies = settings.model, settings.data.policies()
    return ModelConfig(
        label_names=settings.data.label_names(),
        encoder=chosen.encoder,
        image_size=settings.data.image_size,
        embedding=chosen.embedding,
        normalization=chosen.normalization,
        head=chosen.head,
        fusion=chosen.fusion,
        streams=chosen.streams,
        hierarchy=chosen.hierarchy,
        multiclass=tuple(n for n, policy in policies.items() if policy is UncertaintyPolicy.MULTICLASS),
        parts=_parts(settings),
        adapter_rank=chosen.adapter_rank,
        members=chosen.members,
    )


def _parts(settings: Settings) -> tuple[Part, ...]:
    objectives = [objective_named(stage.objective, private=False) for stage in settings.training.stages()]
    return tuple(sorted(set().union(*(objective.parts for objective in objectives))))


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
