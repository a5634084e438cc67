"""The figures of a gate against closed forms, and the sentence that they lead to."""

from __future__ import annotations

import numpy as np
import pytest

from ablate.look.gates import class_means, gate_figures, kind_of, verdict

LABELS = np.arange(40, dtype=np.int64) % 4


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((8, 1, 1), "channel"),
        ((2, 8, 1, 1), "channel"),  # the shares of two branches
        ((1, 7, 7), "spatial"),
        ((8, 7, 1), "both"),  # a row's, for each channel
        ((4, 1, 7, 7), "both"),  # groups of channels
    ],
)
def test_the_kind_of_a_gate(shape, kind):
    assert kind_of(shape) == kind


def test_the_figures_of_a_gate_that_varies_in_a_known_way():
    """g(image n, channel c) = mean of c ± 0.1: each channel's sd over the images is 0.1."""
    means = np.array([0.2, 0.4, 0.6, 0.8])
    sign = np.where(np.arange(40) % 2 == 0, 1, -1)
    values = (means + 0.1 * sign[:, None]).astype(np.float32)[:, :, None, None]
    found = gate_figures(values, LABELS, start=values + 0.05, changed=7)
    assert found.mean == pytest.approx(0.5)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.9))
    assert found.over_images == pytest.approx(0.1 / 0.5, rel=1e-6)
    assert found.over_elements == pytest.approx(means.std() / 0.5, rel=1e-6)
    assert found.from_start == pytest.approx(0.05 / 0.5, rel=1e-5)
    # labels go 0, 1, 2, 3 and the sign with their parity: classes explain all of it
    assert found.between_classes == pytest.approx(1.0)
    assert found.by_chance == pytest.approx(3 / 39)
    assert verdict(found, "channel") == (
        "depends on its image",
        "depends on its image: it varies by 20 % of its mean 0.500 over 40 images, and by 45 % over the "
        "channels; 100 % of its variance over images lies between classes (7.7 % by chance); with its mean "
        "in its place 7 of 40 predictions change",
    )


def test_noise_lies_between_classes_as_far_as_chance_has_it():
    values = np.random.default_rng(0).normal(0.5, 0.1, (40, 5000)).astype(np.float32)
    found = gate_figures(values[:, :, None, None], LABELS)
    assert found.between_classes == pytest.approx(3 / 39, rel=0.02)


def said(values, kind="channel", **more):
    static = more.pop("static", False)
    return verdict(gate_figures(values.astype(np.float32), LABELS, **more), kind, static=static)


def test_a_gate_that_is_one_number_learned_nothing():
    assert said(np.full((40, 8, 1, 1), 0.5)) == (
        "constant",
        "learned nothing: 0.500 everywhere; it varies by 0.0 % of its mean 0.500 over 40 images and by 0.0 % "
        "over the channels (under 1 % counts as constant)",
    )
    half = np.full((40, 8, 1, 1), 0.5, np.float32)
    assert "0.500 everywhere, as before training;" in said(half, start=half)[1]


@pytest.mark.parametrize(
    ("spread", "verdict_of_it"), [(0.0049, "constant"), (0.0051, "depends on its image")]
)
def test_one_percent_of_the_mean_is_the_limit(spread, verdict_of_it):
    sign = np.where(np.arange(40) % 2 == 0, 1, -1)[:, None, None, None]
    assert said(0.5 + spread * sign * np.ones((40, 8, 1, 1)))[0] == verdict_of_it


def test_a_fixed_weighting_is_not_called_attention_nor_nothing():
    fixed = np.broadcast_to(np.linspace(0.1, 0.9, 8)[None, :, None, None], (40, 8, 1, 1))
    found, sentence = said(fixed)
    assert found == "the same for every image"
    assert sentence.startswith("does not look at its image: it varies by 0.0 %")
    assert sentence.endswith("but by 52 % over the channels: a fixed weighting")


def test_one_that_its_first_weights_give_as_well_learned_nothing():
    values = np.random.default_rng(0).uniform(0.2, 0.8, (40, 8, 1, 1))
    found, sentence = said(values, start=(values + 0.001).astype(np.float32))
    assert found == "as it began"
    assert sentence.startswith(
        "learned nothing: on the same maps the weights that it began with give the same gate to within 0.2 %"
    )
    assert said(values, start=(values + 0.1).astype(np.float32))[0] == "depends on its image"


def test_a_static_gate_is_no_fault_but_one_that_never_moved_is():
    fixed = np.broadcast_to(np.linspace(0.1, 0.9, 8)[None, :, None, None], (40, 8, 1, 1))
    half = np.full((40, 8, 1, 1), 0.5, np.float32)
    assert said(fixed, static=True, start=half)[0] == "static"
    assert said(half, static=True, start=half) == (
        "as it began",
        "learned nothing: still the 0.500 that it began with",
    )


def test_a_gate_that_is_shut_divides_by_nothing():
    assert said(np.zeros((40, 8, 1, 1)))[0] == "constant"


def test_the_mean_of_a_class_without_images_is_no_number():
    values = np.arange(8, dtype=np.float32).reshape(4, 2, 1, 1)
    means = class_means(values, np.array([0, 0, 2, 2]), 3)
    assert means[0].ravel().tolist() == [1, 2]
    assert means[2].ravel().tolist() == [5, 6]
    assert np.isnan(means[1]).all()
