"""Decoding once, by content, and the one sentence for each image that can't be used."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fedchest.data import cache
from fedchest.data.cache import cache_bytes, cached_images
from fedchest.data.chexpert import read_chexpert
from fedchest.data.cohort import Cohort
from fedchest.data.dataset import load_dataset
from fedchest.data.images import decode, decode_content
from fedchest.data.labels import COMPETITION, DEFAULT_POLICIES
from fedchest.errors import DataError


def image_path(nih: Path, number: int) -> Path:
    cohort = read_chexpert(nih, "train")
    return cohort.root / cohort.paths[number]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the test's files had been written long ago."""
    monkeypatch.setattr(cache, "_SETTLED_NS", 0)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that are decoded in this process while the test runs."""
    names: list[str] = []

    def note(content: bytes, path: Path, size: int) -> np.ndarray:
        names.append(f"{path.parts[-3]}/{path.parts[-2]}/{path.name}")
        return decode_content(content, path, size)

    monkeypatch.setattr(cache, "decode_content", note)
    return names


def test_images_are_exactly_the_files_pixels(nih: Path, tmp_path: Path) -> None:
    cohort = read_chexpert(nih, "train")
    images = cached_images(cohort, 64, tmp_path / "cache")
    assert images.shape == (11, 64, 64)
    assert images[:].dtype == np.uint8
    for row, path in enumerate(cohort.paths):
        assert (images[row : row + 1] == np.asarray(Image.open(cohort.root / path))).all()


def test_rows_are_indexed_as_an_arrays(nih: Path, tmp_path: Path) -> None:
    images = cached_images(read_chexpert(nih, "train"), 16, tmp_path)
    whole = images[:]
    for rows in (slice(3, 7), slice(None, None, -2), np.array([8, 2, 2]), np.array([], dtype=np.int64)):
        assert (images[rows] == whole[rows]).all()
        assert images[rows].shape == whole[rows].shape


def test_a_second_use_decodes_nothing(nih: Path, tmp_path: Path, decoded: list[str]) -> None:
    cohort = read_chexpert(nih, "train")
    first = cached_images(cohort, 32, tmp_path)
    assert len(decoded) == 11
    assert (cached_images(cohort, 32, tmp_path)[:] == first[:]).all()
    assert len(decoded) == 11


def test_files_that_were_left_alone_are_not_even_read_again(
    nih: Path, tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = read_chexpert(nih, "train")
    first = cached_images(cohort, 32, tmp_path)

    def fail(name: str) -> None:
        raise AssertionError(f"{name} was read again")

    monkeypatch.setattr(cache, "_read", fail)
    assert (cached_images(cohort, 32, tmp_path)[:] == first[:]).all()


def test_files_just_written_are_read_again_until_their_change_time_is_past(
    nih: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a tick of the file system's clock, two contents could bear the same times."""
    cohort = read_chexpert(nih, "train")
    cached_images(cohort, 32, tmp_path)
    read: list[str] = []
    original = cache._read
    monkeypatch.setattr(cache, "_read", lambda name: read.append(name) or original(name))
    cached_images(cohort, 32, tmp_path)
    assert len(read) == 11


def test_files_that_only_moved_in_time_are_not_decoded_again(
    nih: Path, tmp_path: Path, settled: None, decoded: list[str]
) -> None:
    cohort = read_chexpert(nih, "train")
    before = cached_images(cohort, 32, tmp_path)[:]
    for path in cohort.paths:
        (cohort.root / path).touch()
    assert (cached_images(cohort, 32, tmp_path)[:] == before).all()
    assert len(decoded) == 11


