"""The figures say what they show: labels, titles, colours' ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ablate.look import draw
from ablate.look.gates import gate_figures
from ablate.look.rows import CamRow, GateRow, ImageRow, LayerRow, Look, Prediction, TrialLook
from ablate.look.thumbs import coloured, heat, photo, shrunk, sprite, unit

PIXELS = np.zeros((8, 8, 1), np.uint8)
MAPS = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)


@pytest.fixture
def trial():
    layer = LayerRow(
        "block1", (9, 4, 4), (7, 2, 5), MAPS, np.array([[8, 1], [0, 3]]), MAPS[:, :2, 0, 0], MAPS[:, :2]
    )
    return TrialLook(
        variant="se",
        seed=3,
        trial="0" * 16,
        accuracy=50.0,
        predictions=(Prediction(0, 0.914, 0.914), Prediction(0, 0.62, 0.07)),
        layers=(layer,),
        cam=CamRow("block3", MAPS[:, 0], MAPS[:, 1]),
    )


@pytest.fixture
def look(trial):
    images = (ImageRow(5, 0, PIXELS), ImageRow(9, 1, PIXELS))
    return Look("s", "", "se", ("coat", "$hoe$"), images, "drawn", (trial,), ("block1",))


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_feature_maps_are_labelled_by_image_layer_and_channel(look, trial):
    figure = draw.draw_features(look, trial, trial.layers[0])
    said = texts(figure)
    assert said[0] == "block1 of se, seed 3" and said[1].startswith("9×4×4; the 3 channels")
    assert [one for one in said if one.startswith("channel")] == ["channel 7", "channel 2", "channel 5"]
    assert said[3:] and "true coat\npredicted coat 91 %" in said and "true $hoe$\npredicted coat 62 %" in said
    images = figure.axes[0].images
    assert len(images) == 2 * 4
    for column in range(3):  # one scale a channel, over the images
        ends = {images[at].get_clim() for at in (2 + 2 * column, 3 + 2 * column)}
        assert ends == {(float(MAPS[:, column].min()), float(MAPS[:, column].max()))}


def test_the_strongest_channels_of_each_image_by_number(look, trial):
    said = texts(draw.draw_top_channels(look, trial, trial.layers[0]))
    assert [one for one in said if one.isdigit()] == ["8", "0", "1", "3"]


def test_class_activation_names_both_classes_with_their_probabilities(look, trial):
    said = texts(draw.draw_cam(look, [trial, replace(trial, cam=None)]))
    said = [one for one in said if one.endswith(" %")]
    assert said == ["coat 91 %", "coat 62 %", "coat 91 %", "$hoe$ 7 %"]


def channel_gate(class_means):
    values = np.full((4, 3, 1, 1), 0.5, np.float32)
    return GateRow(
        place="block1",
        name="gate",
        kind="channel",
        shape=(3, 1, 1),
        figures=gate_figures(values, np.array([0, 1, 0, 1])),
        verdict="constant",
        sentence="learned nothing",
        element_mean=values[0],
        element_std=np.zeros_like(values[0]),
        class_means=class_means,
        maps=None,
        weights=values[:, :, 0, 0],
    )


def test_rounding_is_no_picture_of_classes():
    means = np.full((2, 3, 1, 1), 0.5, np.float32)
    means[0, 1] += 6e-8
    apart, end = draw.class_contrast(channel_gate(means))
    assert end == pytest.approx(0.005) and abs(apart).max() < 1e-6
    means[0, 1] += 0.2
    apart, end = draw.class_contrast(channel_gate(means))
    assert end == pytest.approx(0.1) and apart[0, 1] == pytest.approx(0.1)
    assert channel_gate(means).label == "block1, gate"
    assert replace(channel_gate(means), name="spatial").label == "block1, spatial gate"


def test_a_figure_of_a_gate_names_its_classes(look, trial):
    means = np.full((2, 3, 1, 1), np.nan, np.float32)
    means[0] = 0.5  # no image of the other class was in the sample
    figure = draw.draw_gates(look, replace(trial, gates=(channel_gate(means),)))
    assert figure.axes[0].get_title(loc="left") == "block1, gate (3): constant"
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["coat", "$hoe$"]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_images_of_any_number_of_channels_are_pictures(channels):
    assert photo(np.zeros((200, 90, channels), np.uint8)).startswith("data:image/")


def test_maps_become_pictures_of_at_most_a_thumbnails_size():
    large = np.arange(56 * 28, dtype=np.float32).reshape(56, 28)
    assert shrunk(large).shape == (32, 16)
    assert shrunk(large).mean() == pytest.approx(large.mean(), rel=1e-2)
    assert unit(large, 0, 56 * 28 - 1).max() == 1
    assert (unit(large, 3, 3) == 0).all()
    assert coloured(np.array([[0.0, 1.0, np.nan, 7.0]]), "viridis").tolist()[0][1] == [253, 231, 37]
    for address in (heat(unit(large, 0, 9)), sprite(np.stack([large, large]))):
        assert address.startswith("data:image/") and len(address) < 9000
