"""Scores from predictions: AUROC against scikit-learn's, and what an interval is made of."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fedchest.contribution.assessment import Trial, Value, assess
from fedchest.contribution.design import Method, Scoring
from fedchest.contribution.predictions import Predictions, Truth
from fedchest.contribution.ranking import concordance, pairs
from fedchest.contribution.utility import utilities
from fedchest.errors import ConfigError

SEED = b"s" * 32


@st.composite
def rankings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, classes, and how often each image counts."""
    size = draw(st.integers(2, 40))
    column = {"min_size": size, "max_size": size}
    scores = draw(st.lists(st.integers(0, draw(st.sampled_from([3, 65535]))), **column))
    positive = draw(st.lists(st.booleans(), **column))
    weights = draw(st.lists(st.integers(0, 5), **column))
    return np.array(scores, np.uint16), np.array(positive), np.array(weights, np.int64)


@given(rankings())
def test_auroc_is_scikit_learns(ranking):
    scores, positive, weights = ranking
    counted = positive[weights > 0]
    assume(counted.any() and not counted.all())
    found = Fraction(
        int(concordance(scores, positive, weights[None])[0]), int(pairs(positive, weights[None])[0])
    )
    assert float(found) == pytest.approx(roc_auc_score(positive, scores, sample_weight=weights), abs=1e-12)


def example(
    coalitions: int = 4, images: int = 60, labels: int = 3, *, seed: int = 0, patients: int | None = None
) -> Predictions:
    random = np.random.default_rng(seed)
    by_image = np.arange(images) if patients is None else np.sort(random.integers(patients, size=images))
    truth = Truth(
        patients=np.unique(by_image, return_inverse=True)[1].astype(np.int64),
        positive=random.random((images, labels)) < 0.4,
        counted=random.random((images, labels)) < 0.9,
    )
    truth = Truth(truth.patients, truth.positive & truth.counted, truth.counted)
    signal = truth.positive * np.arange(coalitions)[:, None, None] * 400
    noise = random.integers(30_000, 32_000, size=(coalitions, images, labels))
    return Predictions(truth, (noise + signal).astype(np.uint16))


def trial(
    institutions: int = 2, method: Method = Method.SHAPLEY, resamples: int = 0, permutations: int = 4
) -> Trial:
    return Trial(Scoring(method, permutations, resamples), institutions, SEED)


def mean_auroc(predictions: Predictions, model: int, weights: np.ndarray | None = None) -> float:
    """By scikit-learn, over the labels."""
    truth = predictions.truth
    weights = np.ones(len(truth.patients)) if weights is None else weights
    columns = [(label, truth.counted[:, label]) for label in range(truth.positive.shape[1])]
    return float(
        np.mean(
            [
                roc_auc_score(
                    truth.positive[rows, label],
                    predictions.logits[model, rows, label],
                    sample_weight=weights[rows],
                )
                for label, rows in columns
            ]
        )
    )


def test_a_utility_is_the_mean_auroc():
    predictions = example()
    (known,) = utilities(predictions, (0, 1, 2, 3), np.ones((1, 60), np.int64))
    assert known is not None
    for coalition in range(4):
        assert known.numerators[coalition] / known.denominator == pytest.approx(
            mean_auroc(predictions, coalition), abs=1e-12
        )


def test_values_are_in_millionths_rounded_down():
    predictions = example()
    none, first, second, both = (mean_auroc(predictions, coalition) for coalition in range(4))
    by_hand = [(first - none + both - second) / 2, (second - none + both - first) / 2]
    found = assess(predictions, trial())
    for value, expected in zip(found, by_hand, strict=True):
        assert expected * 1e6 - 1 < value.value <= expected * 1e6 + 1e-3


def test_an_interval_is_of_values_with_patients_drawn_again():
    """The same percentiles, from scikit-learn's weighted figures."""
    predictions = example(patients=25)
    chosen = trial(resamples=80, method=Method.LEAVE_ONE_OUT)
    found = assess(Predictions(predictions.truth, predictions.logits[:3]), chosen)
    drawn = []
    for weights in chosen.weights(predictions.truth)[1:]:
        # leave-one-out tries 0b01 (without the second), 0b10 (without the first), 0b11
        first, second, both = (mean_auroc(predictions, place, weights) for place in range(3))
        drawn.append((both - second, both - first))
    for place, value in enumerate(found):
        ranked = sorted(values[place] for values in drawn)
        assert value.low == pytest.approx(ranked[2] * 1e6, abs=1.01)
        assert value.high == pytest.approx(ranked[-3] * 1e6, abs=1.01)
        assert value.low is not None and value.high is not None and value.low < value.value < value.high


def test_all_images_of_a_patient_are_drawn_together():
    predictions = example(patients=10)
    weights = trial(resamples=20).weights(predictions.truth)
    assert (weights[0] == 1).all()
    for patient in range(10):
        own = weights[:, predictions.truth.patients == patient]
        assert (own == own[:, :1]).all()


def test_drawn_orders_widen_the_interval():
    """With 8 institutions and 4 orders, the orders are drawn again too."""
    chosen = trial(8, resamples=60)
    predictions = example(len(chosen.design().coalitions))
    redrawn = {tuple(map(tuple, (own.items() for own in design.coefficients))) for design in chosen.redrawn()}
    assert len(redrawn) > 10
    assert all(set(design.coalitions) <= set(chosen.design().coalitions) for design in chosen.redrawn())
    assert all(value.low is not None for value in assess(predictions, chosen))


def test_no_interval_where_a_draw_has_one_class_only():
    predictions = example(images=4, labels=1)
    alone = Truth(predictions.truth.patients, np.eye(4, 1, dtype=bool), np.ones((4, 1), bool))
    found = assess(Predictions(alone, predictions.logits), trial(resamples=50))
    assert [(value.low, value.high) for value in found] == [(None, None)] * 2


def test_labels_of_one_class_do_not_count():
    predictions = example()
    positive = predictions.truth.positive.copy()
    positive[:, 1] = False
    less = Truth(predictions.truth.patients, positive, predictions.truth.counted)
    (known,) = utilities(Predictions(less, predictions.logits), (0, 1, 2, 3), np.ones((1, 60), np.int64))
    kept = Truth(less.patients, positive[:, [0, 2]], less.counted[:, [0, 2]])
    assert known is not None
    assert known.numerators[3] / known.denominator == pytest.approx(
        mean_auroc(Predictions(kept, predictions.logits[:, :, [0, 2]]), 3), abs=1e-12
    )


def test_nothing_to_measure_is_a_score_of_nothing():
    predictions = example(images=5, labels=1)
    blank = Truth(predictions.truth.patients, np.zeros((5, 1), bool), np.ones((5, 1), bool))
    assert assess(Predictions(blank, predictions.logits), trial()) == [Value(0, None, None)] * 2


def test_predictions_of_another_number_of_coalitions():
    with pytest.raises(ConfigError, match="of 3 coalitions, the round has 4"):
        assess(example(3), trial())
