"""Tiny models for the learning tests."""

import pytest
from blobs import LABELS

from fedchest.models.chest import ChestModel, ModelConfig, Part, build_model


@pytest.fixture
def model() -> ChestModel:
    return build_model(ModelConfig(LABELS, image_size=32, embedding=16), seed=0)


@pytest.fixture
def complete_model() -> ChestModel:
    """With every part that an objective can ask for."""
    config = ModelConfig(LABELS, image_size=32, embedding=16, multiclass=LABELS[:1], parts=tuple(Part))
    return build_model(config, seed=0)
