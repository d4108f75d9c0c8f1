"""Figures against counting by hand, what is reported where nothing can be measured, and honest intervals."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from blobs import LABELS, blobs
from hypothesis import given, settings
from hypothesis import strategies as st

from fedchest.learning.bootstrap import bootstrap
from fedchest.learning.evaluate import evaluate, predict
from fedchest.learning.metrics import Scores, Truth, area_under_roc, average_precision
from fedchest.models.chest import ChestModel

scored = st.lists(st.tuples(st.integers(-5, 5), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40)


def auroc_by_pairs(scores: Scores, truth: Truth) -> float:
    """The definition: each positive against each negative."""
    wins = [float(a > b) + 0.5 * float(a == b) for a in scores[truth] for b in scores[~truth]]
    return float(np.mean(wins))


def precision_by_steps(scores: Scores, truth: Truth) -> float:
    """The definition: precision at each threshold, weighted by the recall that it adds."""
    total, found = 0.0, 0
    for threshold in np.unique(scores)[::-1]:
        taken = scores >= threshold
        hits = int(truth[taken].sum())
        total += (hits - found) * hits / int(taken.sum())
        found = hits
    return total / int(truth.sum())


@given(scored)
@settings(deadline=None)
def test_figures_agree_with_their_definition_also_on_ties_and_repetitions(
    rows: list[tuple[int, bool, int]],
) -> None:
    scores = np.array([score for score, _, _ in rows], np.float32)
    truth = np.array([label for _, label, _ in rows])
    times = np.array([count for _, _, count in rows])
    repeated, labels = np.repeat(scores, times), np.repeat(truth, times)
    definitions: list[tuple[Callable[..., float | None], Callable[[Scores, Truth], float]]] = [
        (area_under_roc, auroc_by_pairs),
        (average_precision, precision_by_steps),
    ]
    for figure, definition in definitions:
        if labels.all() or not labels.any():
            assert figure(scores, truth, times.astype(np.float64)) is None
        else:
            expected = pytest.approx(definition(repeated, labels))
            assert figure(repeated, labels) == expected
            assert figure(scores, truth, times.astype(np.float64)) == expected


def test_a_score_that_is_no_number_leaves_nothing_to_measure() -> None:
    scores, truth = np.array([np.nan, 1, 2], np.float32), np.array([True, False, True])
    assert area_under_roc(scores, truth) is None
    assert average_precision(scores, truth) is None


def test_masked_labels_do_not_count(model: ChestModel) -> None:
    data = blobs(20, images_each=1)
    result, scores = evaluate(model, data), predict(model, data)
    for label, name in enumerate(LABELS):
        kept = data.mask[:, label]
        truth = data.targets[kept, label] > 0.5
        assert result.auroc[name] == pytest.approx(auroc_by_pairs(scores[kept, label], truth))
    assert result.images == 20
    assert result.mean_auroc == pytest.approx(np.mean([result.auroc[name] for name in LABELS]))


def test_a_label_with_one_class_is_not_measured(model: ChestModel) -> None:
    data = blobs(10)
    targets = data.targets.copy()
    targets[:, 0] = 0
    one_class = evaluate(model, replace(data, targets=targets))
    assert one_class.auroc[LABELS[0]] is None
    assert one_class.mean_auroc == one_class.auroc[LABELS[1]]
    assert evaluate(model, replace(data, targets=np.zeros_like(targets))).mean_auroc is None


def scores_of(data, noise: float, seed: int) -> Scores:
    random = np.random.default_rng(seed)
    by_patient = random.normal(size=(data.patient_count, len(LABELS)))[data.patients]
    return (data.targets + noise * by_patient).astype(np.float32)


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 95 % intervals over 40 cohorts, 33 or more hold the AUROC of a very large one (false alarm below 1 %)."""
    large = blobs(5_000, images_each=1, seed=99)
    truth = area_under_roc(scores_of(large, 1.0, 99)[:, 0], large.targets[:, 0] > 0.5)
    covered = 0
    for seed in range(40):
        data = replace(blobs(60, images_each=1, seed=seed), mask=np.ones((60, 2), bool))
        found = bootstrap(area_under_roc, scores_of(data, 1.0, seed), data, resamples=100, seed=0)
        interval = found.label(LABELS[0])
        covered += interval.low <= truth <= interval.high
    assert covered >= 33


def test_images_of_one_patient_count_as_one_observation() -> None:
    """Showing every image five times tells nothing new, so the interval must not shrink."""
    once = replace(blobs(40, images_each=1), mask=np.ones((40, 2), bool))
    rows = np.repeat(np.arange(40), 5)
    often = replace(
        once,
        images=once.images[rows],
        targets=once.targets[rows],
        mask=once.mask[rows],
        patients=once.patients[rows],
    )
    scores = scores_of(once, 1.0, 0)
    one = bootstrap(area_under_roc, scores, once, resamples=100, seed=3)
    five = bootstrap(area_under_roc, scores[rows], often, resamples=100, seed=3)
    for name in LABELS:
        assert one.label(name) == pytest.approx(five.label(name))
    assert one.mean(LABELS) == pytest.approx(five.mean(LABELS))


def test_a_label_that_some_draws_lack_has_a_figure_but_no_interval() -> None:
    data = replace(blobs(20, images_each=1), mask=np.ones((20, 2), bool))
    targets = data.targets.copy()
    targets[:, 0] = 0
    targets[3, 0] = 1
    data = replace(data, targets=targets)
    found = bootstrap(area_under_roc, scores_of(data, 0.5, 0), data, resamples=100, seed=0)
    assert found.label(LABELS[0]).value is not None
    assert found.label(LABELS[0]).low is None
    assert found.label(LABELS[1]).low is not None
    assert found.mean(LABELS).value is not None
    assert found.mean(LABELS).low is None
    assert found.mean(LABELS[1:]) == found.label(LABELS[1])
