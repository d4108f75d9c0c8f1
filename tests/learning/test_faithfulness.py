"""Faithfulness told apart: models that look at the finding, beside it, and nowhere."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from fedchest.data.phantom.cases import Case
from fedchest.learning.batches import network_input
from fedchest.learning.evidence import deciding_scales, evidence_maps
from fedchest.learning.faithfulness import TOLERANCE, Figures, measure_faithfulness
from fedchest.learning.occlusion import occlusion_maps
from fedchest.models.chest import ChestModel, Decision

SIDE = 64
LABELS = ("Pleural Effusion", "Lung Lesion", "No Finding")


def squares(number: int, side: int = SIDE, width: int = 12) -> list[Case]:
    """Grey noise with one bright square, the same without it, and where it is."""
    random = np.random.default_rng(number)
    cases = []
    for _ in range(number):
        top, left = random.integers(0, side - width, 2)
        mask = np.zeros((side, side), dtype=np.bool_)
        mask[top : top + width, left : left + width] = True
        without = random.integers(100, 140, (side, side)).astype(np.uint8)
        cases.append(Case(np.where(mask, 250, without).astype(np.uint8), without, mask))
    return cases


def decide_by(cells_of: Callable[[Tensor], Tensor], images: Tensor, *, gain: float = 1.0) -> Decision:
    """A model of two labels at two scales: the evidence that `cells_of` finds at stride 4, and none at stride 8."""
    cells = cells_of(torch.nn.functional.avg_pool2d(images, 4))
    both = torch.stack([cells, -cells], dim=1).squeeze(2)
    fine = gain * both.sum((2, 3)) / 8
    return Decision([both, torch.zeros(len(images), 2, 8, 8)], torch.stack([fine, torch.zeros_like(fine)], 1))


def measured(cells_of: Callable[[Tensor], Tensor], gain: float = 1.0) -> Figures:
    names = ("seen", "other")
    decide = partial(decide_by, cells_of, gain=gain)
    figures = measure_faithfulness(decide, names, {"seen": squares(20)}).labels
    assert figures["other"] is None
    assert figures["seen"] is not None
    return figures["seen"]


def test_a_model_that_sees_the_finding_points_at_it_and_follows_it() -> None:
    figures = measured(lambda grey: grey)
    assert figures.pointing == 1.0
    assert figures.occlusion == 1.0
    assert figures.drop > 1
    assert figures.cases == 20


def test_a_map_that_points_elsewhere_is_found_out_while_occlusion_is_not_fooled() -> None:
    """The evidence is shown mirrored, but the logit is as before."""
    figures = measured(lambda grey: grey.flip(3))
    assert figures.pointing < 0.3
    assert figures.occlusion == 1.0
    assert figures.drop > 1


def test_a_model_that_sees_nothing_does_not_follow() -> None:
    corner = torch.zeros(1, 1, 16, 16)
    corner[..., 0, 0] = 9.0
    figures = measured(lambda grey: corner.expand_as(grey))
    assert figures.drop == 0.0
    assert figures.pointing < 0.3


def test_a_map_without_a_peak_points_no_better_than_chance() -> None:
    figures = measured(torch.zeros_like)
    assert figures.pointing == pytest.approx(figures.chance)


def test_the_drop_is_in_logits() -> None:
    assert measured(lambda grey: grey, gain=3.0).drop == pytest.approx(
        3 * measured(lambda grey: grey).drop, rel=1e-5
    )


def test_chance_is_what_a_random_point_reaches() -> None:
    cases = squares(40)
    reach = round(TOLERANCE * SIDE)
    random = np.random.default_rng(0)
    hits = []
    for case in cases:
        rows, columns = np.nonzero(case.mask)
        for y, x in random.integers(0, SIDE, (400, 2)):
            hits.append(
                rows.min() - reach <= y <= rows.max() + reach
                and columns.min() - reach <= x <= columns.max() + reach
            )
    figures = measure_faithfulness(partial(decide_by, lambda grey: grey), ("seen",), {"seen": cases}).labels[
        "seen"
    ]
    assert figures is not None
    assert figures.chance == pytest.approx(np.mean(hits), abs=0.01)


def test_occlusion_is_what_covering_one_square_at_a_time_gives(model: ChestModel) -> None:
    """Against a plain loop over the coverings and all the pixels of each."""
    model.eval()
    image = np.random.default_rng(3).integers(0, 255, (32, 32)).astype(np.uint8)
    total, times = np.zeros((32, 32)), np.zeros((32, 32))
    with torch.inference_mode():
        plain = network_input(image[None])
        whole = float(model.decide(plain).by_scale.sum(1)[0, 1])
        for top in [*range(0, 28, 2), 28]:
            for left in [*range(0, 28, 2), 28]:
                covered = plain.clone()
                covered[0, 0, top : top + 4, left : left + 4] = 0
                fall = whole - float(model.decide(covered).by_scale.sum(1)[0, 1])
                for y in range(top, top + 4):
                    for x in range(left, left + 4):
                        total[y, x] += fall
                        times[y, x] += 1
        found = occlusion_maps(model.decide, image)[1]
    np.testing.assert_allclose(found, total / times, atol=1e-4)


def test_the_mean_is_over_labels_and_undefined_without_a_case() -> None:
    decide = partial(decide_by, lambda grey: grey)
    one, other = squares(3), squares(5, width=20)
    result = measure_faithfulness(decide, ("first", "second"), {"first": one, "second": other})
    first, second = result.labels["first"], result.labels["second"]
    assert first is not None
    assert second is not None
    assert result.mean is not None
    assert result.mean.drop == pytest.approx((first.drop + second.drop) / 2)
    assert result.mean.pointing == (first.pointing + second.pointing) / 2
    assert result.mean.cases == 8
    empty = measure_faithfulness(decide, ("first", "second"), {"first": []})
    assert empty.labels == {"first": None, "second": None}
    assert empty.mean is None


@pytest.mark.parametrize("scale", range(3))
def test_evidence_added_to_every_cell_is_added_to_the_map(model: ChestModel, scale: int) -> None:
    images = torch.randn(3, 1, 32, 32)
    with torch.no_grad():
        before = evidence_maps(model.decide(images), (32, 32))
        model.head.scales[scale][-1].bias[1] += 2.0
        after = evidence_maps(model.decide(images), (32, 32))
    assert before.shape == (3, 2, 32, 32)
    risen = (after - before).mean((2, 3))
    torch.testing.assert_close(risen[:, 1], torch.full((3,), 2.0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after[:, 0], before[:, 0])


def test_a_cells_part_lies_on_the_pixels_that_it_spans() -> None:
    fine, coarse = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 2, 2)
    (found,) = evidence_maps(Decision([fine, coarse], torch.zeros(1, 2, 1)), (8, 8))
    expected = fine[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1)
    expected = expected + coarse[0, 0].repeat_interleave(4, 0).repeat_interleave(4, 1)
    torch.testing.assert_close(found[0], expected)


def test_the_scale_that_decided_went_the_way_of_the_logit() -> None:
    by_scale = torch.tensor([[[3.0, 3.0], [-4.0, -4.0], [2.0, -1.0]]])
    assert deciding_scales(Decision([], by_scale)).tolist() == [[0, 1]]
