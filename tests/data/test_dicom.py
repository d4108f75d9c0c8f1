"""DICOM radiographs: shown as their own window shows them, bone bright, or refused in one sentence."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
)

from fedchest.data.images import decode
from fedchest.errors import DataError

RAMP = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)


def dicom(pixels: np.ndarray, **elements: object) -> bytes:
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = elements.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    file.SOPClassUID, file.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    file.Rows, file.Columns = pixels.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(file, name, value)
    content = BytesIO()
    file.save_as(content, enforce_file_format=True)
    return content.getvalue()


def decoded(tmp_path: Path, content: bytes) -> np.ndarray:
    path = tmp_path / "image.dcm"
    path.write_bytes(content)
    return decode(path, 8).astype(int)


def test_the_whole_range_becomes_8_bits(tmp_path: Path) -> None:
    np.testing.assert_allclose(decoded(tmp_path, dicom(RAMP)), RAMP / 4095 * 255, atol=1)


def test_an_inverted_file_is_turned_round(tmp_path: Path) -> None:
    inverted = decoded(tmp_path, dicom(RAMP, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(inverted, 255 - RAMP / 4095 * 255, atol=1)


def test_the_files_own_window_is_used(tmp_path: Path) -> None:
    windowed = decoded(tmp_path, dicom(RAMP, WindowCenter=1000, WindowWidth=500))
    assert (windowed[RAMP < 700] == 0).all()
    assert (windowed[RAMP > 1300] == 255).all()
    assert 100 < windowed.flat[15] < 155


def test_a_window_that_the_image_does_not_fill_is_not_stretched(tmp_path: Path) -> None:
    flat = np.where(RAMP < 2000, 1000, 1050).astype(np.uint16)
    windowed = decoded(tmp_path, dicom(flat, WindowCenter=2048, WindowWidth=4096))
    np.testing.assert_allclose(windowed, flat / 4095 * 255, atol=1.5)


@pytest.mark.parametrize(
    "content",
    [
        dicom(RAMP, PhotometricInterpretation="PALETTE COLOR"),
        dicom(RAMP, RescaleSlope="1e308", RescaleIntercept="1e308"),
        dicom(np.stack([RAMP, RAMP]), NumberOfFrames=2),
        dicom(RAMP)[:-20],
        dicom(RAMP)[:200],
        dicom(RAMP, TransferSyntaxUID=JPEG2000Lossless, PixelData=encapsulate([b"no JPEG 2000"])),
        bytes(128) + b"DICM",
    ],
    ids=[
        "palette",
        "no numbers",
        "two frames",
        "pixels cut off",
        "header cut off",
        "damaged compression",
        "nothing in it",
    ],
)
def test_what_can_not_be_shown_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"image\.dcm"):
        decoded(tmp_path, content)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_escapes_as_another_error(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(dicom(RAMP, WindowCenter=1000, WindowWidth=500))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decoded(tmp_path, bytes(content)).shape == (8, 8)
    except DataError as error:
        assert "image.dcm" in str(error)
