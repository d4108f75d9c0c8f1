"""Freed memory stays with the process; asked of a process of its own, whose memory nothing else has touched."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from fedchest.learning.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
faults = []
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(25_000_000)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults[1:]))  # a small block may once lie in the way
"""


def pages_touched_first(mode: str) -> int:
    found = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_memory_that_a_step_frees_is_there_for_the_next() -> None:
    assert pages_touched_first("keep") < 100 < pages_touched_first("return")
