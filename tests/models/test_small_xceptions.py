"""What the cells of the local Xception see, and that they know where they are."""

import pytest
import torch
from torch import Tensor, nn

from fedchest.models.encoders import Encoder, build_encoder

SIZE = 192


@pytest.fixture
def local() -> Encoder:
    """Without its normalisations, by which alone a cell learns of the rest of its map."""
    torch.manual_seed(0)
    encoder = build_encoder("xception-local")
    for module in encoder.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, nn.Identity())
    return encoder


def seen(encoder: Encoder, scale: int) -> Tensor:
    """The pixels, bool[SIZE,SIZE], that the map's middle cell depends on."""
    images = torch.randn(1, 1, SIZE, SIZE, requires_grad=True)
    found = encoder(images)[scale]
    middle = found.shape[-1] // 2
    (gradient,) = torch.autograd.grad(found[0, :, middle, middle].sum(), images)
    return gradient[0, 0] != 0


@pytest.mark.parametrize(("scale", "pixels"), [(0, 7), (1, 15), (2, 31)])
def test_a_cell_sees_what_is_around_it(local: Encoder, scale: int, pixels: int) -> None:
    rows, columns = seen(local, scale).nonzero(as_tuple=True)
    assert int(rows.max() - rows.min()) < pixels
    assert int(columns.max() - columns.min()) < pixels
    stride = local.strides[scale]
    middle = (SIZE // stride // 2) * stride
    assert abs(float(rows.float().mean()) - middle) <= stride / 2


def test_the_same_shadow_says_something_else_elsewhere(local: Encoder) -> None:
    inner = [found[..., 2:-2, 2:-2] for found in local(torch.zeros(1, 1, SIZE, SIZE))]
    for found in inner:
        across, down = found.diff(dim=3).abs().amax(1), found.diff(dim=2).abs().amax(1)
        assert bool((across > 0).all())
        assert bool((down > 0).all())
    elsewhere = build_encoder("xception-nano")(torch.zeros(1, 1, SIZE, SIZE))[0][..., 12:-12, 12:-12]
    torch.testing.assert_close(elsewhere, elsewhere[..., :1, :1].expand_as(elsewhere))
