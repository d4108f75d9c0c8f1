"""Vision transformers as encoders: the last blocks' tokens as maps, at any image size, without bare parameters."""

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional


class TransformerMaps(nn.Module):
    """timm's `VisionTransformer` up to its last block (Dosovitskiy et al. 2021), with its weights.

    Images of any size are padded to whole patches; the learned positions are resampled to their grid.
    """

    def __init__(self, source: VisionTransformer) -> None:
        super().__init__()
        self.feature_info = source.feature_info
        self.patch_embed = any_size(source.patch_embed)
        self.positions = _Positions(source)
        self.norm_pre = source.norm_pre
        self.blocks = source.blocks

    def forward_intermediates(self, images: Tensor, *, indices: int, **_: bool) -> list[Tensor]:
        """The maps float32[N,D,h,w] of the last `indices` blocks for images float32[N,1,H,W], as timm's networks."""
        grid = self.patch_embed.dynamic_feat_size(images.shape[-2:])
        tokens = self.norm_pre(self.positions(self.patch_embed(images), grid))
        maps = []
        for block in self.blocks:
            tokens = block(tokens)
            maps.append(as_map(tokens[:, self.positions.prefix :], grid))
        return maps[-indices:]


class _Positions(nn.Module):
    """Prepend the prefix tokens (class, registers) to patch tokens and add every token's learned position.

    The learned vectors are the columns of a linear layer that reads which of them a token is made of: a bare
    parameter would have no rule for its gradient by patient, and resampling positions is linear anyway.
    """

    def __init__(self, source: VisionTransformer) -> None:
        super().__init__()
        self.grid: tuple[int, int] = source.patch_embed.grid_size
        self.prefix: int = source.num_prefix_tokens
        tokens = [token[0] for token in (source.cls_token, source.reg_token) if token is not None]
        unplaced = self.prefix if source.no_embed_class else 0
        table = functional.pad(source.pos_embed[0], (0, 0, unplaced, 0))
        if tokens:
            table = table + functional.pad(torch.cat(tokens), (0, 0, 0, source.patch_embed.num_patches))
        self.table = nn.Linear(len(table), table.shape[1], bias=False)
        self.table.weight = nn.Parameter(table.detach().T.contiguous())

    def forward(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patch tokens float32[N,hw,D] on `grid` (h, w) to tokens float32[N,prefix+hw,D]."""
        places = self._places(grid).to(patches).expand(len(patches), -1, -1)
        tokens: Tensor = self.table(places) + functional.pad(patches, (0, 0, self.prefix, 0))
        return tokens

    def _places(self, grid: tuple[int, int]) -> Tensor:
        """The share float32[prefix+hw,prefix+T] of each learned vector in each token's position on `grid`."""
        count = self.grid[0] * self.grid[1]
        each = torch.eye(count).view(1, count, *self.grid)
        resampled = functional.interpolate(each, grid, mode="bicubic", antialias=True).view(count, -1).T
        return torch.cat(
            [torch.eye(self.prefix, self.prefix + count), functional.pad(resampled, (self.prefix, 0))]
        )


def any_size(patch_embed: PatchEmbed) -> PatchEmbed:
    """Let timm's `PatchEmbed` give float32[N,hw,D] for images of any size, zero-padded to whole patches."""
    patch_embed.flatten = True
    patch_embed.strict_img_size = False
    patch_embed.dynamic_img_pad = True
    return patch_embed


def as_map(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patch tokens float32[N,hw,D] as a map float32[N,D,h,w]."""
    return patches.transpose(1, 2).reshape(len(patches), -1, *grid)
