"""`package.module:function`: images from a function of the user's own.

    function(root) -> (train_images, train_labels, test_images, test_labels[, class_names])

`root` is `data.root` (a str, or None). Images are uint8, [N, H, W] or [N, H, W, C]; labels whole numbers from
0.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ablate.data.cache import count_duplicates
from ablate.data.images import Allocate, ImageArrays, Reading, check_arrays
from ablate.data.resize import resize_arrays
from ablate.errors import DataError, did_you_mean


def imported(source: str, root: Path | None) -> Reading:
    """The function named by `source`. It runs each time the data are loaded without a fingerprint: only it
    knows whether what it reads has changed."""
    function = _find(source)

    def decode(image_size: int | None, allocate: Allocate) -> ImageArrays:
        try:
            given = function(None if root is None else str(root))
        except (Exception, SystemExit) as error:  # the user's code: whatever it raises is told with its place
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise DataError(
                f"data.source: {source} raised {type(error).__name__}: {error} "
                f"({place.filename}:{place.lineno})"
            ) from error
        if not isinstance(given, tuple | list) or len(given) not in (4, 5):
            what = f"{len(given)} values" if isinstance(given, tuple | list) else type(given).__name__
            raise DataError(
                f"data.source: {source} returned {what}; it must return (train_images, train_labels, "
                "test_images, test_labels) and, if it likes, class names"
            )
        arrays = check_arrays(source, *given)
        _check_overlap(source, arrays)
        return resize_arrays(arrays, image_size)

    return Reading(None, decode)


def _find(source: str) -> Callable[..., Any]:
    module_name, _, name = source.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise DataError(
            f"data.source: {source}: module {module_name} cannot be imported ({error})"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        hint = did_you_mean(name, [known for known, value in vars(module).items() if callable(value)])
        raise DataError(
            f"data.source: {source}: {module_name} has no function {name!r}{'; ' if hint else ''}{hint}"
        )
    return function


def _check_overlap(source: str, arrays: ImageArrays) -> None:
    if count_duplicates(arrays) == len(arrays.test):
        raise DataError(
            f"data.source: every test image of {source} is also a training image; "
            "a test on them measures memory, so keep some images apart"
        )
