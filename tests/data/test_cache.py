import json
import os
import pickle
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from ablate.data.cache import ImageCache, cache_folder
from ablate.data.load import load_images
from ablate.errors import DataError


@pytest.fixture
def root(write_folder, colour_parts):
    return write_folder("data", colour_parts)


def load(root, **options):
    return load_images("image-folder", root=str(root), **options)


def entries(cache):
    return sorted(path.name for path in (cache / "images").iterdir())


def forbid_decoding(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("decoded again")

    monkeypatch.setattr("ablate.data.folder._decode_all", refuse)


def test_images_are_decoded_once_and_then_mapped_read_only(root, cache, monkeypatch):
    first = load(root)
    assert entries(cache) == [first.fingerprint]
    forbid_decoding(monkeypatch)
    second = load(root)
    np.testing.assert_array_equal(first.train, second.train)
    assert not second.train.flags.writeable
    assert isinstance(second.train.base, np.memmap)


def test_a_changed_image_is_seen_and_another_size_is_another_entry(root, cache, colour_parts):
    from PIL import Image

    first = load(root)
    path = root / "train" / "cat" / "000.png"
    Image.fromarray(colour_parts["train/cat"][0] ^ 1).save(path)
    os.utime(path, ns=(0, 0))
    second = load(root)
    assert second.fingerprint != first.fingerprint
    assert load(root, image_size=4).shape == (3, 4, 4)
    assert len(entries(cache)) == 3


def test_a_fingerprint_opens_the_entry_without_the_source(root, cache):
    first = load(root)
    (root / "train").rename(root / "gone")
    again = load(root, fingerprint=first.fingerprint)
    np.testing.assert_array_equal(first.test, again.test)


def test_data_that_changed_since_planning_are_an_error_once_the_entry_is_gone(root):
    planned = "0" * 64
    with pytest.raises(
        DataError, match=r"image-folder have changed since the study was planned .*planned 000000000000"
    ):
        load(root, fingerprint=planned)


def test_images_travel_to_workers_as_a_path_not_as_pixels(write_folder):
    parts = {
        f"{part}/{name}": [np.zeros((64, 64, 3), np.uint8)] for part in ("train", "test") for name in "ab"
    }
    images = load(write_folder("zeros", parts))
    sent = pickle.dumps(images)
    assert len(sent) < 1000 < images.train.nbytes
    received = pickle.loads(sent)  # noqa: S301 (made here)
    np.testing.assert_array_equal(received.train, images.train)
    assert (received.classes, received.source) == (images.classes, images.source)


def truncate(folder):
    with (folder / "train.npy").open("r+b") as file:
        file.truncate(200)


def flip_a_bit(folder):
    with (folder / "test.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def delete_description(folder):
    (folder / "entry.json").unlink()


def cut_description(folder):
    text = (folder / "entry.json").read_text()
    (folder / "entry.json").write_text(text[: len(text) // 2])


def delete_labels(folder):
    (folder / "test_labels.npy").unlink()


def older_version(folder):
    entry = json.loads((folder / "entry.json").read_text())
    (folder / "entry.json").write_text(json.dumps({**entry, "version": 0}))


@pytest.mark.parametrize(
    "damage", [truncate, flip_a_bit, delete_description, cut_description, delete_labels, older_version]
)
def test_a_torn_entry_is_decoded_again(root, cache, damage):
    before = load(root)
    pixels = before.train.copy(), before.test.copy()
    fingerprint, folder = before.fingerprint, before.folder
    del before
    damage(folder)
    after = load(root)
    assert after.fingerprint == fingerprint
    np.testing.assert_array_equal(after.train, pixels[0])
    np.testing.assert_array_equal(after.test, pixels[1])
    assert entries(cache) == [fingerprint]


def test_a_truncated_entry_is_noticed_by_a_worker_too(root):
    before = load(root)
    truncate(before.folder)
    after = load(root, fingerprint=before.fingerprint)
    assert after.train.shape == (6, 6, 5, 3)


def test_processes_that_decode_at_once_end_with_one_whole_entry(write_folder, cache):
    generator = np.random.default_rng(0)
    parts = {
        f"{part}/{name}": list(generator.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8))
        for part in ("train", "test")
        for name in "ab"
    }
    root = write_folder("data", parts)
    start = time.time() + 2  # so that both are past their imports
    code = (
        "import sys, time; from ablate.data.load import load_images\n"
        f"time.sleep(max(0, {start} - time.time()))\n"
        f"print(load_images('image-folder', root={str(root)!r}).fingerprint)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [process.communicate(timeout=60)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(set(said)) == 1
    assert entries(cache) == [said[0]]
    assert load(root).fingerprint == said[0]


def test_a_build_that_loses_the_race_leaves_the_winner_in_place(root, cache):
    images = load(root)
    inode = (images.folder / "train.npy").stat().st_ino
    store = ImageCache(cache)
    from ablate.data.folder import image_folder

    reading = image_folder(root)
    again = store.build(lambda allocate: reading.decode(None, allocate), "image-folder")
    assert again.fingerprint == images.fingerprint
    assert (images.folder / "train.npy").stat().st_ino == inode
    assert entries(cache) == [images.fingerprint]


def test_a_failed_build_leaves_nothing_and_abandoned_ones_are_swept(root, cache):
    old, young = cache / "images" / "tmp-1-old", cache / "images" / "tmp-2-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    (root / "train" / "cat" / "000.png").write_bytes(b"torn")
    with pytest.raises(DataError, match="1 of 10 images"):
        load(root)
    assert entries(cache) == ["tmp-2-young"]


def test_a_full_disk_is_said_before_anything_is_mapped(root, monkeypatch):
    usage = namedtuple("usage", "total used free")(1, 1, 10)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"0\.0 GiB free; set ABLATE_CACHE to a larger disk"):
        load(root)


def test_a_cache_that_cannot_be_written_is_said(root, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written: .*set ABLATE_CACHE"):
        load(root, cache=tmp_path / "file")


def test_the_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("ABLATE_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("ABLATE_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/ablate")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "ablate"
