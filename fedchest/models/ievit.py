"""Input Enhanced Vision Transformer (Okolo, Katsigiannis and Ramzan 2022), in our own modest reading."""

import torch
from timm.layers import LayerNorm, PatchEmbed, build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from fedchest.models.normalization import group_norm
from fedchest.models.vit import any_size, as_map

_STEM = (32, 64, 128)


class InputEnhancedTransformer(nn.Module):
    """A vision transformer that shows the whole image, embedded by a small CNN, to every block again.

    Before each block the image's token is concatenated anew to the patch tokens and the copies that earlier
    blocks have worked on, so each block sees the input itself beside what was made of it. Other than the paper
    we have no class token, since the patch tokens are the maps that our heads read; positions are fixed sines
    and cosines (so no bare parameter is trained); the CNN is ours, with group normalisation; patches are 8
    pixels and widths small, so that small images have a grid at all.
    """

    def __init__(self, width: int = 192, depth: int = 6, heads: int = 3, patch: int = 8) -> None:
        super().__init__()
        self.feature_info = [{"num_chs": width, "reduction": patch}] * depth
        self.patch_embed = any_size(PatchEmbed(None, patch, in_chans=1, embed_dim=width))
        self.whole_image = _whole_image(width)
        self.blocks = nn.ModuleList(
            Block(width, heads, qkv_bias=True, norm_layer=LayerNorm) for _ in range(depth)
        )

    def forward_intermediates(self, images: Tensor, *, indices: int, **_: bool) -> list[Tensor]:
        """The maps float32[N,D,h,w] of the last `indices` blocks for images float32[N,1,H,W], as timm's networks."""
        grid = self.patch_embed.dynamic_feat_size(images.shape[-2:])
        patches = self.patch_embed(images)
        tokens = patches + build_sincos2d_pos_embed(list(grid), patches.shape[2], device=images.device)
        whole_image = self.whole_image(images)[:, None]
        maps = []
        for block in self.blocks:
            tokens = block(torch.cat([tokens, whole_image], dim=1))
            maps.append(as_map(tokens[:, : patches.shape[1]], grid))
        return maps[-indices:]


def _whole_image(width: int) -> nn.Module:
    """Images float32[N,1,H,W] to one token float32[N,width] each."""
    layers: list[nn.Module] = []
    for before, after in zip((1, *_STEM), _STEM, strict=False):
        convolution = nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False)
        layers += [convolution, group_norm(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_STEM[-1], width))