@pytest.mark.parametrize("settle", [0, 10**18])
def test_a_changed_image_is_decoded_again(
    nih: Path, tmp_path: Path, settle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when its size and its modification time are what they were."""
    monkeypatch.setattr(cache, "_SETTLED_NS", settle)
    cohort = read_chexpert(nih, "train")
    images = cached_images(cohort, 64, tmp_path)
    before = images[:]
    path = cohort.root / cohort.paths[3]
    times, size = path.stat(), path.stat().st_size
    content = (cohort.root / cohort.paths[0]).read_bytes()
    path.write_bytes(content[:size] + bytes(max(0, size - len(content))))
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = cached_images(cohort, 64, tmp_path)[:]
    assert (after[3] == before[0]).all()
    assert (np.delete(after, 3, axis=0) == np.delete(before, 3, axis=0)).all()
    assert (images[:] == before).all(), "images that a process already holds moved"


def test_same_size_and_times_do_not_hide_another_content(tmp_path: Path, settled: None) -> None:
    """Two grey PNG files of equal length, the second in the place of the first with its times."""
    folder = tmp_path / "CheXpert-v1.0-small"
    path = folder / "train" / "patient00001" / "study1" / "view1_frontal.png"
    path.parent.mkdir(parents=True)
    cohort = Cohort(
        root=folder,
        paths=("train/patient00001/study1/view1_frontal.png",),
        patients=("patient00001",),
        labels=np.zeros((1, 14), dtype=np.int8),
        views=("frontal-AP",),
        sexes=("Male",),
        ages=np.zeros(1, dtype=np.int16),
    )
    for value in (10, 20):
        Image.fromarray(np.full((8, 8), value, dtype=np.uint8)).save(path)
        os.utime(path, ns=(1, 1))
        assert (cached_images(cohort, 8, tmp_path / "cache")[:] == value).all()


def test_cohorts_of_one_tree_share_what_is_decoded(nih: Path, tmp_path: Path, decoded: list[str]) -> None:
    whole = read_chexpert(nih, "train")
    first = cached_images(whole.select([7, 2, 9]), 32, tmp_path)
    images = cached_images(whole, 32, tmp_path)
    assert sorted(decoded) == sorted(path.removeprefix("train/") for path in whole.paths)
    assert (first[:] == images[np.array([7, 2, 9])]).all()
    backward = cached_images(whole.select(np.arange(11)[::-1]), 32, tmp_path)
    assert (backward[:] == images[::-1]).all()
    assert len(decoded) == 11


def test_each_size_and_each_tree_has_its_own_images(nih: Path, tmp_path: Path) -> None:
    cohort = read_chexpert(nih, "train")
    images = cached_images(cohort, 32, tmp_path / "cache")
    assert cached_images(cohort, 16, tmp_path / "cache").shape == (11, 16, 16)
    other = read_chexpert(shutil.copytree(nih, tmp_path / "other"), "train")
    content = (other.root / other.paths[0]).read_bytes()
    for path in other.paths:
        (other.root / path).write_bytes(content)
    assert (cached_images(other, 32, tmp_path / "cache")[:] == images[:1]).all()
    assert not (images[:] == images[:1]).all()


@pytest.mark.parametrize("suffix", ["index", "pixels"])
@pytest.mark.parametrize("kept", [0, 3000])
def test_a_cache_that_lost_a_part_is_made_whole(
    nih: Path, tmp_path: Path, suffix: str, kept: int, settled: None
) -> None:
    """Also for the images of another cohort, whose records spoke of the lost pixels."""
    whole = read_chexpert(nih, "train")
    images = cached_images(whole, 32, tmp_path)[:]
    (file,) = tmp_path.glob(f"*.{suffix}")
    file.write_bytes(file.read_bytes()[:kept])
    assert (cached_images(whole.select([5, 6]), 32, tmp_path)[:] == images[5:7]).all()
    assert (cached_images(whole, 32, tmp_path)[:] == images).all()


def test_a_torn_record_is_written_over(nih: Path, tmp_path: Path, settled: None, decoded: list[str]) -> None:
    cohort = read_chexpert(nih, "train")
    images = cached_images(cohort, 32, tmp_path)[:]
    (index,) = tmp_path.glob("*.index")
    index.write_bytes(index.read_bytes()[:-5])
    for _ in range(2):
        assert (cached_images(cohort, 32, tmp_path)[:] == images).all()
    assert len(decoded) == 12
    assert len(index.read_bytes()) % 128 == 0


FILL = """
import sys
from pathlib import Path
from fedchest.data import cache
from fedchest.data.chexpert import read_chexpert

if __name__ == "__main__":
    cache._TOGETHER, cache._WORTH_PROCESSES = 2, int(sys.argv[3])
    slow = cache.decode_content
    def decode_content(content, path, size):
        print("decoding", flush=True)
        if sys.argv[4]:
            sys.stdin.read(1)
        return slow(content, path, size)
    cache.decode_content = decode_content
    cached = cache.cached_images(read_chexpert(Path(sys.argv[1]), "train"), 32, Path(sys.argv[2]))
    print("done", flush=True)
"""


def fill(
    nih: Path, directory: Path, *, processes: bool = False, step: bool = False
) -> "subprocess.Popen[str]":
    arguments = [str(nih), str(directory), "1" if processes else "1000", "step" if step else ""]
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", FILL, *arguments], stdin=pipe, stdout=pipe, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_fill_goes_on_where_it_was(
    nih: Path, tmp_path: Path, ending: signal.Signals, decoded: list[str]
) -> None:
    cohort = read_chexpert(nih, "train")
    with fill(nih, tmp_path, step=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(7):  # six are flushed, two by two, when the seventh begins
            assert process.stdout.readline() == "decoding\n"
            process.stdin.write("x")
            process.stdin.flush()
        process.stdout.readline()
        process.send_signal(ending)
        process.wait()
    images = cached_images(cohort, 32, tmp_path)
    assert sorted(decoded) == sorted(path.removeprefix("train/") for path in cohort.paths[6:])
    for row, path in enumerate(cohort.paths):
        assert (images[row : row + 1] == decode(cohort.root / path, 32)).all()


@pytest.mark.slow
def test_two_processes_that_fill_one_cache_decode_each_image_once(nih: Path, tmp_path: Path) -> None:
    fills = [fill(nih, tmp_path / "cache") for _ in range(2)]
    spoken = [process.communicate()[0].splitlines() for process in fills]
    assert sorted(map(len, spoken)) == [1, 12]
    alone = cached_images(read_chexpert(nih, "train"), 32, tmp_path / "alone")
    assert (cached_images(read_chexpert(nih, "train"), 32, tmp_path / "cache")[:] == alone[:]).all()


@pytest.mark.slow
def test_many_processes_decode_the_same_and_name_a_damaged_image(
    nih: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    cohort = read_chexpert(nih, "train")
    path = image_path(nih, 8)
    content = path.read_bytes()
    path.write_bytes(content[:1000])
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_WORTH_PROCESSES", 1)
        patch.setattr(cache, "_TOGETHER", 2)
        with pytest.raises(DataError, match=rf"{path.name} is damaged"):
            cached_images(cohort, 64, tmp_path / "cache")
    path.write_bytes(content)
    images = cached_images(cohort, 64, tmp_path / "cache")
    assert sorted(decoded) == sorted(path.removeprefix("train/") for path in cohort.paths[8:])
    for row, each in enumerate(cohort.paths):
        assert (images[row : row + 1] == decode(cohort.root / each, 64)).all()


@pytest.mark.slow
def test_a_script_without_the_usual_guard_ends_in_a_sentence_and_not_in_a_wait(
    nih: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(FILL.replace('if __name__ == "__main__":', "if True:"))
    code = [sys.executable, script, nih, tmp_path / "cache", "1", ""]
    done = subprocess.run(
        code, capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": "."}
    )
    assert done.returncode == 1
    assert "DataError: A helping process ended early" in done.stderr


def test_the_cache_is_the_owners_alone_and_as_large_as_announced(nih: Path, tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    cohort = read_chexpert(nih, "train")
    cached_images(cohort, 32, directory)
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in directory.iterdir())
    assert sum(file.stat().st_size for file in directory.iterdir()) == cache_bytes(cohort, 32)


def test_a_disk_without_room_is_refused_before_anything_is_decoded(
    nih: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    cohort = read_chexpert(nih, "train")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage._replace(free=10_000_000))
    with pytest.raises(DataError, match=r"needs 11\.00 GB for 11 images .* but 0\.01 GB are free"):
        cached_images(cohort, 31_623, tmp_path)
    assert decoded == []
    assert len(cached_images(cohort, 32, tmp_path)) == 11


def test_progress_counts_up_to_all(
    nih: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled: None
) -> None:
    monkeypatch.setattr(cache, "_TOGETHER", 4)
    seen: list[tuple[int, int]] = []
    cohort = read_chexpert(nih, "train")
    cached_images(cohort.select([1, 2]), 16, tmp_path)
    cached_images(cohort, 16, tmp_path, progress=lambda done, all_: seen.append((done, all_)))
    assert seen == [(6, 11), (10, 11), (11, 11)]


def test_a_damaged_image_is_named_and_once_mended_the_fill_goes_on(nih: Path, tmp_path: Path) -> None:
    path = image_path(nih, 5)
    content = path.read_bytes()
    path.write_bytes(content[:1000])
    cohort = read_chexpert(nih, "train")
    for _ in range(2):
        with pytest.raises(DataError, match=rf"{path.name} is damaged") as raised:
            cached_images(cohort, 64, tmp_path / "cache")
        assert str(path) in str(raised.value)
    path.write_bytes(content)
    images = cached_images(cohort, 64, tmp_path / "cache")
    assert (images[5:6] == decode(path, 64)).all()


def test_an_image_that_is_gone_is_named(nih: Path, tmp_path: Path) -> None:
    cohort = read_chexpert(nih, "train")
    image_path(nih, 2).unlink()
    with pytest.raises(DataError, match=r"\.png can't be read: No such file"):
        cached_images(cohort, 32, tmp_path)


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
