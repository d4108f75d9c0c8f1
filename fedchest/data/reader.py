"""Reading a cohort from a folder, whichever of the published layouts it has."""

from pathlib import Path

from fedchest.data.chexpert import Split, Views, chexpert_folder, read_chexpert
from fedchest.data.cohort import Cohort
from fedchest.data.nih import LISTS, nih_table, read_nih


def read_cohort(root: Path, split: Split, *, views: Views = "frontal") -> Cohort:
    """One split of the CheXpert tree or ChestX-ray14 folder at `root`. Raises as `read_chexpert` and `read_nih`."""
    return (read_chexpert if nih_table(root) is None else read_nih)(root, split, views=views)


def cohort_folder(root: Path) -> Path:
    """The folder that the cohort's own files lie in. Raises DataError when there is none."""
    return chexpert_folder(root) if nih_table(root) is None else root


def has_split(root: Path, split: Split) -> bool:
    """Whether the cohort at `root` comes with that split. Raises DataError when there is no cohort."""
    name = f"{split}.csv" if nih_table(root) is None else LISTS[split]
    return (cohort_folder(root) / name).exists()
