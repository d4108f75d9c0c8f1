"""The global model as an artifact: canonical safetensors bytes, whose SHA-256 is the model's hash on chain.

Written here rather than by the safetensors package, so that no release of it can change a hash on chain; any
safetensors reader reads it
(tests/aggregation/test_model_bytes.py::test_safetensors_reads_and_writes_the_same_bytes).
"""

import json
import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from fedchest.errors import ConfigError, StoreError

_ALIGNMENT = 8


def model_bytes(parameters: Mapping[str, NDArray[np.float32]]) -> bytes:
    """`parameters` (name -> float32 array of any strides) as safetensors: sorted by name, no metadata.

    Raises ConfigError when a tensor is not float32.
    """
    header: dict[str, object] = {}
    blobs: list[bytes] = []
    end = 0
    for name in sorted(parameters):
        tensor = parameters[name]
        if tensor.dtype.newbyteorder("=") != np.float32:
            raise ConfigError(f"The model's tensor {name} is {tensor.dtype}, not float32.")
        blobs.append(tensor.astype("<f4").tobytes())
        start, end = end, end + len(blobs[-1])
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join((struct.pack("<Q", len(text)), text, *blobs))


def parse_model(content: bytes) -> dict[str, NDArray[np.float32]]:
    """The parameters whose `model_bytes` are `content`, float32 arrays by name, in the names' order.

    Raises StoreError when `content` is not safetensors or not in the canonical form.
    """
    try:
        parameters: dict[str, NDArray[np.float32]] = load(content)
        canonical = model_bytes(parameters)
    except (SafetensorError, ConfigError) as error:
        raise StoreError(f"These {len(content)} bytes are not a model in safetensors form: {error}") from None
    if canonical != content:
        raise StoreError(f"These {len(content)} bytes are a model, but not in canonical safetensors form.")
    return {name: parameters[name] for name in sorted(parameters)}
