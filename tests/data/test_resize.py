import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from ablate.data.images import ImageArrays
from ablate.data.resize import resize_arrays, resize_image


@pytest.mark.parametrize("size", [(8, 8), (13, 9), (9, 14), (30, 7), (7, 31)])
@pytest.mark.parametrize("image_size", [5, 8, 16])
def test_resizing_is_torchvisions_resize_and_centre_crop(size, image_size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    theirs = transforms.CenterCrop(image_size)(transforms.Resize(image_size)(image))
    np.testing.assert_array_equal(np.asarray(resize_image(image, image_size)), np.asarray(theirs))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_are_resized_plane_by_plane(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 12, channels), dtype=np.uint8)
    labels = np.zeros(2, np.int64)
    resized = resize_arrays(ImageArrays(pixels, labels, pixels[:1], labels[:1], ("a", "b")), 6)
    assert resized.train.shape == (2, 6, 6, channels)
    for channel in range(channels):
        alone = resize_image(Image.fromarray(pixels[1, ..., channel]), 6)
        np.testing.assert_array_equal(resized.train[1, ..., channel], np.asarray(alone))
