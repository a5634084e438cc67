import warnings

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ablate.data import Augmenter, Batches, jitter
from ablate.data import batches as module

torch.set_num_threads(1)
MEAN, STD = [0.3, 0.5, 0.6], [0.2, 0.25, 0.3]


@pytest.fixture
def images():
    """50 images of 6x5; the first channel of image n is n everywhere, and so is its label."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
    pixels[..., 0] = np.arange(50)[:, None, None]
    return pixels


def make(images, indices=None, **options):
    indices = np.arange(0, 50, 2) if indices is None else indices
    settings = {"batch_size": 8, "mean": MEAN, "std": STD, "device": "cpu"} | options
    return Batches(images, np.arange(50), indices, **settings)


def all_of(batches, epoch=0):
    x, y = zip(*batches.epoch(epoch), strict=True)
    return torch.cat(x), torch.cat(y)


def test_without_a_seed_batches_keep_the_order_and_the_last_partial_one(images):
    batches = make(images)
    assert (batches.count, len(batches)) == (25, 4)
    assert [len(y) for _, y in batches.epoch(0)] == [8, 8, 8, 1]
    x, y = all_of(batches)
    assert y.tolist() == list(range(0, 50, 2))
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    expected = (images[::2] / 255 - MEAN) / STD
    np.testing.assert_allclose(x.numpy(), expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-5)


def test_each_epoch_is_another_permutation_and_labels_follow_their_images(images):
    batches = make(images, order_generator_seed=3)
    orders = [all_of(batches, epoch) for epoch in range(3)]
    for x, y in orders:
        assert sorted(y.tolist()) == list(range(0, 50, 2))
        first = (x[:, 0, 0, 0] * STD[0] + MEAN[0]) * 255
        assert first.round().long().tolist() == y.tolist()
    assert len({tuple(y.tolist()) for _, y in orders}) == 3


def test_every_place_in_an_epoch_is_equally_likely(images):
    batches = make(images, np.arange(4), order_generator_seed=0, batch_size=4)
    counts = np.zeros((4, 4))
    for epoch in range(800):
        ((_, y),) = batches.epoch(epoch)
        counts[np.arange(4), y.numpy()] += 1
    # Binomial, n = 800, p = 1/4: standard deviation 12.2.
    assert abs(counts - 200).max() < 5 * 12.2


def test_an_epoch_depends_on_seed_and_epoch_alone_so_resuming_is_exact(images):
    options = {"order_generator_seed": 1, "augment": Augmenter(2, True, 0.2, 15), "augment_seed": 2}
    straight = make(images, **options)
    for epoch in range(4):
        last = all_of(straight, epoch)
    torch.manual_seed(123)
    resumed = all_of(make(images, **options), 3)
    assert torch.equal(last[0], resumed[0])
    assert torch.equal(last[1], resumed[1])
    for change in ({"order_generator_seed": 5}, {"augment_seed": 5}):
        assert not torch.equal(all_of(make(images, **(options | change)), 3)[0], resumed[0])


def test_order_does_not_depend_on_augmentation(images):
    plain = all_of(make(images, order_generator_seed=1), 2)[1]
    augmented = all_of(make(images, order_generator_seed=1, augment=Augmenter(1), augment_seed=9), 2)[1]
    assert torch.equal(plain, augmented)


def test_the_order_is_pinned(images):
    # It may never change without raising the number of the training code.
    assert all_of(make(images, order_generator_seed=0), 1)[1][:8].tolist() == [28, 46, 14, 26, 12, 22, 42, 4]


def test_augmentation_precedes_normalisation_by_the_given_statistics(images):
    augment = Augmenter(crop=2, flip=True, rotate=30)
    x, y = all_of(make(images, augment=augment, augment_seed=4))
    raw = torch.from_numpy(images[y.numpy()]).permute(0, 3, 1, 2) / 255
    (x_again, _) = zip(
        *make(images, augment=augment, augment_seed=4, mean=[0] * 3, std=[1] * 3).epoch(0), strict=True
    )
    unnormalised = torch.cat(x_again)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    torch.testing.assert_close(x, (unnormalised - mean) / std)
    # What is outside the image is black before normalisation, and the rest are pixels of that very image.
    for ours, original in zip(unnormalised[:, 1], raw[:, 1], strict=True):
        assert set(ours.flatten().tolist()) <= {0.0, *original.flatten().tolist()}


def test_batch_size_changes_neither_order_nor_augmentation(images):
    options = {"order_generator_seed": 1, "augment": Augmenter(2, True, 0.2, 15), "augment_seed": 2}
    one, other = all_of(make(images, **options), 1), all_of(make(images, batch_size=7, **options), 1)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("augment", [None, Augmenter(2, True, 0.2, 15)])
def test_channels_last_changes_the_layout_and_no_value(images, augment):
    options = {"augment": augment, "augment_seed": 0}
    plain, last = make(images, **options), make(images, channels_last=True, **options)
    for (one, _), (other, _) in zip(plain.epoch(0), last.epoch(0), strict=True):
        assert one.is_contiguous()
        assert other.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(one, other.contiguous())


@pytest.mark.parametrize("augment", [None, Augmenter(2, True, 0.2, 15)])
def test_images_that_stay_on_the_device_give_the_same_batches(images, augment, monkeypatch):
    options = {"augment": augment, "augment_seed": 0, "order_generator_seed": 1}
    streamed = all_of(make(images, **options), 1)
    monkeypatch.setattr(module, "_fits", lambda device, needed: needed == 25 * 6 * 5 * 3)
    resident = make(images, **options)
    images[:] = 0
    kept = all_of(resident, 1)
    assert torch.equal(streamed[0], kept[0])
    assert torch.equal(streamed[1], kept[1])


def test_read_only_memory_maps_are_streamed_without_a_warning(images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x, _ = all_of(make(mapped))
    assert torch.equal(x, all_of(make(images))[0])


def test_a_constant_channel_becomes_zero(images):
    images[..., 1] = 255
    x, _ = all_of(make(images, mean=[0.3, 1.0, 0.6], std=[0.2, 0.0, 0.3]))
    assert x[:, 1].abs().max() < 1e-6


def test_augmentation_without_a_seed_is_refused(images):
    with pytest.raises(ValueError, match="augment needs augment_seed"):
        make(images, augment=Augmenter(2))


AUGMENTATION = {"crop": 1, "flip": True, "jitter": 0.4, "rotate": 20}


def augmented(images, **options):
    chosen = {"augment": Augmenter(**AUGMENTATION), "augment_seed": 5, "order_generator_seed": 3, **options}
    return make(images, np.arange(50), **chosen)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """The jitter as it runs where the host must not know which image takes which turn."""
    monkeypatch.setattr(
        jitter, "_apply_in_groups", lambda batch, drawn: jitter._apply_to_all(batch.clone(), drawn)
    )


@pytest.mark.parametrize("channels_last", [False, True])
def test_what_becomes_of_an_image_does_not_depend_on_its_company(
    monkeypatch, images, as_on_a_gpu, channels_last
):
    alone = list(augmented(images, channels_last=channels_last).epoch(2))
    monkeypatch.setattr(Batches, "_ahead", lambda self: 4)
    for first in range(7):
        ahead = list(augmented(images, channels_last=channels_last).epoch(2, first))
        assert len(ahead) == 7 - first
        for (x, y), (expected_x, expected_y) in zip(ahead, alone[first:], strict=True):
            assert torch.equal(x, expected_x) and torch.equal(y, expected_y)
            assert x.stride() == expected_x.stride()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nor_does_it_on_a_gpu(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    options = {"device": "cuda", "batch_size": 16}
    ahead = list(augmented(images, **options).epoch(0))
    monkeypatch.setattr(Batches, "_ahead", lambda self: 1)
    alone = list(augmented(images, **options).epoch(0))
    assert all(
        torch.equal(*pair)
        for several in zip(ahead, alone, strict=True)
        for pair in zip(*several, strict=True)
    )


def test_a_gpu_prepares_several_batches_in_one_go_and_a_small_last_one_by_itself(images):
    batches = make(images, np.arange(50), batch_size=16)
    assert list(batches._stretches(0)) == [(0, 16), (16, 32), (32, 48), (48, 50)]
    batches.device = torch.device("cuda")  # 16 images of 6×5×3 floats: 5,760 of 2²⁴ bytes
    assert batches._ahead() == 2**24 // 5760
    assert list(batches._stretches(0)) == [(0, 48), (48, 50)]
    assert list(batches._stretches(2)) == [(32, 48), (48, 50)]
    assert list(batches._stretches(3)) == [(48, 50)]
    few = make(images, np.arange(50), batch_size=8)
    few.device = torch.device("cuda")
    assert few._ahead() == 1, "sums over so few images would take another order"


class HostReads(TorchDispatchMode):
    """Operators for whose result the host would have to wait for a GPU."""

    WAITING = ("_local_scalar_dense", "nonzero", "item", "equal", "unique")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.found += [name] if name.startswith(self.WAITING) else []
        return function(*args, **(kwargs or {}))


def test_no_batch_makes_the_host_wait(images, as_on_a_gpu):
    with HostReads() as reads:
        list(augmented(images).epoch(0))
    assert reads.found == []
    with HostReads() as reads:
        float(torch.ones(1))
    assert reads.found, "the test can fail"


@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize(("batch_size", "sizes"), [(8, {8: [1, 4, 6], 2: [0]}), (9, {9: [3], 5: [0, 1, 2]})])
def test_a_share_is_rows_of_every_whole_batch(monkeypatch, images, batch_size, sizes, ahead):
    """The share of the small last batch may be larger than that of the others."""
    whole = list(augmented(images, batch_size=batch_size).epoch(1))
    monkeypatch.setattr(Batches, "_ahead", lambda self: ahead)
    shared = augmented(images, batch_size=batch_size, share=lambda count: np.array(sizes[count]))
    assert (shared.count, len(shared)) == (50, len(whole))
    for first in range(len(whole) + 1):
        found = list(shared.epoch(1, first))
        assert len(found) == len(whole) - first
        for (x, y), (all_x, all_y) in zip(found, whole[first:], strict=True):
            rows = sizes[len(all_y)]
            assert torch.equal(y, all_y[rows])
            torch.testing.assert_close(x, all_x[rows], rtol=1e-6, atol=1e-6)
