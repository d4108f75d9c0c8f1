"""Decoding a DICOM radiograph to grey pixels as its own window shows it."""

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, apply_windowing

from fedchest.errors import DataError

_PREAMBLE, _MAGIC = 128, b"DICM"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_BEYOND_ANY_WINDOW = (-1e12, 1e12)


def is_dicom(content: bytes) -> bool:
    """Whether `content` begins as a DICOM file (PS3.10, section 7.1)."""
    return content[_PREAMBLE : _PREAMBLE + len(_MAGIC)] == _MAGIC


def dicom_pixels(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """The one grey frame of a DICOM file as uint8[H,W], bone bright.

    The file's first window or table of grey values (PS3.3, section C.11.2) decides what is black and white; without
    one the darkest and brightest pixel do. Raises DataError, naming the file `name`, when it holds no single grey
    frame or its pixels can't be decoded.
    """
    try:
        file = dcmread(BytesIO(content))
        kind = str(file.PhotometricInterpretation)
        values, low, high = _windowed(apply_modality_lut(file.pixel_array, file), file)
    except Exception as error:  # a damaged file can make any part of the parser fail in its own way
        raise DataError(f"{name} can't be decoded as DICOM: {error}.") from None
    if values.ndim != 2 or kind not in _GREY:
        raise DataError(f"{name} holds {values.shape} pixels of kind {kind}, not one grey frame.")
    if not np.isfinite([low, high, values.min(), values.max()]).all():
        raise DataError(f"{name} has pixels that are no numbers once its own transformation is applied.")
    grey: npt.NDArray[np.float64] = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    return ((1 - grey if kind == "MONOCHROME1" else grey) * 255).round().astype(np.uint8)


def _windowed(values: npt.NDArray[Any], file: Dataset) -> tuple[npt.NDArray[np.float64], float, float]:
    """The grey values with what stands for black and white."""
    if "VOILUTSequence" in file:
        bits = int(file.VOILUTSequence[0].LUTDescriptor[2])
        return apply_voi_lut(values, file).astype(np.float64), 0.0, 2.0**bits - 1
    if "WindowCenter" in file:
        black, white = apply_windowing(np.array(_BEYOND_ANY_WINDOW), file)
        return apply_windowing(values, file).astype(np.float64), float(black), float(white)
    wide = values.astype(np.float64)
    return wide, float(wide.min()), float(wide.max())
