"""Aligned Xceptions of our own widths, activation first (Chen et al. 2018, section 3.2): minutes on two cores."""

from functools import partial
from typing import Any

import torch
from timm.models.xception_aligned import PreSeparableConv2d, XceptionAligned
from torch import Tensor, nn

_Widths = tuple[tuple[int, int, int], ...]

_NANO: _Widths = ((32, 32, 64), (128, 128, 128), (192, 192, 192), (192, 192, 192))
_TINY: _Widths = ((48, 48, 96), (192, 192, 192), (320, 320, 320), (320, 320, 320), (320, 320, 320))

_STRIDING = 3
_PLACE = 2
"""Channels that say where a pixel lies."""


class LocalXception(nn.Module):
    """An Xception whose cells see 7, 15 and 31 pixels, and know where in the image they lie.

    Where a cell sees the whole image, it may say anything of any place. Here only the convolution by which a block
    strides is wider than a cell (as in Brendel and Bethge 2019), so what a cell says comes from near it, but for what
    group normalisation tells it of the whole map's mean and deviation. The place is two channels beside the image,
    from -1 to 1: the same shadow means one thing over the heart and another beside it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = _small_xception(_NANO, inputs=1 + _PLACE)
        self.feature_info = self.network.feature_info
        for layer in self.network.blocks.modules():
            if isinstance(layer, PreSeparableConv2d) and layer.conv_dw.stride == (1, 1):
                layer.conv_dw = nn.Identity()

    def forward_intermediates(self, images: Tensor, **options: Any) -> Any:
        """As timm's, of images float32[N,1,H,W]."""
        return self.network.forward_intermediates(_with_place(images), **options)


def _small_xception(widths: _Widths, inputs: int = 1) -> XceptionAligned:
    """Scales at strides 4, 8 and 16; `widths` are the three convolutions' of each block."""
    stem = widths[0][0]
    entering = [stem, *(block[-1] for block in widths)]
    blocks = [
        {"in_chs": entering[number], "out_chs": block, "stride": 2 if number < _STRIDING else 1}
        for number, block in enumerate(widths)
    ]
    network = XceptionAligned(
        blocks,
        num_classes=0,
        in_chans=inputs,
        output_stride=16,
        preact=True,
        norm_layer=nn.BatchNorm2d,
        act_layer=partial(nn.ReLU),
        global_pool="",
    )
    # timm's stem works 64 channels wide at half resolution, which would cost more than all blocks together.
    network.stem = nn.Conv2d(inputs, stem, kernel_size=3, stride=2, padding=1, bias=False)
    return network


def _with_place(images: Tensor) -> Tensor:
    down, right = (
        torch.linspace(-1, 1, pixels, dtype=images.dtype, device=images.device) for pixels in images.shape[2:]
    )
    places = torch.stack(torch.meshgrid(down, right, indexing="ij"))
    return torch.cat([images, places.expand(len(images), -1, -1, -1)], dim=1)


xception_nano = partial(_small_xception, _NANO)
xception_tiny = partial(_small_xception, _TINY)
