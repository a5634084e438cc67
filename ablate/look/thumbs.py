"""Maps and photographs as data: addresses, of the maps' own size, which a page enlarges."""

from __future__ import annotations

import base64
import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

MAX_SIDE = 32  # of a map: more is not seen at the size of a thumbnail
MAX_PHOTO = 160
_LEVELS = 64


def photo(pixels: NDArray[np.uint8]) -> str:
    """(H, W, C) uint8; of channels other than three, the first alone in grey."""
    image = Image.fromarray(pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., 0])
    image.thumbnail((MAX_PHOTO, MAX_PHOTO), Image.Resampling.LANCZOS)
    return _address(image.convert("RGB"), lossless=max(image.size) <= 64)


def sprite(maps: NDArray[np.float32]) -> str:
    """(K, H, W) in 0..1 -> K maps side by side, in viridis."""
    small = [shrunk(one) for one in maps]
    return _address(Image.fromarray(coloured(np.concatenate(small, axis=1), "viridis")), _is_small(small[0]))


def heat(values: NDArray[np.float32]) -> str:
    """(H, W) in 0..1 -> a layer to lay over a photograph: the lower, the more transparent."""
    small = shrunk(values)
    colours = coloured(small, "inferno")
    alpha = (np.clip(small, 0, 1) * 215).round().astype(np.uint8)
    return _address(Image.fromarray(np.dstack([colours, alpha]), "RGBA"), lossless=True)


def plain(values: NDArray[np.float32], palette: str = "viridis") -> str:
    """(H, W) in 0..1, as it is."""
    return _address(Image.fromarray(coloured(values, palette)), lossless=True)


def unit(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """From low..high to 0..1; zeros where the two are one."""
    if not high > low:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)


def shrunk(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most MAX_SIDE a side, averaged."""
    if max(values.shape) <= MAX_SIDE:
        return values
    scale = MAX_SIDE / max(values.shape)
    size = tuple(max(1, round(side * scale)) for side in reversed(values.shape))
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BOX))


def coloured(values: NDArray[np.float32], palette: str) -> NDArray[np.uint8]:
    """0..1 -> RGB, in few enough colours to be small."""
    level = np.nan_to_num(np.clip(values, 0, 1), nan=0.5)
    return _table(palette)[(level * (_LEVELS - 1)).round().astype(np.int64)]


@cache
def _table(palette: str) -> NDArray[np.uint8]:
    from matplotlib import colormaps

    return (colormaps[palette](np.linspace(0, 1, _LEVELS))[:, :3] * 255).round().astype(np.uint8)


def _is_small(values: NDArray[np.float32]) -> bool:
    return max(values.shape) <= 16


def _address(image: Image.Image, lossless: bool) -> str:
    buffer = io.BytesIO()
    kind = "webp" if features.check("webp") else "png"
    if kind == "webp":
        image.save(buffer, "WEBP", lossless=lossless, quality=82, method=6)
    else:
        image.save(buffer, "PNG", optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
