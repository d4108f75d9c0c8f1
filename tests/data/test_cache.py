"""Decoding once, by content, and the one sentence for each image that can't be used."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fedchest.data import cache
from fedchest.data.cache import cached_images
from fedchest.data.chexpert import read_chexpert
from fedchest.data.dataset import load_dataset
from fedchest.data.images import decode
from fedchest.data.labels import COMPETITION, DEFAULT_POLICIES
from fedchest.errors import DataError


def image_path(nih: Path, number: int) -> Path:
    cohort = read_chexpert(nih, "train")
    return cohort.root / cohort.paths[number]


def test_images_are_exactly_the_files_pixels(nih: Path, tmp_path: Path) -> None:
    cohort = read_chexpert(nih, "train")
    images = cached_images(cohort, 64, tmp_path / "cache")
    assert isinstance(images, np.memmap)
    assert (images.shape, images.dtype) == ((11, 64, 64), np.uint8)
    for row, path in enumerate(cohort.paths):
        assert (images[row] == np.asarray(Image.open(cohort.root / path))).all()


def test_a_second_use_decodes_nothing(nih: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = read_chexpert(nih, "train")
    first = cached_images(cohort, 32, tmp_path)

    def fail(path: Path, size: int) -> None:
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr(cache, "decode", fail)
    assert (cached_images(cohort, 32, tmp_path) == first).all()


def test_a_changed_image_is_decoded_again(nih: Path, tmp_path: Path) -> None:
    cohort = read_chexpert(nih, "train")
    before = np.array(cached_images(cohort, 64, tmp_path))
    path = cohort.root / cohort.paths[3]
    times = path.stat()
    shutil.copyfile(cohort.root / cohort.paths[0], path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = cached_images(cohort, 64, tmp_path)
    assert (after[3] == before[0]).all()
    assert (np.delete(after, 3, axis=0) == np.delete(before, 3, axis=0)).all()


def test_order_and_size_have_caches_of_their_own(nih: Path, tmp_path: Path) -> None:
    cohort = read_chexpert(nih, "train")
    forward = cached_images(cohort, 32, tmp_path)
    backward = cached_images(cohort.select(np.arange(len(cohort))[::-1]), 32, tmp_path)
    assert (backward == forward[::-1]).all()
    assert cached_images(cohort, 16, tmp_path).shape == (11, 16, 16)


def test_an_unfinished_cache_is_not_used(nih: Path, tmp_path: Path) -> None:
    cohort = read_chexpert(nih, "train")
    images = np.array(cached_images(cohort, 32, tmp_path))
    (file,) = tmp_path.glob("*.u8")
    file.write_bytes(file.read_bytes()[:-1])
    assert (cached_images(cohort, 32, tmp_path) == images).all()


def test_the_cache_is_the_owners_alone_and_leaves_nothing_else(nih: Path, tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    cached_images(read_chexpert(nih, "train"), 32, directory)
    (file,) = directory.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_progress_counts_up_to_all(nih: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    cached_images(
        read_chexpert(nih, "train"), 16, tmp_path, progress=lambda done, all_: seen.append((done, all_))
    )
    assert seen == [(number, 11) for number in range(1, 12)]


def test_a_damaged_image_is_named_and_no_cache_remains(nih: Path, tmp_path: Path) -> None:
    path = image_path(nih, 5)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=rf"{path.name} is damaged") as raised:
        cached_images(read_chexpert(nih, "train"), 64, tmp_path / "cache")
    assert str(path) in str(raised.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_directory_that_cannot_be_written_is_named(nih: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cache .* can't be written"):
        cached_images(read_chexpert(nih, "train"), 64, tmp_path / "file")


GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)
COLOUR = np.stack([GREY, GREY, GREY + 1], axis=-1)


def save(image: Image.Image, path: Path) -> Path:
    image.save(path, format="PNG")
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_another_dress_is_converted_exactly(mode: str, tmp_path: Path) -> None:
    path = save(Image.fromarray(GREY).convert(mode), tmp_path / "image.png")
    assert (decode(path, 8) == GREY).all()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Image.fromarray(COLOUR), "is a colour image, not a radiograph"),
        (lambda: Image.fromarray(COLOUR).quantize(), "is a colour image"),
        (lambda: Image.merge("LA", [Image.fromarray(GREY)] * 2), "has transparent pixels"),
        (lambda: Image.fromarray(GREY.astype(np.uint16) * 200), "mode I;16, not 8-bit grey"),
        (lambda: Image.fromarray(GREY).convert("1"), "mode 1, not 8-bit grey"),
    ],
)
def test_an_ambiguous_image_is_refused(
    make: Callable[[], Image.Image], sentence: str, tmp_path: Path
) -> None:
    path = save(make(), tmp_path / "image.png")
    with pytest.raises(DataError, match=sentence) as raised:
        decode(path, 8)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"GIF89a" + bytes(100)])
def test_a_file_that_is_no_image_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(content)
    with pytest.raises(DataError, match=r"image\.png is not a PNG, JPEG or DICOM image"):
        decode(tmp_path / "image.png", 8)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_escapes_as_another_error(nih: Path, data: st.DataObject) -> None:
    """Cut or flip bytes anywhere: the file decodes or is named, never a traceback of the image library."""
    content = bytearray(image_path(nih, 0).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = nih / "damaged.png"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        assert decode(path, 64).shape == (64, 64)
    except DataError as error:
        assert str(path) in str(error)


def test_jpeg_is_read_and_any_shape_becomes_square(tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 90), 77, dtype=np.uint8)).save(tmp_path / "image.jpg", quality=95)
    assert (np.abs(decode(tmp_path / "image.jpg", 32).astype(int) - 77) <= 1).all()


def test_a_dataset_numbers_patients_and_finds_their_rows(nih: Path, tmp_path: Path) -> None:
    cohort = read_chexpert(nih, "train").select([0, 2, 1, 3, 10])
    dataset = load_dataset(
        cohort, size=64, cache_dir=tmp_path, label_names=COMPETITION, policies=DEFAULT_POLICIES
    )
    assert dataset.patients.tolist() == [0, 1, 0, 1, 2]
    assert dataset.patient_count == 3
    assert [dataset.rows_of(patient).tolist() for patient in range(3)] == [[0, 2], [1, 3], [4]]
    assert (dataset.targets.shape, dataset.mask.shape, len(dataset)) == ((5, 5), (5, 5), 5)
    assert dataset.targets[0].tolist() == [0, 1, 0, 0, 0]
