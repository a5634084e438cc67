"""One rule for every source: shorter side to `image_size`, antialiased bilinear, then the central square.

The same as torchvision's Resize(image_size) followed by CenterCrop(image_size) on PIL images.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from ablate.data.images import ImageArrays


def resize_image(image: Image.Image, image_size: int) -> Image.Image:
    """`image` as image_size x image_size pixels, in its own mode."""
    width, height = image.size
    if (width, height) == (image_size, image_size):
        return image
    short, long = min(width, height), max(width, height)
    longer = int(image_size * long / short)
    width, height = (image_size, longer) if width <= height else (longer, image_size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)  # Pillow antialiases when it shrinks
    left, top = round((width - image_size) / 2), round((height - image_size) / 2)
    return image.crop((left, top, left + image_size, top + image_size))


def resize_arrays(arrays: ImageArrays, image_size: int | None) -> ImageArrays:
    """The same images at image_size x image_size; unchanged when that is None."""
    if image_size is None:
        return arrays
    train, test = (_resize_all(images, image_size) for images in (arrays.train, arrays.test))
    return ImageArrays(train, arrays.train_labels, test, arrays.test_labels, arrays.classes)


def _resize_all(images: np.ndarray, image_size: int) -> np.ndarray:
    count, height, width, channels = images.shape
    if height == width == image_size:
        return images
    resized = np.empty((count, image_size, image_size, channels), np.uint8)
    for row, image in enumerate(images):
        if channels == 3:
            resized[row] = np.asarray(resize_image(Image.fromarray(image), image_size))
        else:
            for channel in range(channels):
                plane = Image.fromarray(np.ascontiguousarray(image[..., channel]))
                resized[row, ..., channel] = np.asarray(resize_image(plane, image_size))
    return resized
