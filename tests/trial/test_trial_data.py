"""The images of a trial."""

import pytest
import torch

from ablate.data import load_images
from ablate.seeds import derive_seed
from ablate.trial import TrialData, make_recipe


def test_the_split_is_the_studys_unless_it_is_to_differ_by_seed(cache, settings):
    digits = load_images("digits", cache=cache)

    def rows_of(seed, **data):
        chosen = settings(data=data)
        return TrialData.prepare(
            chosen, seed, make_recipe(chosen, "cpu"), "cpu", digits
        ).split.validation.tolist()

    assert rows_of(0) == rows_of(1) != rows_of(0, split_seed=1)
    assert (
        rows_of(0, split="per-seed")
        != rows_of(1, split="per-seed")
        == rows_of(1, split="per-seed", split_seed=9)
    )
    assert rows_of(3, split="per-seed") == rows_of(0, split_seed=derive_seed(3, "split"))


def test_the_statistics_are_those_of_the_training_part_alone(cache, settings):
    digits = load_images("digits", cache=cache)
    chosen = settings(data={"fraction": 0.2})
    data = TrialData.prepare(chosen, 0, make_recipe(chosen, "cpu"), "cpu", digits)
    pixels = digits.train[data.split.train] / 255
    assert (data.mean[0], data.std[0]) == pytest.approx((pixels.mean(), pixels.std()))
    seen = torch.cat([x for x, _ in data.plain_batches(data.split.train).epoch(0)])
    assert (seen.mean().item(), seen.std(correction=0).item()) == pytest.approx((0, 1), abs=1e-5)
