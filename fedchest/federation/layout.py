"""Which tensors a round's update holds: those that its stage trains."""

from functools import cache

from fedchest.federation.study import Study
from fedchest.learning.objectives import objective_named
from fedchest.learning.reach import train_only
from fedchest.learning.views import Viewing
from fedchest.models.chest import ModelConfig, build_model
from fedchest.models.parameters import Trainable, trained_parameters
from fedchest.protection.codec import Layout, layout_of


def update_layout(study: Study, finalized: int) -> Layout:
    """The names and shapes, in the codec's order, of an update that starts from the `finalized`-th finalized model."""
    stage = study.stage(finalized)
    return _layout(study.model, stage.trainable, stage.objective, study.viewing)


@cache
def _layout(config: ModelConfig, trainable: Trainable, objective: str, viewing: Viewing) -> Layout:
    model = build_model(config, seed=0)
    train_only(model, trainable, objective_named(objective, private=False), viewing)
    return layout_of(trained_parameters(model))
