"""Decoding one radiograph file to grey pixels, or saying in one sentence why it can't be."""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fedchest.data.dicom import dicom_pixels, is_dicom
from fedchest.errors import DataError

_COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "LA")


def read_image_file(path: Path) -> bytes:
    """The bytes of the image file `path`. Raises DataError when it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.") from None


def decode(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """The radiograph in the file `path` as `decode_content` gives it. Raises as that does, and for a missing file."""
    return decode_content(read_image_file(path), path, size)


def decode_content(content: bytes, path: Path, size: int) -> npt.NDArray[np.uint8]:
    """The radiograph in `content`, the bytes of `path`, a PNG, JPEG or DICOM, as uint8[size, size].

    It is resized by Pillow's antialiased bilinear filter.

    The aspect ratio is not kept, as in Irvin et al. 2019 ("Training Procedure"), who also fed square images of the
    whole field. Files that store grey as colour, palette or opaque RGBA are converted, since that is exact.
    Raises DataError for a file that is not a complete PNG, JPEG or DICOM, that holds real colour or transparency, or
    whose pixels are not 8 bits deep (16-bit files need a window that only their maker knows).
    """
    grey = Image.fromarray(dicom_pixels(content, str(path))) if is_dicom(content) else _opened(content, path)
    if grey.size != (size, size):
        grey = grey.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(grey, dtype=np.uint8)


def _opened(content: bytes, path: Path) -> Image.Image:
    try:
        with Image.open(BytesIO(content), formats=("PNG", "JPEG")) as image:
            image.load()
            return _as_grey(image, path)
    except UnidentifiedImageError:
        raise DataError(f"{path} is not a PNG, JPEG or DICOM image.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged and can't be decoded: {error}.") from None


def _as_grey(image: Image.Image, path: Path) -> Image.Image:
    is_transparent = "transparency" in image.info
    if image.mode == "L" and not is_transparent:
        return image
    if image.mode not in (*_COLOUR_MODES, "L"):
        raise DataError(
            f"{path} has Pillow's mode {image.mode}, not 8-bit grey: convert it with its own window."
        )
    red, green, blue, alpha = np.moveaxis(np.asarray(image.convert("RGBA")), -1, 0)
    if (alpha != 255).any():
        raise DataError(f"{path} has transparent pixels, so its grey values are ambiguous.")
    if (red != green).any() or (red != blue).any():
        raise DataError(f"{path} is a colour image, not a radiograph.")
    return Image.fromarray(red)
