"""Images as a study looks at them: its views, size, labels and uncertainty policies."""

from collections.abc import Sequence
from pathlib import Path

from fedchest.data.chexpert import Split
from fedchest.data.dataset import ChestDataset, load_dataset
from fedchest.data.reader import read_cohort
from fedchest.federation.study import Study


def study_data(
    study: Study, root: Path, split: Split, *, cache: Path, patients: Sequence[str] | None = None
) -> ChestDataset:
    """One split of the cohort at `root`, of the given patients only; decoded images are kept in `cache`.

    Raises DataError.
    """
    cohort = read_cohort(root, split, views=study.views)
    return load_dataset(
        cohort if patients is None else cohort.select_patients(patients),
        size=study.model.image_size,
        cache_dir=cache,
        label_names=study.labels,
        policies=study.uncertainty,
    )
