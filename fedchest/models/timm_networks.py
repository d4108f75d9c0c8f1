"""timm's networks for grey images, without what keeps a patient's gradient from being told."""

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

import timm
import torch
from timm.layers import LayerScale
from timm.models.convnext import ConvNeXtBlock
from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.vision_transformer import Block as TransformerBlock
from timm.models.vision_transformer import VisionTransformer
from timm.models.xception import Block as LegacyBlock
from torch import Tensor, nn

from fedchest.errors import ConfigError
from fedchest.models.checkpoints import Source, load_weights
from fedchest.models.vit import TransformerMaps


def timm_network(name: str, weights: Source | None, maps: int, others: Collection[str]) -> nn.Module:
    """timm's network `name` for grey images, up to its last feature map, batch normalisation still in place.

    `weights` is a file for it (`checkpoints.load_weights`) or "timm" for those that timm publishes, `maps` how many of
    its last feature maps are asked for, `others` the names that are not timm's. Raises ConfigError when the name is
    unknown, the file does not fit, or what is published can't be had.
    """
    if not timm.is_model(name):
        near = get_close_matches(name, [*others, *timm.list_models()])
        hint = (
            f"did you mean {', '.join(near)}?" if near else f"use one of {', '.join(others)} or a timm name."
        )
        raise ConfigError(f"encoder {name!r} is unknown: {hint}")
    network = _published(name) if weights == "timm" else timm.create_model(name, in_chans=1, num_classes=0)
    if isinstance(weights, Path):
        load_weights(network, weights)
    network.prune_intermediate_layers(maps, prune_norm=True)  # type: ignore[operator]
    for block in network.modules():
        _free_of_in_place_sums(block)
        _without_layer_scale(block)
    if type(network) is VisionTransformer and network.pos_embed is not None:
        return TransformerMaps(network)
    return network


def _published(name: str) -> nn.Module:
    """The network with timm's weights, from its cache or over the network; they are tensors only."""
    try:
        network: nn.Module = timm.create_model(name, pretrained=True, in_chans=1, num_classes=0)
    except Exception as error:  # It says the same of no network, no such file and no weights in many ways.
        raise ConfigError(
            f"model.weights = timm: the weights that timm publishes for {name} can't be had, since there are none or "
            "they can't be downloaded from here; fetch the file where they can be, and give it as model.weights."
        ) from error
    return network


def _free_of_in_place_sums(block: nn.Module) -> None:
    """Let timm add a block's shortcut to a copy: it adds in place, into an output that gradient hooks still need."""
    if isinstance(block, LegacyBlock):
        block.rep.append(_Copy())
    elif isinstance(block, BasicBlock):
        block.bn2 = nn.Sequential(block.bn2, _Copy())
    elif isinstance(block, Bottleneck):
        block.bn3 = nn.Sequential(block.bn3, _Copy())


def _without_layer_scale(block: nn.Module) -> None:
    """Fold the scale of a branch into the branch's last layer: the same function, without a bare parameter."""
    if isinstance(block, ConvNeXtBlock) and block.gamma is not None:
        _scale_output(block.mlp.fc2, block.gamma)
        block.gamma = None
    elif isinstance(block, TransformerBlock) and isinstance(block.ls1, LayerScale):
        _scale_output(block.attn.proj, block.ls1.gamma)
        _scale_output(block.mlp.fc2, block.ls2.gamma)
        block.ls1, block.ls2 = nn.Identity(), nn.Identity()


@torch.no_grad()
def _scale_output(layer: nn.Linear | nn.Conv2d, scale: Tensor) -> None:
    layer.weight.mul_(scale.reshape(-1, *[1] * (layer.weight.dim() - 1)))
    if layer.bias is not None:
        layer.bias.mul_(scale)


class _Copy(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.clone()
