"""A tiny model for the learning tests."""

import pytest
from blobs import LABELS

from fedchest.models.chest import ChestModel, ModelConfig, build_model


@pytest.fixture
def model() -> ChestModel:
    return build_model(ModelConfig(LABELS, image_size=32, embedding=16), seed=0)
