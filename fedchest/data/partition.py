"""Dividing a cohort among institutions and setting patients aside; a patient is never divided."""

import csv
import hashlib
from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from fedchest.data.cohort import FRONTAL_PA, LATERAL, Cohort, distinct_patients
from fedchest.data.labels import COMPETITION, POSITIVE, column_of
from fedchest.errors import DataError

SITES_FILE = "sites.csv"
"""Beside train.csv in a rendered cohort: which hospital's look each patient's images have."""

_DRAWS = 100

Assignment = npt.NDArray[np.int64]


class PartitionScheme(StrEnum):
    """How institutions come to differ."""

    IID = "iid"  # not at all: equal random shares
    DIRICHLET = "dirichlet"  # in their labels
    QUANTITY = "quantity"  # in their number of patients
    VIEW = "view"  # in their share of PA and lateral images
    SITE = "site"  # in their look, as a rendered cohort's sites.csv says


def partition_patients(
    cohort: Cohort, institutions: int, scheme: PartitionScheme, *, alpha: float, seed: int
) -> tuple[Cohort, ...]:
    """The cohorts of `institutions` hospitals: disjoint in patients, complete, none empty, fixed by `seed`.

    `alpha` > 0 is the concentration of the Dirichlet draws of DIRICHLET and QUANTITY (smaller is more skewed)
    and is not used by the others. Raises DataError for fewer patients than institutions, an `alpha` that
    leaves some institution without a patient in each of 100 draws, and for SITE without a fitting sites.csv.

    Held by tests/data/test_partition.py::test_every_patient_is_in_exactly_one_institution.
    """
    patients = distinct_patients(cohort)
    if not 1 <= institutions <= len(patients):
        raise DataError(f"{len(patients)} patients can't be divided among {institutions} institutions.")
    if not 0 < alpha < float("inf"):
        raise DataError(f"The partition's alpha is {alpha}; it must be a positive number.")
    random = np.random.default_rng([seed, institutions])
    assignment = _SCHEMES[scheme](cohort, patients, institutions, alpha, random)
    institution_of = dict(zip(patients, assignment.tolist(), strict=True))
    rows = np.array([institution_of[patient] for patient in cohort.patients])
    return tuple(cohort.select(np.flatnonzero(rows == institution)) for institution in range(institutions))


def hold_out(cohort: Cohort, fraction: float, seed: int) -> tuple[Cohort, Cohort]:
    """(training, held out): a random `fraction` of the patients, rounded to at least one, is set aside.

    Raises DataError when either part would be empty.
    """
    patients = distinct_patients(cohort)
    count = max(1, round(fraction * len(patients)))
    if not 0 < fraction < 1 or count >= len(patients):
        raise DataError(f"A fraction of {fraction} can't be held out of {len(patients)} patients.")
    order = np.random.default_rng(seed).permutation(len(patients))
    return (
        cohort.select_patients([patients[index] for index in order[count:]]),
        cohort.select_patients([patients[index] for index in order[:count]]),
    )


def unlabelled_patients(cohort: Cohort, labelled_share: float, seed: int) -> tuple[str, ...]:
    """Those whose labels a semi-supervised study hides, by `hide_labels`, so that about `labelled_share` keep theirs.

    Each patient's side follows from the seed and the patient's name alone, so that no patient moves another, and
    whoever is labelled at one share is so at every larger one. Raises DataError for a share outside [0, 1].
    """
    if not 0 <= labelled_share <= 1:
        raise DataError(
            f"A share of {labelled_share} of the patients can't be labelled; it must be from 0 to 1."
        )
    return tuple(
        patient
        for patient in distinct_patients(cohort)
        if patient_draw(patient, "labels", seed) >= labelled_share
    )


def patient_draw(patient: str, purpose: str, seed: int) -> float:
    """A number in [0, 1) that is as good as random but fixed for the patient, the purpose and the seed."""
    digest = hashlib.sha256(f"{purpose} {seed} {patient}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _iid(
    cohort: Cohort, patients: Sequence[str], institutions: int, alpha: float, random: np.random.Generator
) -> Assignment:
    return random.permutation(np.arange(len(patients)) % institutions)


