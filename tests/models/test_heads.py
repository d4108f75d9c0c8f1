"""Heads: what their cells and scales say is what their logits are."""

import pytest
import torch
from torch import Tensor, nn

from fedchest.models.heads import HEADS, POOLING_SHARPNESS, AttentionHead, Evidence, Head, LocalHead, jointly

CHANNELS, OUTPUTS = (16, 24, 8), 3


def some_maps(rows: int = 2) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(rows, width, size, size) for width, size in zip(CHANNELS, (8, 4, 2), strict=True)]


def built(head: Head) -> nn.Module:
    torch.manual_seed(0)
    return HEADS[head](CHANNELS, OUTPUTS)


def sharpened(values: Tensor) -> Tensor:
    return (POOLING_SHARPNESS * values.double()).exp()


def test_every_head_is_registered() -> None:
    assert set(HEADS) == set(Head)


@pytest.mark.parametrize("head", list(Head))
def test_cells_lie_where_the_maps_do(head: Head) -> None:
    found: Evidence = built(head)(some_maps())
    assert [cells.shape for cells in found.cells] == [(2, OUTPUTS, size, size) for size in (8, 4, 2)]
    assert found.by_scale.shape == (2, 3, OUTPUTS)


@pytest.mark.parametrize("head", [head for head in Head if head is not Head.ATTENTION])
def test_equal_cells_are_pooled_to_what_they_say(head: Head) -> None:
    module = built(head)
    for scale in module.scales:
        nn.init.zeros_(scale[-1].weight)
        nn.init.constant_(scale[-1].bias, 0.75)
    scales = 1 if head is Head.EVIDENCE_JOINT else len(CHANNELS)
    found = module(some_maps()).by_scale.sum(1)
    torch.testing.assert_close(found, torch.full((2, OUTPUTS), 0.75 * scales))


def test_evidence_is_the_sum_of_each_scales_log_mean_exp() -> None:
    found: Evidence = built(Head.EVIDENCE)(some_maps())
    for scale, cells in enumerate(found.cells):
        expected = sharpened(cells).mean((2, 3)).log() / POOLING_SHARPNESS
        torch.testing.assert_close(found.by_scale[:, scale], expected.float())


@pytest.mark.parametrize("head", list(Head))
def test_what_the_cells_add_is_their_evidence_times_the_outputs_derivative(head: Head) -> None:
    module = built(head)
    cells = [
        torch.randn(2, OUTPUTS, size, size, dtype=torch.float64, requires_grad=True) for size in (8, 4, 2)
    ]
    added = module.contributions(cells)
    if isinstance(module, AttentionHead):
        assert added is cells, "which have the attention in them"
        return
    attention = torch.autograd.grad(module.pooling.by_scale(cells).sum(), cells)
    for found, paid, evidence in zip(added, attention, cells, strict=True):
        torch.testing.assert_close(found, paid * evidence * evidence[0, 0].numel())


@pytest.mark.parametrize("head", list(Head))
def test_what_the_cells_add_comes_to_the_output(head: Head) -> None:
    """And with log-mean-exp to the divergence of the attention from an even one more."""
    module = built(head)
    evidence: Evidence = module(some_maps())
    output = evidence.by_scale.sum(1)
    added = sum(cells.mean((2, 3)) for cells in module.contributions(evidence.cells))
    assert isinstance(added, torch.Tensor)
    if head in (Head.AVERAGE, Head.ATTENTION):
        torch.testing.assert_close(added, output)
        return
    assert isinstance(module, LocalHead)
    attention = [paid.flatten(2) for paid in module.pooling.attention(evidence.cells)]
    even = [torch.full_like(paid, 1 / paid.shape[2]) for paid in attention]
    if head is Head.EVIDENCE_JOINT:
        attention, even = [torch.cat(attention, 2)], [torch.cat(even, 2) / len(CHANNELS)]
    divergence = sum(
        (paid * (paid / other).log()).sum(2) for paid, other in zip(attention, even, strict=True)
    )
    torch.testing.assert_close(added - divergence / POOLING_SHARPNESS, output)


def test_joint_evidence_is_attended_by_its_own_softmax() -> None:
    """The logit's gradient at a cell is the attention: non-negative, one in all, and what the scales' shares sum."""
    cells = [
        torch.randn(2, OUTPUTS, size, size, dtype=torch.float64, requires_grad=True) for size in (8, 4, 2)
    ]
    by_scale = jointly(cells)
    logit = by_scale.sum(1)
    attention = torch.autograd.grad(logit.sum(), cells)
    mass = torch.stack([sharpened(scale).mean((2, 3)) for scale in cells], dim=1)
    expected = mass.mean(1).log() / POOLING_SHARPNESS
    torch.testing.assert_close(logit, expected)
    for scale, (paid, evidence) in enumerate(zip(attention, cells, strict=True)):
        share = sharpened(evidence) / (evidence[0, 0].numel() * mass.sum(1)[:, :, None, None])
        torch.testing.assert_close(paid, share)
        torch.testing.assert_close(by_scale[:, scale], paid.sum((2, 3)) * logit)


def test_a_scale_with_more_cells_has_no_more_say_in_joint_evidence() -> None:
    cells = [torch.randn(2, OUTPUTS, 4, 4) for _ in range(3)]
    finer = [cells[0].repeat_interleave(3, 2).repeat_interleave(3, 3), *cells[1:]]
    torch.testing.assert_close(jointly(cells), jointly(finer))


def test_the_averages_cells_are_its_class_activation_map() -> None:
    module, maps = built(Head.AVERAGE), some_maps()
    found: Evidence = module(maps)
    for number, (scale, features) in enumerate(zip(module.scales, maps, strict=True)):
        normalise, _, linear = scale
        pooled = normalise(features).relu().mean((2, 3))
        expected = nn.functional.linear(pooled, linear.weight[:, :, 0, 0], linear.bias)
        torch.testing.assert_close(found.by_scale[:, number], expected)


def test_attention_is_an_average_of_what_the_cells_say_by_the_labels_own_softmax() -> None:
    module, maps = built(Head.ATTENTION), some_maps(1)
    assert isinstance(module, AttentionHead)
    keys = [scale(one)[0].relu().flatten(1).T for scale, one in zip(module.scales, maps, strict=True)]
    found: Evidence = module(maps)
    for label in range(OUTPUTS):
        query, evidence = module.queries.weight[label], module.evidence.weight[label]
        weights = [(key @ query / 8).exp() / len(key) for key in keys]
        total = torch.cat(weights).sum()
        for scale, (key, weight) in enumerate(zip(keys, weights, strict=True)):
            added = weight / total * (key @ evidence + module.evidence.bias[label])
            torch.testing.assert_close(found.by_scale[0, scale, label], added.sum())
            torch.testing.assert_close(found.cells[scale][0, label].flatten(), added * len(key))
