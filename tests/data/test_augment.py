import numpy as np
import pytest
import torch
from scipy import stats
from torchvision import transforms
from torchvision.transforms import functional as TF

from ablate.data import Augmenter
from ablate.data.augment import CropFlip, Rotate

torch.set_num_threads(1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_batch(count=16, channels=3, height=12, width=10):
    return torch.rand(count, channels, height, width, generator=generator(1))


def cropped(image, crop, drawn):
    top, left, flip = (int(value) for value in drawn)
    image = TF.crop(TF.pad(image, [crop] * 4), top, left, *image.shape[-2:])
    return TF.hflip(image) if flip else image


@pytest.mark.parametrize(("crop", "flip"), [(4, True), (2, False), (0, True)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_crop_and_flip_are_torchvisions_for_the_same_parameters(crop, flip, channels):
    step, batch = CropFlip(crop, flip), random_batch(channels=channels)
    drawn = step.draw(len(batch), generator())
    theirs = torch.stack([cropped(image, crop, row) for image, row in zip(batch, drawn, strict=True)])
    assert torch.equal(step.apply(batch, drawn), theirs)


def test_corners_are_uniform_and_one_half_is_mirrored():
    drawn = CropFlip(3, True).draw(20_000, generator()).numpy()
    for column in (0, 1):
        counts = np.bincount(drawn[:, column].astype(int), minlength=7)
        assert len(counts) == 7
        assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.binomtest(int(drawn[:, 2].sum()), 20_000).pvalue > 1e-3
    corners = np.corrcoef(drawn.T)
    assert abs(corners[np.triu_indices(3, 1)]).max() < 0.03


@pytest.mark.parametrize("shape", [(12, 10), (32, 32), (7, 9), (1, 5)])
def test_rotation_is_torchvisions_for_the_same_angles(shape):
    step, batch = Rotate(180.0), random_batch(200, 2, *shape)
    drawn = step.draw(len(batch), generator())
    theirs = torch.stack([TF.rotate(image, float(row)) for image, row in zip(batch, drawn, strict=True)])
    # A pixel whose source lies within rounding error of the edge between two may go either way.
    assert (step.apply(batch, drawn) != theirs).float().mean() < 2e-4


def test_angles_are_uniform():
    drawn = Rotate(15.0).draw(20_000, generator())
    assert stats.kstest(drawn[:, 0].numpy(), stats.uniform(-15, 30).cdf).pvalue > 1e-3


def test_the_whole_chain_in_its_order_is_torchvisions_for_the_same_parameters(jitter_by_torchvision):
    augment, batch = Augmenter(crop=4, flip=True, jitter=0.4, rotate=15), random_batch(64, 3, 16, 16)
    crop_flip, jitter, angle = augment.draw(len(batch), generator())
    theirs = torch.stack([
        TF.rotate(jitter_by_torchvision(cropped(image, 4, crop_flip[row]), jitter[row]), float(angle[row]))
        for row, image in enumerate(batch)
    ])  # fmt: skip
    ours = augment.apply(batch, (crop_flip, jitter, angle))
    assert ((ours - theirs).abs() > 1e-5).float().mean() < 2e-4


def summaries(images):
    """Numbers that the steps move differently: means of channels, contrast, corners, sides and the middle."""
    flat = images.flatten(2)
    columns = [
        *flat.mean(2).unbind(1),
        flat.mean(1).std(1),
        (images[:, 0] - images[:, 2]).abs().mean((1, 2)),
        images[:, :, :3, :3].mean((1, 2, 3)),
        images[..., :6].mean((1, 2, 3)) - images[..., 6:].mean((1, 2, 3)),
        *images[:, :, 6, 5].unbind(1),
        images[:, 1, 2, 9],
    ]
    return torch.stack(columns, dim=1).numpy()


def smallest_p_value(ours, theirs):
    """Of Kolmogorov-Smirnov tests over the summaries, times their number (Bonferroni)."""
    pairs = zip(summaries(ours).T, summaries(theirs).T, strict=True)
    return min(stats.ks_2samp(one, other).pvalue for one, other in pairs) * summaries(ours).shape[1]


@pytest.fixture(scope="module")
def torchvision_draws():
    """One smooth image, 1,500 times through torchvision's transforms, each time alone."""
    torch.manual_seed(7)
    image = torch.nn.functional.interpolate(random_batch(1, 3, 4, 4), size=(12, 12), mode="bilinear")[0]
    chain = transforms.Compose([
        transforms.RandomCrop(12, padding=2),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(0.4, 0.4, 0.4, 0.1),
        transforms.RandomRotation(20),
    ])  # fmt: skip
    return image, torch.stack([chain(image) for _ in range(1500)])


def test_batches_equal_torchvisions_transforms_in_distribution(torchvision_draws):
    image, theirs = torchvision_draws
    batch = image.expand(3000, -1, -1, -1)
    ours = Augmenter(crop=2, flip=True, jitter=0.4, rotate=20)(batch, generator(3))
    assert smallest_p_value(ours, theirs) > 1e-3


@pytest.mark.parametrize(
    "other",
    [
        {"crop": 3, "flip": True, "jitter": 0.4, "rotate": 20},
        {"crop": 2, "flip": False, "jitter": 0.4, "rotate": 20},
        {"crop": 2, "flip": True, "jitter": 0.3, "rotate": 20},
        {"crop": 2, "flip": True, "jitter": 0.4, "rotate": 10},
    ],
)
def test_that_comparison_notices_other_settings(other, torchvision_draws):
    image, theirs = torchvision_draws
    ours = Augmenter(**other)(image.expand(3000, -1, -1, -1), generator(3))
    assert smallest_p_value(ours, theirs) < 1e-3


def test_the_generator_alone_decides_and_the_batch_is_left_as_it_was():
    augment, batch = Augmenter(crop=2, flip=True, jitter=0.3, rotate=10), random_batch()
    before = batch.clone()
    torch.manual_seed(0)
    one = augment(batch, generator(5))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(one, augment(batch, generator(5)))
    assert not torch.equal(one, augment(batch, generator(6)))
    assert torch.equal(batch, before)
    assert torch.equal(state, torch.get_rng_state())


def test_nothing_on_changes_nothing():
    batch = random_batch()
    assert torch.equal(Augmenter()(batch, generator()), batch)
    assert Augmenter().steps == ()


def test_a_transposed_view_is_augmented_like_a_contiguous_batch():
    augment, batch = Augmenter(crop=2, flip=True, jitter=0.3, rotate=10), random_batch()
    view = batch.contiguous(memory_format=torch.channels_last)
    assert torch.equal(augment(batch, generator(5)), augment(view, generator(5)))
