import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Before torch is imported: two threads on a shared machine are slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def write_folder(tmp_path):
    """write_folder(name, {"train/cat": [array or Image, ...]}, suffix) -> root of an image folder."""

    def write(name, parts, suffix=".png", **options) -> Path:
        for folder, images in parts.items():
            (tmp_path / name / folder).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(images):
                image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
                image.save(tmp_path / name / folder / f"{number:03d}{suffix}", **options)
        return tmp_path / name

    return write


@pytest.fixture
def colour_parts():
    """Random 6x5 colour images: three to train and two to test, of cats and dogs."""
    generator = np.random.default_rng(0)
    return {
        f"{part}/{name}": list(generator.integers(0, 256, (count, 6, 5, 3), dtype=np.uint8))
        for part, count in (("train", 3), ("test", 2))
        for name in ("cat", "dog")
    }


@pytest.fixture
def jitter_by_torchvision():
    """(image [C, H, W], row of `Jitter.draw`) -> the image after torchvision's four adjustments in that
    order."""
    from torchvision.transforms import functional

    def adjust(image, drawn):
        for number in range(4):
            if int(drawn[10]) == number:
                image = functional.adjust_hue(image, float(drawn[9]))
            if number == 3:
                return image
            factor, mean, grey = (float(value) for value in drawn[3 * number : 3 * number + 3])
            if mean:
                image = functional.adjust_contrast(image, factor)
            elif grey:
                image = functional.adjust_saturation(image, factor)
            else:
                image = functional.adjust_brightness(image, factor)

    return adjust
