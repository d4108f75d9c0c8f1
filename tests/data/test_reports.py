"""The label model reproduces CheXpert's published aggregates."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from fedchest.data.labels import BLANK, OBSERVATIONS, POSITIVE, UNCERTAIN, column_of
from fedchest.data.phantom.reports import DRAWN, Study, report_model, statistics, tetrachoric

AP_SHARE = 0.846  # CheXpert's share of AP among frontal images


@pytest.fixture(scope="module")
def histories() -> list[list[Study]]:
    random = np.random.default_rng(1)
    views = np.where(random.random((9000, 2)) < AP_SHARE, "frontal-AP", "frontal-PA")
    return [report_model().draw_history(random, list(row)) for row in views]


@pytest.fixture(scope="module")
def labels(histories: list[list[Study]]) -> np.ndarray:
    return np.array([study.labels for history in histories for study in history])


def test_frequencies_are_the_published_ones(labels: np.ndarray) -> None:
    """No Finding is not drawn but follows from the others, so it may be farther off."""
    known = statistics()
    for column, name in enumerate(OBSERVATIONS):
        tolerance = 0.03 if name == "No Finding" else 0.015
        for value, kind in ((POSITIVE, "positive"), (UNCERTAIN, "uncertain"), (0, "negative")):
            published = known[kind][column] / known["studies"]
            assert (labels[:, column] == value).mean() == pytest.approx(published, abs=tolerance), (
                name,
                kind,
            )


def test_co_occurrence_is_the_published_one(labels: np.ndarray) -> None:
    known = statistics()
    rates = np.array(known["positive"][1:]) / known["studies"]
    both = np.array(known["both_positive"])[1:, 1:] / known["studies"]
    spread = np.sqrt(rates * (1 - rates))
    published = (both - np.outer(rates, rates)) / np.outer(spread, spread)
    simulated = np.corrcoef((labels[:, 1:] == POSITIVE).T)
    off_diagonal = ~np.eye(len(DRAWN), dtype=bool)
    assert np.abs(simulated - published)[off_diagonal].max() < 0.05


def test_findings_persist_as_published(histories: list[list[Study]]) -> None:
    for name in ("Pleural Effusion", "Support Devices", "Edema"):
        column = column_of(name)
        again = [
            history[1].labels[column] == POSITIVE
            for history in histories
            if history[0].labels[column] == POSITIVE
        ]
        published = statistics()["positive_next_study_given_positive"][column]
        assert np.mean(again) == pytest.approx(published, abs=0.04), name


def test_reports_say_what_is_there(histories: list[list[Study]]) -> None:
    for study in (study for history in histories[:500] for study in history):
        for column, name in enumerate(OBSERVATIONS):
            label, severity = study.labels[column], study.findings.get(name, 0.0)
            if name == "No Finding":
                assert (label == POSITIVE) == (set(study.findings) <= {"Support Devices"})
            elif label == POSITIVE:
                assert severity >= 0.4
            elif label == UNCERTAIN:
                assert 0 < severity <= 0.35
            else:
                assert severity == 0


def test_readings_are_sure_and_count_what_can_be_seen() -> None:
    random = np.random.default_rng(2)
    for _ in range(300):
        study = report_model().draw_reading(random, "frontal-AP")
        seen = {name for name, severity in study.findings.items() if severity >= 0.2}
        assert {name for name, label in zip(OBSERVATIONS, study.labels, strict=True) if label == 1} - {
            "No Finding"
        } == seen
        assert BLANK not in study.labels
        assert UNCERTAIN not in study.labels


@pytest.mark.parametrize(
    ("first", "second", "correlation"), [(0.1, 0.3, 0.6), (0.02, 0.5, -0.4), (0.4, 0.4, 0.0)]
)
def test_tetrachoric_correlation_against_scipy(first: float, second: float, correlation: float) -> None:
    thresholds = norm.isf([first, second])
    both = multivariate_normal.cdf(-thresholds, mean=[0, 0], cov=[[1, correlation], [correlation, 1]])
    found = tetrachoric(np.array(first), np.array(second), np.array(both))
    assert float(found) == pytest.approx(correlation, abs=2e-3)
