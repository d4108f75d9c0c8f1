"""FedAvg in exact arithmetic: integers to the end, one rounding, the same bits in every order of arrival.

new = float32(float64(base) + S / (W * 2^k)),  S = sum_j w_j q_j,  W = sum_j w_j

with q_j the encoded update and w_j the weight class of institution j (McMahan et al. 2017, algorithm 1, with
the public weight class in place of the patient count). The quotient is one correctly rounded division: S is
exact in float64 (see protection/codec.py), and so is W * 2^k.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fedchest.errors import ConfigError
from fedchest.protection.codec import MAX_TOTAL_WEIGHT, Codec, EncodedUpdate, Layout

MAX_WEIGHT_CLASS = 0xFFFF


def weighted_sum(updates: Sequence[EncodedUpdate], weights: Sequence[int]) -> NDArray[np.int64]:
    """sum_j weights[j] * updates[j].values, int64[d], exact; weights are uint16 of at least 1.

    Raises ConfigError when there is no update, the layouts differ, or a weight or the total is out of range.
    """
    if not updates or len(updates) != len(weights):
        raise ConfigError(f"{len(updates)} updates with {len(weights)} weights can't be averaged.")
    if not all(1 <= weight <= MAX_WEIGHT_CLASS for weight in weights) or sum(weights) > MAX_TOTAL_WEIGHT:
        raise ConfigError(f"Weights are 1 to {MAX_WEIGHT_CLASS} and add up to {MAX_TOTAL_WEIGHT} at most.")
    if any(update.layout != updates[0].layout for update in updates):
        raise ConfigError("Updates of different layouts can't be averaged.")
    total = np.zeros(updates[0].values.shape, np.int64)
    for update, weight in zip(updates, weights, strict=True):
        total += np.multiply(update.values, weight, dtype=np.int64)
    return total


def weighted_mean(total: NDArray[np.int64], total_weight: int, codec: Codec) -> NDArray[np.float64]:
    """total / (total_weight * 2^k), float64[d], each value the correctly rounded quotient."""
    mean: NDArray[np.float64] = total / math.ldexp(total_weight, codec.scale_exponent)
    return mean


def apply_mean(
    base: Mapping[str, NDArray[np.float32]], layout: Layout, mean: NDArray[np.float64]
) -> dict[str, NDArray[np.float32]]:
    """The next global model by name: float32(float64(base) + mean) for the tensors of `layout`, `base` otherwise.

    With one update it is base + update to within half a step of the codec and the rounding to float32. Raises
    ConfigError when `layout` names a tensor that `base` does not have in that shape.
    """
    foreign = [name for name, shape in layout if name not in base or base[name].shape != shape]
    if foreign:
        raise ConfigError(f"The update's tensor {foreign[0]} is not one of the base model.")
    ends = np.cumsum([base[name].size for name, _ in layout])
    parts = np.split(mean, ends[:-1])
    moved = {
        name: (base[name].astype(np.float64) + part.reshape(shape)).astype(np.float32)
        for (name, shape), part in zip(layout, parts, strict=True)
    }
    return {**base, **moved}


def model_from_sum(
    base: Mapping[str, NDArray[np.float32]],
    total: NDArray[np.int64],
    total_weight: int,
    layout: Layout,
    codec: Codec,
) -> dict[str, NDArray[np.float32]]:
    """The next global model, a function of the base model and the updates' weighted sum alone."""
    return apply_mean(base, layout, weighted_mean(total, total_weight, codec))
