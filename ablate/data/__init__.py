"""Images: where they come from, their cache, splits, statistics, augmentation and batches.

Reading, splitting and describing images needs no torch; only `Augmenter` and `Batches` load it.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Augmenter": "ablate.data.augment",
    "Batches": "ablate.data.batches",
    "Images": "ablate.data.images",
    "SOURCES": "ablate.data.sources",
    "Split": "ablate.data.splits",
    "cache_folder": "ablate.data.cache",
    "load_images": "ablate.data.load",
    "split": "ablate.data.splits",
    "statistics": "ablate.data.moments",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ablate.data' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
