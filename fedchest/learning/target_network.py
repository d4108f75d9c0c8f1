"""A slow copy of a network, whose embeddings the fast one is trained towards."""

from copy import deepcopy

import torch
from torch import Tensor

from fedchest.models.chest import ChestModel, Output

MOMENTUM = 0.99
"""Lower than the 0.996 and more of the literature, whose trainings are longer than a round's few dozen steps."""


class TargetNetwork:
    """An exponential moving average of a network's released parameters (Grill et al. 2020, eq. 1).

    It starts as a copy, gets no gradient and changes in `follow` alone. When that is called after noised steps only,
    the copy is a function of what the steps released, and costs no privacy: post-processing. Make it before
    hooks watch the network. It is never stored and leaves nobody's training.
    """

    def __init__(self, network: ChestModel) -> None:
        self._network = deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Output:
        """Its output for images float32[N,1,H,W]."""
        output: Output = self._network(images)
        return output

    @torch.no_grad()
    def follow(self, network: ChestModel) -> None:
        """Move each parameter by 1 - `MOMENTUM` of the way to the network's."""
        torch._foreach_lerp_(
            list(self._network.parameters()), list(network.parameters()), weight=1 - MOMENTUM
        )
