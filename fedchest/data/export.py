"""Handing one institution its share as a CheXpert tree of its own."""

import os
import shutil
from pathlib import Path

from fedchest.data.chexpert import FOLDERS, Split, write_table
from fedchest.data.cohort import Cohort
from fedchest.errors import DataError


def write_tree(cohort: Cohort, root: Path, split: Split) -> None:
    """Write <root>/CheXpert-v1.0-small with the cohort's table and images; nobody else's rows or files.

    Images are hard links where the file system allows it and copies elsewhere. Raises DataError when the tree
    exists or can't be written.
    """
    folder = root / FOLDERS[0]
    if folder.exists():
        raise DataError(f"{folder} exists already: remove it or choose another folder.")
    for path in cohort.paths:
        _link_or_copy(cohort.root / path, folder / path)
    write_table(cohort, folder / f"{split}.csv")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, target)
    except OSError as error:
        raise DataError(f"{target} can't be written: {error.strerror}.") from None
