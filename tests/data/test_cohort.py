"""Selecting from cohorts."""

from pathlib import Path

import pytest

from fedchest.data.chexpert import read_chexpert
from fedchest.data.cohort import distinct_patients, refuse_shared_patients
from fedchest.errors import DataError


def test_select_keeps_every_column_together(nih: Path) -> None:
    cohort = read_chexpert(nih, "train")
    chosen = cohort.select([4, 1])
    assert chosen.paths == (cohort.paths[4], cohort.paths[1])
    assert chosen.patients == (cohort.patients[4], cohort.patients[1])
    assert (chosen.labels == cohort.labels[[4, 1]]).all()
    assert chosen.ages.tolist() == cohort.ages[[4, 1]].tolist()


def test_a_patient_in_both_cohorts_is_refused(nih: Path) -> None:
    cohort = read_chexpert(nih, "train")
    one, *others = distinct_patients(cohort)
    refuse_shared_patients(cohort.select_patients([one]), cohort.select_patients(others))
    with pytest.raises(DataError, match=f"{one} is in two cohorts"):
        refuse_shared_patients(cohort.select_patients([one]), cohort)
