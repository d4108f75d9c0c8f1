"""Images as a study looks at them: its views, size, labels and uncertainty policies."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import expit

from fedchest.data.chexpert import Split
from fedchest.data.cohort import hide_labels
from fedchest.data.dataset import ChestDataset, load_dataset
from fedchest.data.labels import UncertaintyPolicy, self_trained
from fedchest.data.reader import read_cohort
from fedchest.errors import ConfigError
from fedchest.federation.directory import RunDirectory
from fedchest.federation.run_model import load_run_model
from fedchest.federation.study import Study
from fedchest.learning.evaluate import predict
from fedchest.learning.private_inputs import POLICY, admit, declared


def study_data(
    study: Study,
    root: Path,
    split: Split,
    *,
    cache: Path,
    patients: Sequence[str] | None = None,
    unlabelled: Sequence[str] = (),
    teacher: Path | None = None,
) -> ChestDataset:
    """One split of the cohort at `root`, of the given patients only; decoded images are kept in `cache`.

    Labels of `unlabelled` patients are left out. The model of the run `teacher` says what uncertain labels with the
    policy u-self-trained are; without one they are left out. Raises DataError, StoreError, and ConfigError for a
    teacher of other labels.
    """
    cohort = read_cohort(root, split, views=study.views)
    if patients is not None:
        cohort = cohort.select_patients(patients)
    data = load_dataset(
        hide_labels(cohort, unlabelled) if unlabelled else cohort,
        size=study.model.image_size,
        cache_dir=cache,
        label_names=study.labels,
        policies=study.uncertainty,
    )
    return data if teacher is None else _taught(data, study, RunDirectory(teacher))


def _taught(data: ChestDataset, study: Study, run: RunDirectory) -> ChestDataset:
    """`data` whose uncertain labels of the policy u-self-trained are the probabilities of the run's model."""
    taught_by = load_run_model(run)
    if (
        taught_by.study.labels != data.label_names
        or taught_by.study.model.image_size != study.model.image_size
    ):
        raise ConfigError(f"data.teacher = {run.root}: its labels or image size are not those of this study.")
    if taught_by.sha256 != study.teacher_sha256:
        raise ConfigError(f"data.teacher = {run.root}: its last model is not the one that the study names.")
    if study.privacy is not None and taught_by.study.privacy is None:
        admit(declared(POLICY, UncertaintyPolicy.SELF_TRAINED), private=True)
    asked = [study.uncertainty[name] is UncertaintyPolicy.SELF_TRAINED for name in data.label_names]
    apart = np.zeros_like(data.mask) if data.uncertain is None else data.uncertain
    scores = expit(predict(taught_by.model, data)).astype(np.float32)
    values, mask, _ = self_trained(data.targets, data.mask, apart & np.array(asked), scores)
    return replace(data, targets=values, mask=mask, uncertain=apart & ~np.array(asked))
