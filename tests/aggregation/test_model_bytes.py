"""The global model's bytes: one form for one model, readable by any safetensors reader."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load, save

from fedchest.aggregation.model import model_bytes, parse_model
from fedchest.errors import ConfigError, StoreError

models = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda name: name != "__metadata__"),
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)),
    max_size=5,
)


@given(models)
def test_round_trip_to_the_bit(model: dict[str, np.ndarray]) -> None:
    parsed = parse_model(model_bytes(model))
    assert parsed.keys() == model.keys()
    for name, tensor in model.items():
        assert parsed[name].shape == tensor.shape and parsed[name].tobytes() == tensor.tobytes()


@given(models)
def test_safetensors_reads_and_writes_the_same_bytes(model: dict[str, np.ndarray]) -> None:
    content = model_bytes(model)
    assert {name: tensor.tobytes() for name, tensor in load(content).items()} == {
        name: tensor.tobytes() for name, tensor in model.items()
    }
    assert content == save(model)


@given(models, st.randoms(use_true_random=False))
def test_bytes_depend_on_the_values_only(model: dict[str, np.ndarray], random: object) -> None:
    names = list(model)
    random.shuffle(names)  # type: ignore[attr-defined]
    other = {name: np.array(model[name].astype(">f4"), order="F") for name in names}
    assert model_bytes(other) == model_bytes(model)


def test_bytes_are_pinned() -> None:
    header = b'{"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  '
    content = model_bytes({"b": np.array([1.0, -2.0], np.float32)})
    assert content == struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1.0, -2.0)


def test_only_float32_is_a_model() -> None:
    with pytest.raises(ConfigError, match="tensor w is float64"):
        model_bytes({"w": np.zeros(1)})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 100,
        struct.pack("<Q", 1 << 60) + b"{}",
        model_bytes({"w": np.zeros(3, np.float32)})[:-1],
        model_bytes({"w": np.zeros(3, np.float32)}) + b"\0",
        save({"w": np.zeros(3, np.float32)}, metadata={"note": "hello"}),
        save({"w": np.zeros(3, np.float64)}),
    ],
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(StoreError, match=f"These {len(content)} bytes"):
        parse_model(content)
