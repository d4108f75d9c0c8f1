"""Which tensors a study's update holds: those it trains."""

from fedchest.federation.study import Study
from fedchest.models.chest import build_model
from fedchest.models.parameters import restrict, trained_parameters
from fedchest.protection.codec import Layout, layout_of


def update_layout(study: Study) -> Layout:
    """The names and shapes, in the codec's order, of every update of `study`."""
    model = build_model(study.model, seed=0)
    restrict(model, study.trainable)
    return layout_of(trained_parameters(model))
