"""Fusion: what each map may know of the others."""

import pytest
import torch
from torch import Tensor

from fedchest.models.fusion import FUSIONS, Fusion

CHANNELS = (8, 12, 20)


def some_maps() -> list[Tensor]:
    torch.manual_seed(1)
    sizes = ((9, 7), (5, 4), (3, 2))
    return [torch.randn(2, width, *size) for width, size in zip(CHANNELS, sizes, strict=True)]


def test_every_fusion_is_registered() -> None:
    assert set(FUSIONS) == set(Fusion)


@pytest.mark.parametrize("fusion", list(Fusion))
def test_the_maps_keep_their_sizes_and_have_the_promised_channels(fusion: Fusion) -> None:
    module = FUSIONS[fusion](CHANNELS)
    expected = [(2, width, *one.shape[2:]) for width, one in zip(module.channels, some_maps(), strict=True)]
    assert [one.shape for one in module(some_maps())] == expected


@pytest.mark.parametrize(
    ("fusion", "reaches"),
    [
        (Fusion.NONE, [[True, False, False], [False, True, False], [False, False, True]]),
        (Fusion.TOP_DOWN, [[True, False, False], [True, True, False], [True, True, True]]),
    ],
)
def test_what_a_map_says_reaches_the_finer_ones_only(fusion: Fusion, reaches: list[list[bool]]) -> None:
    module, maps = FUSIONS[fusion](CHANNELS), some_maps()
    before = module(maps)
    for changed in range(3):
        others = [one + 1 if scale == changed else one for scale, one in enumerate(maps)]
        after = module(others)
        assert [not torch.equal(*pair) for pair in zip(before, after, strict=True)] == reaches[changed]
