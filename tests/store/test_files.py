"""What is written is whole or not there, and what a disk refuses is a sentence that says what to do."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import subprocess
from pathlib import Path

import pytest

from ablate.errors import StoreError
from ablate.store import Store, sha256_of, takes_no_more, write_text


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, " MB free)\n    free some space and run again: what is finished is kept"),
        (errno.EDQUOT, "your quota on the file system at /"),
        (errno.EACCES, "permission denied\n    change the permissions"),
        (errno.EROFS, "read-only file system\n    change the permissions"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_disk_refuses_is_a_sentence_and_leaves_the_old_file(tmp_path, monkeypatch, number, said):
    path = tmp_path / "results" / "record.json"
    write_text(path, "what was there")
    before = path.read_bytes()

    def refuse(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError) as caught:
        write_text(path, "what is new" * 10_000)
    assert f"cannot write {path}: " in str(caught.value)
    assert said in str(caught.value)
    assert path.read_bytes() == before
    assert files_under(path.parent) == ["record.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_write_that_fails_half_way_leaves_no_torn_file(tmp_path, monkeypatch):
    """A real full device behind the temporary file."""
    path = tmp_path / "results" / "record.json"
    write_text(path, "what was there")
    before = path.read_bytes()
    real_open = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, mode="r", **options: (
            real_open(Path("/dev/full"), "wb") if "x" in mode else real_open(self, mode, **options)
        ),
    )
    with pytest.raises(StoreError, match="the disk is full"):
        write_text(path, "what is new" * 10_000)
    assert path.read_bytes() == before


# Two writers at once


def _write_often(path: str, letter: str) -> None:
    for _ in range(100):
        write_text(Path(path), letter * 50_000, durable=False)


def test_a_reader_beside_two_writers_never_sees_a_torn_file(tmp_path):
    """Forked, since a spawned child could not import this module."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork")
    path = tmp_path / "record.json"
    write_text(path, "a" * 50_000)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_often, args=(str(path), letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        text = path.read_text()
        assert len(text) == 50_000
        assert len(set(text)) == 1
        seen.add(text[0])
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen <= {"a", "b"}
    assert files_under(tmp_path) == ["record.json"]


def test_a_digest_is_that_of_the_content(tmp_path):
    path = tmp_path / "weights"
    content = bytes(range(256)) * 8192 * 2 + b"x"  # more than is read at once
    path.write_bytes(content)
    assert sha256_of(path) == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert sha256_of(tmp_path / "absent") is None


def test_which_faults_are_the_trees():
    assert [takes_no_more(OSError(number, "")) for number in (errno.ENOSPC, errno.EROFS, errno.ENOENT)] == [
        True,
        True,
        False,
    ]
    assert not takes_no_more(ValueError())


# A real disk


@pytest.fixture
def small_disk(tmp_path):
    """Two megabytes of memory as a file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_keeps_what_was_there_and_leaves_nothing_half_written(small_disk):
    path = small_disk / "results" / "record.json"
    write_text(path, "what was there")
    filler = small_disk / "filler"
    with pytest.raises(OSError), filler.open("wb") as file:
        while True:
            file.write(b"x" * 4096)
            file.flush()
    with pytest.raises(
        StoreError, match=rf"the disk is full \(the file system at {small_disk}: .* MB of .* MB free\)"
    ):
        write_text(path, "what is new" * 10_000)
    assert path.read_text() == "what was there"
    assert files_under(path.parent) == ["record.json"]
    filler.unlink()
    write_text(path, "what is new" * 10_000)
    assert len(path.read_text()) == 110_000


def test_a_read_only_disk(small_disk):
    path = small_disk / "record.json"
    write_text(path, "what was there")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreError, match="read-only file system\n    change the permissions, or choose"):
        write_text(path, "what is new")
    assert files_under(small_disk) == ["record.json"]


@pytest.mark.parametrize("act", [Store.prepare, lambda store: store.take_trial("0" * 16)])
def test_a_read_only_tree_is_said_before_anything_is_trained(small_disk, act):
    store = Store(small_disk / "results")
    (store.root / "trials").mkdir(parents=True)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreError, match="read-only file system"):
        act(store)
    assert store.holder("0" * 16) is None
