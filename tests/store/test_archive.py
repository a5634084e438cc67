"""The fast way into an npz file gives what NumPy gives, or nothing."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ablate.store.archive import plain_arrays

NAMES = ("label", "probability")
ARRAYS = {
    "label": np.arange(300) % 10,
    "probability": np.random.default_rng(0).uniform(size=300).astype(np.float32),
}


def saved(save: Callable[..., None], **arrays: Any) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_of_ours_is_read_as_numpy_reads_it(save: Callable[..., None]) -> None:
    found = plain_arrays(saved(save, **ARRAYS, more=np.zeros(3)), NAMES)
    assert found is not None
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        found[name][0] = 7  # nobody else's array
    again = plain_arrays(saved(save, **ARRAYS), NAMES)
    assert again is not None and again["label"][0] == 0


def test_no_damage_gives_other_arrays() -> None:
    whole = saved(np.savez_compressed, **ARRAYS)
    refused = 0
    for place in range(len(whole)):
        torn = bytearray(whole)
        torn[place] ^= 0x15
        found = plain_arrays(bytes(torn), NAMES)
        refused += found is None
        if found is not None:  # a date, say: nothing that counts
            for name, array in ARRAYS.items():
                np.testing.assert_array_equal(found[name], array)
    assert refused > 0.9 * len(whole)
    assert all(plain_arrays(whole[:end], NAMES) is None for end in range(0, len(whole), 7))


@pytest.mark.parametrize(
    "content",
    [
        saved(np.savez, label=np.arange(3), probability=np.arange(4)),
        saved(np.savez, label=np.arange(3)),
        saved(np.savez, label=np.zeros((2, 2)), probability=np.zeros((2, 2))),
        saved(np.savez, label=np.array([None, 1]), probability=np.zeros(2)),
        b"",
        b"no archive",
    ],
    ids=["lengths", "missing", "matrix", "objects", "empty", "text"],
)
def test_what_is_not_plainly_such_a_file_is_left_to_numpy(content: bytes) -> None:
    assert plain_arrays(content, NAMES) is None


def test_a_member_is_not_inflated_beyond_what_it_says() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("label.npy", bytes(1 << 22))
    content = bytearray(file.getvalue())
    central = content.rindex(b"PK\x01\x02")
    content[central + 24 : central + 28] = (100).to_bytes(4, "little")
    assert plain_arrays(bytes(content), ("label",)) is None
