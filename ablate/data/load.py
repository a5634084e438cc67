"""From the name of a source to `Images`: look it up in the cache, or decode it once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ablate.data.cache import ImageCache, cache_folder
from ablate.data.images import Images, Reading
from ablate.data.imported import imported
from ablate.data.sources import SOURCES
from ablate.errors import DataError, did_you_mean

DECODER = 1
"""Raised whenever the same files decode to other pixels, labels or classes than before."""


def load_images(
    source: str,
    *,
    root: str | None = None,
    image_size: int | None = None,
    classes: Sequence[int | str] | None = None,
    cache: Path | None = None,
    fingerprint: str | None = None,
) -> Images:
    """The images of `source`, decoded once into the cache and memory-mapped from there.

    source: a name in `SOURCES` or "package.module:function". root: where downloaded data or the user's folder
    lie. image_size: every image becomes image_size x image_size (shorter side resized, antialiased bilinear,
    then the central square). classes: as `Images.of_classes` takes them. cache: default `cache_folder()`.
    fingerprint: what the study was planned with, of the whole source. Its cache entry opens within a
    millisecond, with the source left alone; where the entry is gone the source is read again and must still
    give this fingerprint.
    DataError when the data are absent, unreadable, inconsistent, or have changed.
    """
    return _load(source, root, image_size, cache, fingerprint).of_classes(classes)


def _load(
    source: str, root: str | None, image_size: int | None, cache: Path | None, fingerprint: str | None
) -> Images:
    store = ImageCache(cache_folder() if cache is None else cache)
    if fingerprint is not None and (images := store.open(fingerprint, source, verify=False)) is not None:
        return images
    reading = _reading(source, None if root is None else Path(root).expanduser().absolute())
    key = None if reading.state is None else (DECODER, source, image_size, reading.state)
    known = None if key is None else store.recall(key)
    images = None if known is None else store.open(known, source, verify=True)
    if images is None:
        images = store.build(lambda allocate: reading.decode(image_size, allocate), source)
        if key is not None:
            store.remember(key, images.fingerprint)
    if fingerprint not in (None, images.fingerprint):
        raise DataError(
            f"the data of {source} have changed since the study was planned (fingerprint "
            f"{images.fingerprint[:12]}, planned {fingerprint[:12]}); "
            "run the study again, so that every trial sees the same data"
        )
    return images


def _reading(source: str, root: Path | None) -> Reading:
    if ":" in source:
        return imported(source, root)
    if source not in SOURCES:
        hint = did_you_mean(source, SOURCES)
        raise DataError(
            f"data.source: {source!r} is unknown{'; ' if hint else ''}{hint}\n"
            f"    allowed: {', '.join(SOURCES)}, package.module:function"
        )
    return SOURCES[source](root)
