"""Decoding a DICOM radiograph to grey pixels as its own window shows it."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from fedchest.errors import DataError

_PREAMBLE, _MAGIC = 128, b"DICM"


def is_dicom(content: bytes) -> bool:
    """Whether `content` begins as a DICOM file (PS3.10, section 7.1)."""
    return content[_PREAMBLE : _PREAMBLE + len(_MAGIC)] == _MAGIC


def dicom_pixels(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """The one frame of a DICOM file as uint8[H,W], bone bright: modality and VOI transformation, then 8 bits.

    Raises DataError, naming the file `name`, when it holds no single grey frame or its pixels can't be decoded.
    """
    try:
        file = dcmread(BytesIO(content))
        stored = file.pixel_array
        values = apply_voi_lut(apply_modality_lut(stored, file), file).astype(np.float64)
        is_inverted = str(file.PhotometricInterpretation) == "MONOCHROME1"
    except Exception as error:  # a damaged file can make any part of the parser fail in its own way
        raise DataError(f"{name} can't be decoded as DICOM: {error}.") from None
    if values.ndim != 2:
        raise DataError(f"{name} holds {values.shape} pixels, not one grey frame.")
    low, high = values.min(), values.max()
    grey: npt.NDArray[np.float64] = (values - low) / max(high - low, 1e-9)
    return ((1 - grey if is_inverted else grey) * 255).round().astype(np.uint8)
