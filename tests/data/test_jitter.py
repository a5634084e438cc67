from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import functional as TF

from ablate.data.jitter import Jitter, _apply_in_groups, _apply_to_all, shift_hue_
from ablate.errors import DataError

torch.set_num_threads(1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_batch(count=200, channels=3):
    """Random pixels; among them grey, black, white and fully saturated ones, where hue is a matter of
    cases."""
    batch = torch.rand(count, channels, 8, 8, generator=generator(1))
    batch[:, :, 0, :4] = batch[:, :1, 0, :4]
    batch[:, :, 1] = (batch[:, :, 1] > 0.5).float()
    batch[:, :, 2, 0], batch[:, :, 2, 1] = 0, 1
    return batch


@pytest.mark.parametrize("strength", [0.2, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_is_torchvisions_for_the_same_parameters(strength, channels, jitter_by_torchvision):
    step, batch = Jitter(strength), random_batch(channels=channels)
    drawn = step.draw(len(batch), generator())
    theirs = torch.stack([jitter_by_torchvision(image, row) for image, row in zip(batch, drawn, strict=True)])
    torch.testing.assert_close(step.apply(batch, drawn), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shift", [-0.5, -0.31, -1 / 6, 0.0, 0.05, 1 / 3, 0.5])
def test_hue_is_torchvisions(shift):
    batch = random_batch(20)
    theirs = TF.adjust_hue(batch, shift)
    torch.testing.assert_close(shift_hue_(batch.clone(), torch.full((20,), shift)), theirs, rtol=0, atol=2e-6)


def test_hue_turns_red_into_green_into_blue():
    red = torch.tensor([1.0, 0.25, 0.25]).view(1, 3, 1, 1)
    turned = [
        shift_hue_(red.clone(), torch.tensor([shift])).flatten().tolist() for shift in (1 / 3, -1 / 3, 1 / 6)
    ]
    np.testing.assert_allclose(turned, [[0.25, 1, 0.25], [0.25, 0.25, 1], [1, 1, 0.25]], atol=1e-6)


def test_both_ways_of_computing_agree():
    batch, drawn = random_batch(), Jitter(0.5).draw(200, generator())
    torch.testing.assert_close(
        _apply_to_all(batch.clone(), drawn), _apply_in_groups(batch, drawn), rtol=0, atol=1e-6
    )


def test_a_batch_whose_hue_falls_in_one_place_is_jittered_too(jitter_by_torchvision):
    batch, drawn = random_batch(3), Jitter(0.5).draw(3, generator())
    drawn[:, 10] = 2
    theirs = torch.stack([jitter_by_torchvision(image, row) for image, row in zip(batch, drawn, strict=True)])
    torch.testing.assert_close(Jitter(0.5).apply(batch, drawn), theirs, rtol=0, atol=1e-5)


def test_all_24_orders_are_equally_likely_and_factors_uniform_and_independent():
    drawn = Jitter(0.4).draw(24_000, generator()).numpy()
    names = np.where(drawn[:, 1:9:3] != 0, 1, np.where(drawn[:, 2:9:3] != 0, 2, 0))
    assert (np.sort(names, axis=1) == [0, 1, 2]).all()
    orders = Counter(zip(*names.T, drawn[:, 10], strict=True))
    assert len(orders) == 24
    assert stats.chisquare(list(orders.values())).pvalue > 1e-3
    for number in range(3):
        factors = drawn[:, 3 * number]
        assert stats.kstest(factors, stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3
        # What is taken from the pixel goes to the other, so the weights sum to 1 unless it is brightness.
        blended = names[:, number] != 0
        np.testing.assert_allclose(drawn[blended, 3 * number : 3 * number + 3].sum(1), 1, atol=1e-6)
    assert stats.kstest(drawn[:, 9], stats.uniform(-0.1, 0.2).cdf).pvalue > 1e-3
    together = np.corrcoef(drawn[:, [0, 3, 6, 9, 10]].T)
    assert abs(together[np.triu_indices(5, 1)]).max() < 0.03


def test_full_strength_reaches_black_and_no_negative_factor():
    drawn = Jitter(1.0).draw(5000, generator())
    factors = drawn[:, 0:9:3]
    assert (factors.min() >= 0, factors.max() <= 2) == (True, True)
    assert drawn[:, 9].abs().max() <= 0.25


def test_channels_without_a_colour_meaning_are_refused():
    with pytest.raises(DataError) as caught:
        Jitter(0.2).apply(torch.rand(2, 4, 3, 3), Jitter(0.2).draw(2, generator()))
    assert str(caught.value) == (
        "colour jitter needs images of 1 or 3 channels, these have 4; set data.augment.jitter to 0"
    )
