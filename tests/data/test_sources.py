import hashlib
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ablate.data.load import load_images
from ablate.data.sources import FASHION_MINI, SOURCES
from ablate.errors import DataError
from ablate.spec import catalogue

ORIGINALS = Path("/usr/share/datasets/fashion-mnist")


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_fashion_mini_is_the_drawn_and_balanced_set():
    images = load_images("fashion-mini")
    assert images.shape == (1, 28, 28)
    assert images.train.shape == (6000, 28, 28, 1)
    assert images.test.shape == (2000, 28, 28, 1)
    assert np.bincount(images.train_labels).tolist() == [600] * 10
    assert np.bincount(images.test_labels).tolist() == [200] * 10
    assert images.classes[0] == "T-shirt/top"
    assert images.classes[9] == "Ankle boot"
    assert images.duplicate_count == 0
    assert sha256(images.train) == "0f3897345239e9efa0e331ee9ab05d31bb541aee0e89fcecaeefdd856c06c2d6"
    assert sha256(images.test) == "5d1a4f8706ebd7a40389cea9cfdd9226cfd3a3e052be0b83bf6b9b5d220bea2c"
    assert images.fingerprint == "fbe74f1c49f87c1606b578fb18c862b2ece6562388d37c2b90eb4695f69f4f44"


def test_fashion_mini_ships_as_one_small_file_with_its_licence():
    assert FASHION_MINI.stat().st_size <= 5_000_000
    licence = FASHION_MINI.with_suffix(".LICENSE").read_text()
    assert "Zalando SE" in licence
    assert "without restriction" in licence


@pytest.mark.skipif(not ORIGINALS.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_script_draws_what_is_shipped():
    path = Path(__file__).parents[2] / "scripts" / "make_fashion_mini.py"
    specification = importlib.util.spec_from_file_location("make_fashion_mini", path)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    drawn = script.draw(ORIGINALS)
    with np.load(FASHION_MINI, allow_pickle=False) as shipped:
        assert set(shipped) == set(drawn)
        for name, values in drawn.items():
            np.testing.assert_array_equal(shipped[name], values)


def test_digits_are_scaled_stratified_and_split_always_alike():
    images = load_images("digits")
    bunch = load_digits()
    assert (len(images.train), len(images.test)) == (1437, 360)
    shares = np.bincount(images.test_labels) / np.bincount(bunch.target)
    assert np.all(abs(shares - 0.2) < 0.01)
    # 16 becomes 255, and scaling back gives scikit-learn's own values, each image once.
    both = np.concatenate((images.train, images.test)).reshape(-1, 64)
    back = np.rint(both * (16 / 255)).astype(np.uint8)
    assert both.max() == 255
    assert sorted(map(bytes, back)) == sorted(map(bytes, bunch.data.astype(np.uint8)))
    assert sha256(images.test_labels) == "8616eece43bfbb4b3e67812f37f896ea5eb048d43cababc60538c30188464c31"


def test_every_source_of_the_catalogue_exists_and_the_other_way_round():
    assert set(SOURCES) == set(catalogue.SOURCES)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(header + array.tobytes())


def test_fashion_mnist_reads_the_four_files_where_torchvision_keeps_them(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    pixels = {}
    for prefix, count in (("train", 20), ("t10k", 10)):
        pixels[prefix] = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(raw / f"{prefix}-images-idx3-ubyte", pixels[prefix])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)
    images = load_images("fashion-mnist", root=str(tmp_path))
    np.testing.assert_array_equal(images.train[..., 0], pixels["train"])
    np.testing.assert_array_equal(images.test[..., 0], pixels["t10k"])
    assert images.train_labels.tolist() == list(range(10)) * 2
    assert images.classes[7] == "Sneaker"


def test_cifar10_reads_an_unpacked_archive(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    contents = {
        "data_batch_1": {"data": pixels[:10].reshape(10, -1), "labels": list(range(10))},
        "test_batch": {"data": pixels[10:].reshape(10, -1), "labels": list(range(10))},
        "batches.meta": {"label_names": [f"class {number}" for number in range(10)]},
    }
    checksums = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        checksums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", checksums["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", checksums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": checksums["batches.meta"]})
    images = load_images("cifar10", root=str(tmp_path))
    np.testing.assert_array_equal(images.train, pixels[:10].transpose(0, 2, 3, 1))
    assert images.shape == (3, 32, 32)
    assert images.classes[3] == "class 3"

    (folder / "test_batch").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"cifar10 in .*cifar-10-batches-py cannot be used"):
        load_images("cifar10", root=str(tmp_path))


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        ("fashion-mnist", "FashionMNIST/raw"),
        ("cifar10", "cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
    ],
)
def test_without_a_network_the_error_says_what_to_put_where(source, folder, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(DataError) as caught:
        load_images(source, root=str(tmp_path))
    message = str(caught.value)
    assert message.startswith(f"{source} cannot be downloaded (")
    assert f"into {tmp_path / folder}, or set data.root to the folder that holds {folder}" in message


def test_an_unknown_source_names_the_nearest_and_all_others():
    with pytest.raises(DataError) as caught:
        load_images("fashion-mni")
    assert str(caught.value) == (
        "data.source: 'fashion-mni' is unknown; did you mean 'fashion-mini'?\n"
        "    allowed: digits, fashion-mini, fashion-mnist, cifar10, cifar100, image-folder, "
        "package.module:function"
    )
