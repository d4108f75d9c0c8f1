"""Patients are divided, never split."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedchest.data.chexpert import read_chexpert
from fedchest.data.cohort import Cohort, distinct_patients
from fedchest.data.labels import BLANK, OBSERVATIONS, column_of
from fedchest.data.partition import PartitionScheme, hold_out, partition_patients, unlabelled_patients
from fedchest.errors import DataError

SCHEMES = [scheme for scheme in PartitionScheme if scheme is not PartitionScheme.SITE]


def cohort_of(patients: int, seed: int = 0) -> Cohort:
    """1 to 4 images a patient, shuffled, with random labels and views; no files."""
    random = np.random.default_rng(seed)
    owners = random.permutation(np.repeat(np.arange(patients), random.integers(1, 5, patients)))
    count = len(owners)
    return Cohort(
        root=Path("nowhere"),
        paths=tuple(f"image{number}.png" for number in range(count)),
        patients=tuple(f"patient{owner:05d}" for owner in owners),
        labels=random.choice([1, 0, -1, BLANK, BLANK], size=(count, len(OBSERVATIONS))).astype(np.int8),
        views=tuple(random.choice(["frontal-AP", "frontal-PA", "lateral"], size=count, p=[0.7, 0.15, 0.15])),
        sexes=("Male",) * count,
        ages=np.full(count, 60, dtype=np.int16),
    )


@settings(max_examples=60, deadline=None)
@given(
    patients=st.integers(30, 120),
    institutions=st.integers(1, 6),
    scheme=st.sampled_from(SCHEMES),
    alpha=st.floats(0.3, 10),
    seed=st.integers(0, 1000),
)
def test_every_patient_is_in_exactly_one_institution(
    patients: int, institutions: int, scheme: PartitionScheme, alpha: float, seed: int
) -> None:
    cohort = cohort_of(patients, seed)
    shares = partition_patients(cohort, institutions, scheme, alpha=alpha, seed=seed)
    assert len(shares) == institutions
    assert all(len(share) for share in shares)
    owned = [set(share.patients) for share in shares]
    assert sum(map(len, owned)) == len(set().union(*owned)) == patients
    assert sorted(path for share in shares for path in share.paths) == sorted(cohort.paths)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_fixes_the_partition(scheme: PartitionScheme) -> None:
    cohort = cohort_of(80)

    def paths(seed: int) -> list[tuple[str, ...]]:
        return [share.paths for share in partition_patients(cohort, 4, scheme, alpha=1.0, seed=seed)]

    assert paths(5) == paths(5)
    assert paths(5) != paths(6)


def test_iid_shares_differ_by_one_patient_at_most() -> None:
    shares = partition_patients(cohort_of(101), 4, PartitionScheme.IID, alpha=1, seed=0)
    assert sorted(len(distinct_patients(share)) for share in shares) == [25, 25, 25, 26]


def prevalence_spread(cohort: Cohort, alpha: float) -> float:
    shares = partition_patients(cohort, 4, PartitionScheme.DIRICHLET, alpha=alpha, seed=1)
    column = column_of("Consolidation")
    return float(np.std([(share.labels[:, column] == 1).mean() for share in shares]))


def test_a_smaller_alpha_skews_labels_more() -> None:
    cohort = cohort_of(1500)
    assert prevalence_spread(cohort, 0.2) > 2 * prevalence_spread(cohort, 100)


def test_a_smaller_alpha_skews_quantities_more() -> None:
    def spread(alpha: float) -> float:
        shares = partition_patients(cohort_of(800), 4, PartitionScheme.QUANTITY, alpha=alpha, seed=2)
        return float(np.std([len(share) for share in shares]))

    assert spread(0.5) > 3 * spread(1000)


def test_by_view_the_first_has_fewest_pa_and_lateral_images() -> None:
    shares = partition_patients(cohort_of(400), 4, PartitionScheme.VIEW, alpha=1, seed=0)
    ap = [np.mean([view == "frontal-AP" for view in share.views]) for share in shares]
    assert ap == sorted(ap, reverse=True)
    assert ap[0] > ap[-1] + 0.4


def test_by_site_each_institution_has_one_look(rendered: Path) -> None:
    cohort = read_chexpert(rendered, "train")
    shares = partition_patients(cohort, 3, PartitionScheme.SITE, alpha=1, seed=0)
    for site, share in enumerate(shares):
        assert {(int(patient.removeprefix("patient")) - 1) % 3 for patient in share.patients} == {site}
    with pytest.raises(DataError, match=r"sites\.csv has 3 sites, which can't be divided among 4"):
        partition_patients(cohort, 4, PartitionScheme.SITE, alpha=1, seed=0)


def test_by_site_needs_a_rendered_cohort(nih: Path) -> None:
    with pytest.raises(DataError, match=r"sites\.csv does not exist"):
        partition_patients(read_chexpert(nih, "train"), 2, PartitionScheme.SITE, alpha=1, seed=0)


def test_impossible_partitions_are_refused() -> None:
    cohort = cohort_of(5)
    with pytest.raises(DataError, match="5 patients can't be divided among 6 institutions"):
        partition_patients(cohort, 6, PartitionScheme.IID, alpha=1, seed=0)
    with pytest.raises(DataError, match="alpha is -1"):
        partition_patients(cohort, 2, PartitionScheme.IID, alpha=-1, seed=0)
    with pytest.raises(DataError, match=r"alpha of 0\.001 leaves one of 5"):
        partition_patients(cohort, 5, PartitionScheme.QUANTITY, alpha=0.001, seed=0)


@given(patients=st.integers(2, 60), fraction=st.floats(0.01, 0.7), seed=st.integers(0, 99))
def test_held_out_patients_are_in_no_training_image(patients: int, fraction: float, seed: int) -> None:
    cohort = cohort_of(patients, seed)
    training, held_out = hold_out(cohort, fraction, seed)
    assert not set(training.patients) & set(held_out.patients)
    assert len(training) + len(held_out) == len(cohort)
    assert len(distinct_patients(held_out)) == max(1, round(fraction * patients))


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0.99, -0.2])
def test_nothing_sensible_to_hold_out_is_refused(fraction: float) -> None:
    with pytest.raises(DataError, match="can't be held out of 10 patients"):
        hold_out(cohort_of(10), fraction, 0)


def test_the_labelled_share_is_met_and_grows_without_moving_anyone() -> None:
    cohort = cohort_of(2000)
    sides = [set(unlabelled_patients(cohort, share, 4)) for share in (0.0, 0.1, 0.5, 1.0)]
    assert [len(side) / 2000 for side in sides] == pytest.approx([1, 0.9, 0.5, 0], abs=0.03)
    assert sides[0] > sides[1] > sides[2] > sides[3]


def test_no_patient_moves_another_to_the_unlabelled() -> None:
    cohort = cohort_of(300)
    every = set(unlabelled_patients(cohort, 0.4, 1))
    some = cohort.select_patients(distinct_patients(cohort)[50:90])
    assert set(unlabelled_patients(some, 0.4, 1)) == every & set(some.patients)
    assert every != set(unlabelled_patients(cohort, 0.4, 2))


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(DataError, match=r"share of .* must be from 0 to 1"):
        unlabelled_patients(cohort_of(3), share, 0)
