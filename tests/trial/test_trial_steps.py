"""What one training step takes."""

import numpy as np

from ablate.data import load_images
from ablate.trial import measured_step

SE = {"attention": {"name": "se", "args": {"reduction": 4}, "at": ["block*.relu"]}}


def test_one_step_of_a_recipe_of_stages_is_measured(cache, settings, stages):
    chosen = settings(train=stages | {"gradient_checkpointing": True, "accumulate": 2}, **SE)
    assert measured_step(chosen, load_images("digits", cache=cache), "cpu", steps=2) > 0


def test_one_step_is_measured_even_where_an_epoch_has_one(cache, settings):
    digits = load_images("digits", cache=cache)
    for batch_size in (32, 5000):
        seconds = measured_step(settings(train={"batch_size": batch_size}), digits, "cpu", steps=2)
        assert np.isfinite(seconds) and seconds > 0
