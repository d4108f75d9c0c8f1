"""A cohort of CheXpert's real size is read, divided and cached within the memory of a small machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedchest.data.chexpert import read_chexpert
from fedchest.data.cohort import distinct_patients
from fedchest.data.labels import BLANK, NEGATIVE, POSITIVE, UNCERTAIN, column_of
from fedchest.data.partition import PartitionScheme
from fedchest.data.phantom.full_size import IMAGES, PATIENTS, write_full_size_tree

HOSPITALS, SIZE = 5, 32

WORK = """
import json, resource, sys
from pathlib import Path
from fedchest.data.cache import cached_images
from fedchest.data.cohort import distinct_patients
from fedchest.data.partition import PartitionScheme, partition_patients
from fedchest.data.reader import read_cohort

def main():
    root, (hospitals, size) = Path(sys.argv[1]), map(int, sys.argv[2:])
    cohort = read_cohort(root, "train", views="all")
    told = {"images": len(cohort), "patients": len(distinct_patients(cohort)), "shares": {}}
    for scheme in PartitionScheme:
        shares = partition_patients(cohort, hospitals, scheme, alpha=0.5, seed=0)
        told["shares"][scheme] = [[len(share), len(distinct_patients(share))] for share in shares]
    images = cached_images(cohort, size, root / "cache")
    told["shape"] = images.shape
    told["peak of a worker"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    told["peak"] = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    print(json.dumps(told))

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_chexpert_at_its_real_size_takes_less_than_two_gigabytes(tmp_path: Path) -> None:
    write_full_size_tree(tmp_path, sites=HOSPITALS)
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(tmp_path), str(HOSPITALS), str(SIZE)],
        check=True,
        capture_output=True,
        text=True,
    )
    told = json.loads(done.stdout)
    assert (told["images"], told["patients"]) == (IMAGES, PATIENTS)
    assert told["shares"].keys() == set(PartitionScheme)
    for shares in told["shares"].values():
        assert [sum(column) for column in zip(*shares, strict=True)] == [IMAGES, PATIENTS]
    assert told["shape"] == [IMAGES, SIZE, SIZE]
    assert max(told["peak"], told["peak of a worker"]) * 1024 < 2e9


def test_a_full_size_tree_reads_as_a_rendered_cohort(tmp_path: Path) -> None:
    write_full_size_tree(tmp_path, patients=600, images=2_200, sites=3)
    cohort = read_chexpert(tmp_path, "train", views="all")
    assert (len(cohort), len(distinct_patients(cohort))) == (2_200, 600)
    assert len(set(cohort.paths)) == 2_200
    assert set(cohort.labels[:, column_of("Edema")].tolist()) == {POSITIVE, NEGATIVE, UNCERTAIN, BLANK}
    assert {"frontal-AP", "frontal-PA", "lateral"} == set(cohort.views)
    assert (tmp_path / "CheXpert-v1.0-small" / "sites.csv").is_file()


def test_fewer_images_than_the_patients_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more than asked for"):
        write_full_size_tree(tmp_path, patients=50, images=60)
