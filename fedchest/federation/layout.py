"""Which tensors a round's update holds: those that its stage trains."""

from functools import cache

from fedchest.federation.study import Study
from fedchest.models.chest import ModelConfig, build_model
from fedchest.models.parameters import Trainable, restrict, trained_parameters
from fedchest.protection.codec import Layout, layout_of


def update_layout(study: Study, finalized: int) -> Layout:
    """The names and shapes, in the codec's order, of an update that starts from the `finalized`-th finalized model."""
    return _layout(study.model, study.stage(finalized).trainable)


@cache
def _layout(config: ModelConfig, trainable: Trainable) -> Layout:
    model = build_model(config, seed=0)
    restrict(model, trainable)
    return layout_of(trained_parameters(model))
