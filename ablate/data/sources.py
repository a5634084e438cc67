"""Where images come from, by the name in `data.source`.

A source takes the root folder (or None) and returns a `Reading`. `package.module:function` names one of the
user's own: see `ablate.data.imported`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.cache import cache_folder
from ablate.data.folder import file_states, image_folder
from ablate.data.images import Allocate, ImageArrays, Reading, check_arrays
from ablate.data.resize import resize_arrays
from ablate.data.splits import split
from ablate.errors import DataError

DIGITS_TEST_COUNT = 360
FASHION_MINI = Path(__file__).with_name("fashion_mini.npz")
_SILENCE_S = 30.0  # of a server, before a download counts as failed


def digits(root: Path | None) -> Reading:
    """scikit-learn's 1,797 handwritten digits, 8x8 grey: 1,437 to train and 360 to test, stratified, always
    the same.

    Values 0..16 are spread over 0..255 and rounded. E. Alpaydin, C. Kaynak, UCI repository, 1998.
    """

    def read() -> ImageArrays:
        from sklearn.datasets import load_digits  # takes a second to import

        bunch = load_digits()
        images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
        labels = bunch.target.astype(np.int64)
        parts = split(labels, validation=DIGITS_TEST_COUNT / len(labels), seed=0)
        train, test = parts.train, parts.validation
        return check_arrays("digits", images[train], labels[train], images[test], labels[test])

    return Reading((importlib.metadata.version("scikit-learn"),), _from_arrays(read))


def fashion_mini(root: Path | None) -> Reading:
    """6,000 training and 2,000 test images of Fashion-MNIST, 28x28 grey, shipped with ablate.

    Drawn by scripts/make_fashion_mini.py, equally many of each class, train from train and test from test.
    MIT licence: fashion_mini.LICENSE. H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747.
    """

    def read() -> ImageArrays:
        with np.load(FASHION_MINI, allow_pickle=False) as file:
            names = ("train_images", "train_labels", "test_images", "test_labels", "classes")
            return check_arrays("fashion-mini", *(file[name] for name in names))

    return Reading((hashlib.sha256(FASHION_MINI.read_bytes()).hexdigest(),), _from_arrays(read))


def fashion_mnist(root: Path | None) -> Reading:
    """Fashion-MNIST: 60,000 training and 10,000 test images, 28x28 grey."""
    needed = "the four unpacked files {train,t10k}-{images-idx3,labels-idx1}-ubyte"
    return _from_torchvision("fashion-mnist", "FashionMNIST", "FashionMNIST/raw", needed, root)


def cifar10(root: Path | None) -> Reading:
    """CIFAR-10: 50,000 training and 10,000 test images, 32x32 colour (A. Krizhevsky, 2009)."""
    needed = "the files of cifar-10-python.tar.gz, unpacked (data_batch_1 ... test_batch, batches.meta)"
    return _from_torchvision("cifar10", "CIFAR10", "cifar-10-batches-py", needed, root)


def cifar100(root: Path | None) -> Reading:
    """CIFAR-100: 50,000 training and 10,000 test images, 32x32 colour, 100 classes (A. Krizhevsky, 2009)."""
    needed = "the files of cifar-100-python.tar.gz, unpacked (train, test, meta)"
    return _from_torchvision("cifar100", "CIFAR100", "cifar-100-python", needed, root)


SOURCES: dict[str, Callable[[Path | None], Reading]] = {
    "digits": digits,
    "fashion-mini": fashion_mini,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "image-folder": image_folder,
}


def _from_arrays(read: Callable[[], ImageArrays]) -> Callable[[int | None, Allocate], ImageArrays]:
    def decode(image_size: int | None, allocate: Allocate) -> ImageArrays:
        return resize_arrays(read(), image_size)

    return decode


def _from_torchvision(source: str, dataset: str, folder: str, needed: str, root: Path | None) -> Reading:
    """torchvision's `dataset`, downloaded into `root` (default: the cache) where it is not there already."""
    root = cache_folder() / "downloads" if root is None else root
    place = f"{source}: put {needed} into {root / folder}, or set data.root to the folder that holds {folder}"

    def parts(download: bool) -> list[Any]:
        from ablate.environment import require_torchvision

        require_torchvision()
        from torchvision import datasets

        with _impatient_sockets():
            try:
                return [
                    getattr(datasets, dataset)(root, train=train, download=download)
                    for train in (True, False)
                ]
            except (RuntimeError, OSError) as error:  # torchvision's own, and what urllib raises
                what = "cannot be downloaded" if download else f"in {root / folder} cannot be used"
                raise DataError(f"{source} {what} ({_first_line(error)})\n  {place}") from error

    def read() -> ImageArrays:
        train, test = parts(download=False)
        return check_arrays(
            source, *(np.asarray(values) for part in (train, test) for values in (part.data, part.targets)),
            train.classes,
        )  # fmt: skip

    if not _holds_dataset(root / folder):
        parts(download=True)
    return Reading((str(root.resolve()), *file_states(root / folder)), _from_arrays(read))


def _holds_dataset(folder: Path) -> bool:
    """Whether anything but archives lies there: torchvision unpacks archives when it is asked to download."""
    return folder.is_dir() and any(path.is_file() and path.suffix != ".gz" for path in folder.iterdir())


@contextmanager
def _impatient_sockets() -> Iterator[None]:
    """urllib, with which torchvision downloads, otherwise waits for ever where packets are dropped."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
