"""Durable writing and the artifact store."""

import errno
import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedchest.artifacts import ArtifactStore
from fedchest.errors import StoreError
from fedchest.files import OWNER_ONLY, append_durably, held, write_atomically


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_atomically(path, b"long old content")
    write_atomically(path, b"new", mode=OWNER_ONLY)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == OWNER_ONLY
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_full_disk_keeps_the_old_file_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"file can't be written: No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_of_many_that_write_a_new_file_at_once_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def write(content: bytes) -> bool:
        try:
            write_atomically(path, content, overwrite=False)
        except FileExistsError:
            return False
        return True

    contents = [bytes([number]) * 1000 for number in range(16)]
    with ThreadPoolExecutor(len(contents)) as pool:
        written = list(pool.map(write, contents))
    assert written.count(True) == 1
    assert path.read_bytes() == contents[written.index(True)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_parent_that_is_a_file_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="can't be written"):
        write_atomically(tmp_path / "file" / "below", b"x")
    with pytest.raises(StoreError, match="can't be written"):
        write_atomically(tmp_path / "file" / "below", b"x", overwrite=False)
    with pytest.raises(StoreError, match="can't be written"):
        append_durably(tmp_path / "file" / "below", b"x")


def test_lines_are_appended(tmp_path: Path) -> None:
    append_durably(tmp_path / "log", b"one", mode=OWNER_ONLY)
    append_durably(tmp_path / "log", b"two")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == OWNER_ONLY


@settings(max_examples=25)
@given(content=st.binary(max_size=200))
def test_an_artifact_is_found_by_its_hash(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    store = ArtifactStore(tmp_path_factory.mktemp("store"))
    digest = store.put(content)
    assert digest == hashlib.sha256(content).digest() == store.put(content)
    assert store.get(digest) == content
    assert digest in store
    assert list(store) == [digest]


def test_a_changed_or_missing_artifact_is_named(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    digest = store.put(b"content")
    store.path(digest).write_bytes(b"changed")
    with pytest.raises(StoreError, match=digest.hex()):
        store.get(digest)
    store.path(digest).unlink()
    with pytest.raises(StoreError, match="missing"):
        store.get(digest)
    assert digest not in store


def test_storing_again_mends_a_damaged_artifact(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    digest = store.put(b"content")
    store.path(digest).write_bytes(b"changed")
    store.put(b"content")
    assert store.get(digest) == b"content"


def test_only_files_named_by_a_hash_are_listed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"")
    assert list(ArtifactStore(tmp_path)) == []
    assert list(ArtifactStore(tmp_path / "absent")) == []


def test_what_is_held_is_held_by_one_alone_and_let_go(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "file"):
        (tmp_path / "file").touch()
        with (
            held(path),
            pytest.raises(StoreError, match="in use by another process"),
            held(path, seconds=0.05),
        ):
            pytest.fail("two hold it")
        with held(path):
            pass


def test_what_is_absent_is_not_held(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"absent can't be opened: No such file"), held(tmp_path / "absent"):
        pytest.fail("nothing is held")


def test_who_waits_gets_it_once_it_is_free(tmp_path: Path) -> None:
    def hold(index: int) -> int:
        with held(tmp_path, seconds=30):
            inside.append(index)
            assert len(inside) == 1
            return inside.pop()

    inside: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(hold, range(40))) == list(range(40))
