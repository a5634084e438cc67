"""Both conventions against closed forms and published figures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ablate.measure import count_activations, saved_bytes


@pytest.mark.parametrize(
    ("network", "image_shape", "elements"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 9, 7), 8 * 9 * 7),
        (nn.Conv2d(6, 6, 3, groups=6, stride=2), (6, 9, 9), 6 * 4 * 4),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 5, 5), 6 * 10 * 10),
        (nn.Linear(4, 3), (1, 2, 4), 2 * 3),
        (nn.Linear(4, 3, bias=False), (1, 2, 4), 2 * 3),
        (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)), (3, 8, 8), 0),
    ],
    ids=["convolution", "depthwise", "transposed", "linear", "without bias", "neither"],
)
def test_elements_of_one_layer(network, image_shape, elements):
    assert count_activations(network, image_shape) == elements


class Attend(nn.Module):
    """(1, L, D) through one multi-head attention."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x[:, 0], x[:, 0], x[:, 0], need_weights=False)[0]


def test_attention_counts_its_projections_and_not_its_products():
    assert count_activations(Attend().eval(), (1, 5, 8)) == 5 * (3 * 8 + 8)


@pytest.mark.parametrize(("name", "millions"), [("resnet18", 2.48), ("vgg16", 13.56)])
def test_published_counts(name, millions):
    """timm's results/benchmark-infer tables at 224²."""
    models = pytest.importorskip("torchvision").models
    with torch.device("meta"):
        network = models.get_model(name)
    assert round(count_activations(network, (3, 224, 224)) / 1e6, 2) == millions


def test_a_vision_transformer_is_its_token_count_times_its_widths():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        vit = timm.create_model("vit_tiny_patch16_224")
    tokens, width, depth = 197, 192, 12
    expected = (tokens - 1) * width + depth * tokens * width * (3 + 1 + 4 + 1) + 1000
    assert count_activations(vit, (3, 224, 224)) == expected


def test_counting_leaves_the_network_alone():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    count_activations(network, (1, 6, 6))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(module.training for module in network.modules())


def test_bytes_saved_for_the_backward_pass():
    network = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    # the first layer keeps the images; the ReLU its output, which the second layer keeps as well
    assert saved_bytes(network, torch.rand(5, 16)) == 4 * 5 * (16 + 32)


def test_a_frozen_network_saves_nothing():
    network = nn.Sequential(nn.Linear(16, 32), nn.ReLU()).requires_grad_(False)
    assert saved_bytes(network, torch.rand(5, 16)) == 0
