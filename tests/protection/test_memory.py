"""Asking for large pages changes nothing but speed."""

import pytest

from fedchest.protection.memory import prefer_huge_pages


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 22) - 1, 1 << 22, (1 << 22) + 12345])
def test_the_content_stays(size: int) -> None:
    buffer = bytearray(b"\x07" * size)
    with memoryview(buffer) as view:
        prefer_huge_pages(view)
        view[:] = bytes(view)
    assert buffer == b"\x07" * size


def test_a_part_of_a_buffer_is_as_good(size: int = 5 << 20) -> None:
    buffer = bytearray(size)
    with memoryview(buffer) as view, view[1000:] as part:
        prefer_huge_pages(part)
        part[:] = b"\x01" * len(part)
    assert buffer == bytes(1000) + b"\x01" * (size - 1000)


def test_a_system_without_them_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("mmap.MADV_HUGEPAGE", raising=False)
    with memoryview(bytearray(5 << 20)) as view:
        prefer_huge_pages(view)