def _dirichlet(
    cohort: Cohort, patients: Sequence[str], institutions: int, alpha: float, random: np.random.Generator
) -> Assignment:
    """Each group of patients is spread by its own Dirichlet(alpha) proportions (Hsu et al. 2019, section 3).

    Labels are not exclusive here, so a patient's group is the rarest competition finding that any of the
    patient's reports affirms, or none.
    """
    groups = _rarest_findings(cohort, patients)

    def draw() -> Assignment:
        assignment = np.empty(len(patients), dtype=np.int64)
        for group in np.unique(groups):
            members = np.flatnonzero(groups == group)
            shares = random.dirichlet(np.full(institutions, alpha))
            assignment[members] = random.choice(institutions, size=len(members), p=shares)
        return assignment

    return _until_none_is_empty(draw, institutions, alpha)


def _quantity(
    cohort: Cohort, patients: Sequence[str], institutions: int, alpha: float, random: np.random.Generator
) -> Assignment:
    """Sizes in Dirichlet(alpha) proportions, patients at random (Li et al. 2022, NIID-Bench, section 4.3)."""

    def draw() -> Assignment:
        shares = random.dirichlet(np.full(institutions, alpha))
        return random.choice(institutions, size=len(patients), p=shares)

    return _until_none_is_empty(draw, institutions, alpha)


def _view(
    cohort: Cohort, patients: Sequence[str], institutions: int, alpha: float, random: np.random.Generator
) -> Assignment:
    """Equal shares of the patients, ordered by the part of their images that is PA or lateral."""
    number = {patient: index for index, patient in enumerate(patients)}
    rows = np.array([number[patient] for patient in cohort.patients])
    ambulatory = np.array([view in (FRONTAL_PA, LATERAL) for view in cohort.views], dtype=np.float64)
    share = np.bincount(rows, weights=ambulatory) / np.bincount(rows)
    order = np.lexsort((random.random(len(patients)), share))
    assignment = np.empty(len(patients), dtype=np.int64)
    for institution, members in enumerate(np.array_split(order, institutions)):
        assignment[members] = institution
    return assignment


def _site(
    cohort: Cohort, patients: Sequence[str], institutions: int, alpha: float, random: np.random.Generator
) -> Assignment:
    site_of = _read_sites(cohort)
    missing = [patient for patient in patients if patient not in site_of]
    if missing:
        raise DataError(f"{cohort.root / SITES_FILE} does not list {missing[0]}.")
    sites = sorted({site_of[patient] for patient in patients})
    if len(sites) != institutions:
        raise DataError(
            f"{cohort.root / SITES_FILE} has {len(sites)} sites, which can't be divided among "
            f"{institutions} institutions."
        )
    return np.array([sites.index(site_of[patient]) for patient in patients], dtype=np.int64)


_SCHEMES: dict[
    PartitionScheme, Callable[[Cohort, Sequence[str], int, float, np.random.Generator], Assignment]
] = {
    PartitionScheme.IID: _iid,
    PartitionScheme.DIRICHLET: _dirichlet,
    PartitionScheme.QUANTITY: _quantity,
    PartitionScheme.VIEW: _view,
    PartitionScheme.SITE: _site,
}


def _until_none_is_empty(draw: Callable[[], Assignment], institutions: int, alpha: float) -> Assignment:
    for _ in range(_DRAWS):
        assignment = draw()
        if len(np.unique(assignment)) == institutions:
            return assignment
    raise DataError(
        f"An alpha of {alpha} leaves one of {institutions} institutions without patients: "
        "raise alpha or add patients."
    )


def _rarest_findings(cohort: Cohort, patients: Sequence[str]) -> npt.NDArray[np.int64]:
    """Per patient, the index in COMPETITION of the rarest affirmed finding, or its length for none."""
    number = {patient: index for index, patient in enumerate(patients)}
    rows = np.array([number[patient] for patient in cohort.patients])
    affirmed = np.zeros((len(patients), len(COMPETITION)), dtype=np.bool_)
    for column, name in enumerate(COMPETITION):
        affirmed[rows[cohort.labels[:, column_of(name)] == POSITIVE], column] = True
    groups = np.full(len(patients), len(COMPETITION), dtype=np.int64)
    for column in np.argsort(-affirmed.sum(axis=0), kind="stable"):
        groups[affirmed[:, column]] = column
    return groups


def _read_sites(cohort: Cohort) -> dict[str, int]:
    table = cohort.root / SITES_FILE
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return {row["Patient"]: int(row["Site"]) for row in csv.DictReader(file)}
    except FileNotFoundError:
        raise DataError(f"{table} does not exist: only a rendered cohort can be divided by site.") from None
    except (KeyError, ValueError, TypeError):
        raise DataError(f"{table} needs the columns Patient and Site, with a number for each site.") from None
