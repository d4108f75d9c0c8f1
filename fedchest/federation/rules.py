"""The study that a configuration asks for."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedchest.accounting.prv import noise_multiplier_for
from fedchest.contribution.predictions import Truth
from fedchest.data.dataset import patient_numbers
from fedchest.data.labels import UncertaintyPolicy, targets
from fedchest.data.reader import cohort_folder
from fedchest.errors import ConfigError, DataError, UnboundedLossError
from fedchest.federation.cohorts import public_set
from fedchest.federation.config import Settings
from fedchest.federation.directory import RunDirectory, read_document, read_study
from fedchest.federation.run_model import load_run_model
from fedchest.federation.study import Study, StudyPrivacy, StudyRewards
from fedchest.learning.objectives import objective_named
from fedchest.learning.private_inputs import CALIBRATION, FINE_TUNING, POLICY, STOPPING, admit, declared
from fedchest.learning.reach import refuse_unbounded, train_only
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
        rewards=_rewards(settings),
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
    for policy in settings.data.policies().values():
        if policy is not UncertaintyPolicy.SELF_TRAINED or not _taught_privately(settings):
            admit(declared(POLICY, policy), private=private)
    if private:
        _refuse_forebears_without_noise(settings, _cohort(settings))


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
            refuse_unbounded(model, study.objective(stage), study.viewing, study.privacy.engine)


def _refuse_forebears_without_noise(settings: Settings, cohort: Path) -> None:
    """Of a file outside a run, nobody can tell what it was trained on: `docs/privacy.md` leaves that to the user."""
    for run in _forebears(settings):
        earlier = read_document(run.settings, Settings)
        if not earlier.privacy.dp and _cohort(earlier) == cohort:
            raise UnboundedLossError(
                f"model.weights or data.teacher leads back to {run.root}, which was trained on the same patients "
                "without DP, and no noise that is added later hides what it learnt; start from weights trained with "
                "DP, or on public images."
            )
        _refuse_forebears_without_noise(earlier, cohort)


def _forebears(settings: Settings) -> Iterator[RunDirectory]:
    """The runs that a run starts from or is taught by, as far as they are still there."""
    weights, teacher = settings.model.weights, settings.data.teacher
    folders = [] if teacher is None else [teacher]
    if weights is not None and weights != "timm":
        folders += weights.resolve().parents
    runs = map(RunDirectory, folders)
    return (run for run in runs if run.settings.exists() and run.study.exists())


def _cohort(settings: Settings) -> Path:
    """Where the patients are; an earlier run's may lie on another machine."""
    with suppress(DataError):
        return cohort_folder(settings.data.data).resolve()
    return settings.data.data.resolve()


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


def _rewards(settings: Settings) -> StudyRewards | None:
    scoring, names = settings.rewards.scoring(), settings.data.label_names()
    if scoring is None:
        return None
    public = public_set(settings)
    if public is None:
        raise ConfigError(
            f"rewards.rule = 'contribution': {settings.data.data} has no validation split to measure it on;"
            " allowed is 'weight'."
        )
    values, mask, _ = targets(public.labels, names, settings.data.policies())
    truth = Truth(patient_numbers(public), values > 0.5, mask)
    return StudyRewards(scoring=scoring, truth_sha256=truth.digest().hex())


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
