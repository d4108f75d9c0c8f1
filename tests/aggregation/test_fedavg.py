"""FedAvg against rational arithmetic, in every order, and against Flower's own."""

import random
from fractions import Fraction

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from hypothesis import given
from hypothesis import strategies as st

from fedchest.aggregation.fedavg import apply_mean, weighted_mean, weighted_sum
from fedchest.errors import ConfigError
from fedchest.protection.codec import MAX_TOTAL_WEIGHT, Codec, EncodedUpdate, layout_of

LARGEST = 2**24
weight_classes = st.integers(1, 0xFFFF)
integers = st.integers(-LARGEST, LARGEST)


def as_update(values: list[int]) -> EncodedUpdate:
    return EncodedUpdate((("w", (len(values),)),), np.array(values, np.int32))


def exact_mean(vectors: list[list[int]], weights: list[int], codec: Codec) -> list[Fraction]:
    step = Fraction(1, 2) ** codec.scale_exponent
    total = sum(weights)
    return [
        sum((w * q for w, q in zip(weights, column, strict=True)), 0) * step / total
        for column in zip(*vectors, strict=True)
    ]


@given(
    st.lists(st.tuples(weight_classes, st.lists(integers, min_size=6, max_size=6)), min_size=1, max_size=12),
    st.floats(2.0**-30, 2.0**30),
    st.randoms(use_true_random=False),
)
def test_mean_is_the_exact_mean_rounded_once_in_every_order(
    members: list[tuple[int, list[int]]], bound: float, order: random.Random
) -> None:
    codec = Codec(bound)
    weights, vectors = [w for w, _ in members], [q for _, q in members]
    expected = [
        float(value) for value in exact_mean(vectors, weights, codec)
    ]  # float() of a Fraction rounds once
    for _ in range(3):
        order.shuffle(members)
        total = weighted_sum([as_update(q) for _, q in members], [w for w, _ in members])
        assert weighted_mean(total, sum(weights), codec).tolist() == expected


def test_heaviest_round_does_not_overflow() -> None:
    """Every member at the largest integer, weights up to the allowed total, to the last unit."""
    weights = [0xFFFF] * (MAX_TOTAL_WEIGHT // 0xFFFF)
    weights.append(MAX_TOTAL_WEIGHT - sum(weights))
    for value in (LARGEST, -LARGEST, LARGEST - 1):
        total = weighted_sum([as_update([value])] * len(weights), weights)
        assert total.tolist() == [value * MAX_TOTAL_WEIGHT]
        assert weighted_mean(total, MAX_TOTAL_WEIGHT, Codec(1.0)).tolist() == [value / LARGEST]


@pytest.mark.parametrize(
    ("updates", "weights"),
    [
        ([], []),
        ([as_update([1])], [1, 2]),
        ([as_update([1])], [0]),
        ([as_update([1])], [0x10000]),
        ([as_update([1])] * 8194, [0xFFFF] * 8194),
        ([as_update([1]), as_update([1, 2])], [1, 1]),
    ],
)
def test_what_can_not_be_averaged_is_refused(updates: list[EncodedUpdate], weights: list[int]) -> None:
    with pytest.raises(ConfigError):
        weighted_sum(updates, weights)


def random_model(generator: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"stem.weight": (4, 1, 3, 3), "head.bias": (5,), "scale": ()}
    return {name: np.asarray(generator.normal(size=shape), np.float32) for name, shape in shapes.items()}


def test_one_update_gives_base_plus_update_within_half_a_step() -> None:
    generator = np.random.default_rng(0)
    base, update, codec = random_model(generator), random_model(generator), Codec(16.0)
    decoded = codec.decode(codec.encode(update), layout_of(base))
    new = apply_mean(base, decoded.layout, weighted_mean(weighted_sum([decoded], [7]), 7, codec))
    half_step = 2.0 ** -(codec.scale_exponent + 1)
    for name, tensor in new.items():
        assert tensor.dtype == np.float32 and tensor.shape == base[name].shape
        exact = base[name].astype(np.float64) + update[name]
        rounding = np.spacing(np.abs(tensor)) / 2
        assert (np.abs(tensor - exact) <= half_step + rounding).all()


def test_agrees_with_flower_fedavg() -> None:
    generator = np.random.default_rng(1)
    base, codec, weights = random_model(generator), Codec(32.0), [3, 1, 12, 5]
    updates = [random_model(generator) for _ in weights]
    decoded = [codec.decode(codec.encode(update), layout_of(base)) for update in updates]
    ours = apply_mean(
        base, layout_of(base), weighted_mean(weighted_sum(decoded, weights), sum(weights), codec)
    )
    replies = [
        RecordDict(
            {
                "arrays": ArrayRecord({name: Array(np.asarray(base[name] + update[name])) for name in base}),
                "metrics": MetricRecord({"num-examples": weight}),
            }
        )
        for update, weight in zip(updates, weights, strict=True)
    ]
    theirs = aggregate_arrayrecords(replies, "num-examples")
    for name, tensor in ours.items():
        np.testing.assert_allclose(tensor, theirs[name].numpy(), rtol=0, atol=4e-6)


def test_a_mean_of_another_layout_is_not_applied() -> None:
    base = {"w": np.zeros((2, 3), np.float32)}
    for layout in ((("w", (3, 2)),), (("v", (2, 3)),)):
        with pytest.raises(ConfigError, match="base model"):
            apply_mean(base, layout, np.zeros(6))


def test_tensors_outside_the_update_keep_their_values() -> None:
    base = {"encoder": np.array([3.0], np.float32), "head": np.array([1.0, 2.0], np.float32)}
    new = apply_mean(base, (("head", (2,)),), np.array([0.5, 0.25]))
    assert new["encoder"].tolist() == [3.0] and new["head"].tolist() == [1.5, 2.25]


def test_mean_is_added_in_float64() -> None:
    """A mean rounded to float32 first would be a tie here, and lost."""
    base = {"w": np.ones(1, np.float32)}
    new = apply_mean(base, (("w", (1,)),), np.array([2.0**-24 + 2.0**-50]))
    assert new["w"].tolist() == [1 + 2.0**-23]
