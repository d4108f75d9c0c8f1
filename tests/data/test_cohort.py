"""Selecting from cohorts."""

from pathlib import Path

import numpy as np
import pytest

from fedchest.data.chexpert import read_chexpert
from fedchest.data.cohort import distinct_patients, hide_labels, refuse_shared_patients
from fedchest.data.labels import UNKNOWN
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


def test_hidden_labels_are_those_of_the_given_patients_alone(nih: Path) -> None:
    cohort = read_chexpert(nih, "train")
    before = cohort.labels.copy()
    hidden = set(distinct_patients(cohort)[2:5])
    result = hide_labels(cohort, hidden)
    for row, patient in enumerate(cohort.patients):
        assert (result.labels[row] == (UNKNOWN if patient in hidden else before[row])).all()
    assert result.labels.dtype == np.int8
    assert result.paths == cohort.paths
    assert (cohort.labels == before).all()
    assert (hide_labels(cohort, ()).labels == before).all()
