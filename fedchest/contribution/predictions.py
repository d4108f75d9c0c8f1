"""What every coalition's model says about the public images, as an artifact: canonical bytes, strictly read.

The layout of the bytes is in docs/formats.md. Scores are functions of these bytes and of what is on chain, and of
nothing else.
"""

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedchest.errors import StoreError

STEP_BITS = 11
"""A step of a quantised logit is 2^-11."""
TOLERANCE = 2
"""Steps that an inference elsewhere may be apart: 2^-10 in the logit; docs/rewards.md says what was measured."""

_MAGIC = b"FCPRED\x00\x01"
_COALITIONS, _SHAPE = struct.Struct("<I"), struct.Struct("<IH")  # the second: images, labels
_MIDDLE, _HIGHEST = 1 << 15, (1 << 16) - 1
_PATIENT, _LOGIT = np.dtype("<u4"), np.dtype("<u2")
_NEGATIVE, _POSITIVE, _LEFT_OUT = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Truth:
    """The public images' labels: positive bool[N, L] where counted bool[N, L]; patients int64[N].

    Patients are numbered by their first image, from 0.
    """

    patients: NDArray[np.int64]
    positive: NDArray[np.bool_]
    counted: NDArray[np.bool_]

    def to_bytes(self) -> bytes:
        """Their number, patients and labels, as they stand in a file of predictions."""
        labels = np.where(self.counted, np.where(self.positive, _POSITIVE, _NEGATIVE), _LEFT_OUT)
        rows = self.patients.astype(_PATIENT).tobytes() + labels.astype(np.uint8).tobytes()
        return _SHAPE.pack(*self.positive.shape) + rows

    def digest(self) -> bytes:
        """SHA-256 of `to_bytes` (32 bytes)."""
        return hashlib.sha256(self.to_bytes()).digest()


@dataclass(frozen=True, eq=False)
class Predictions:
    """Quantised logits uint16[C, N, L] of C coalitions' models, in the coalitions' ascending order."""

    truth: Truth
    logits: NDArray[np.uint16]

    def to_bytes(self) -> bytes:
        """The canonical bytes, whose SHA-256 is in the round's record."""
        header = _MAGIC + _COALITIONS.pack(len(self.logits))
        return header + self.truth.to_bytes() + self.logits.astype(_LOGIT).tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Predictions":
        """Parse `to_bytes` output. Raises StoreError for anything else."""
        start = len(_MAGIC) + _COALITIONS.size + _SHAPE.size
        if len(content) < start or not content.startswith(_MAGIC):
            raise _malformed(content)
        (coalitions,) = _COALITIONS.unpack_from(content, len(_MAGIC))
        images, labels = _SHAPE.unpack_from(content, len(_MAGIC) + _COALITIONS.size)
        sizes = (images * _PATIENT.itemsize, images * labels, coalitions * images * labels * _LOGIT.itemsize)
        if len(content) != start + sum(sizes):
            raise _malformed(content)
        middle, last = start + sizes[0], start + sizes[0] + sizes[1]
        stated = np.frombuffer(content[middle:last], np.uint8).reshape(images, labels)
        truth = Truth(
            patients=np.frombuffer(content[start:middle], _PATIENT).astype(np.int64),
            positive=stated == _POSITIVE,
            counted=stated != _LEFT_OUT,
        )
        if (stated > _LEFT_OUT).any() or not _numbered_by_first_image(truth.patients):
            raise _malformed(content)
        logits = np.frombuffer(content[last:], _LOGIT).astype(np.uint16).reshape(coalitions, images, labels)
        return cls(truth, logits)


def quantised(logits: NDArray[np.float32]) -> NDArray[np.uint16]:
    """`logits` of any shape in steps of 2^-11 around 2^15, those beyond +-16 cut off there; NaN is the lowest."""
    steps = np.rint(np.ldexp(logits.astype(np.float64), STEP_BITS)) + _MIDDLE
    cut: NDArray[np.float64] = np.nan_to_num(np.clip(steps, 0, _HIGHEST), nan=0.0)
    return cut.astype(np.uint16)


def _numbered_by_first_image(patients: NDArray[np.int64]) -> bool:
    most = np.maximum.accumulate(np.concatenate((np.array([-1], np.int64), patients)))
    return bool((patients <= most[:-1] + 1).all())


def _malformed(content: bytes) -> StoreError:
    return StoreError(f"These {len(content)} bytes are not predictions in their canonical form.")
