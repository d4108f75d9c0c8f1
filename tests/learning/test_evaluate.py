"""The areas against scikit-learn, and what is reported where nothing can be measured."""

from dataclasses import replace

import numpy as np
import pytest
from blobs import LABELS, blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from fedchest.learning.evaluate import area_under_roc, average_precision, evaluate, predict
from fedchest.models.chest import ChestModel

scored = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=60)


@given(scored)
@settings(deadline=None)
def test_areas_agree_with_scikit_learn_also_on_ties(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], np.float32)
    truth = np.array([label for _, label in pairs])
    if truth.all() or not truth.any():
        assert area_under_roc(scores, truth) is None
        assert average_precision(scores, truth) is None
    else:
        assert area_under_roc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
        assert average_precision(scores, truth) == pytest.approx(average_precision_score(truth, scores))


def test_masked_labels_do_not_count(model: ChestModel) -> None:
    data = blobs(20, images_each=1)
    result, scores = evaluate(model, data), predict(model, data)
    for label, name in enumerate(LABELS):
        kept = data.mask[:, label]
        truth = data.targets[kept, label]
        assert result.auroc[name] == pytest.approx(roc_auc_score(truth, scores[kept, label]))
    assert result.images == 20
    assert result.mean_auroc == pytest.approx(np.mean([result.auroc[name] for name in LABELS]))


def test_a_label_with_one_class_is_not_measured(model: ChestModel) -> None:
    data = blobs(10)
    targets = data.targets.copy()
    targets[:, 0] = 0
    one_class = evaluate(model, replace(data, targets=targets))
    assert one_class.auroc[LABELS[0]] is None
    assert one_class.mean_auroc == one_class.auroc[LABELS[1]]
    nothing = evaluate(model, replace(data, targets=np.zeros_like(targets)))
    assert nothing.mean_auroc is None
    assert nothing.mean_average_precision is None
