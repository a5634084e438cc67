"""Which layers are shown, and what is said of those that are not there."""

from __future__ import annotations

import pytest
import torch

from ablate.look.errors import LookError
from ablate.look.layers import MAX_DEFAULT, cam_layer, choose_layers, last_maps, modules_by_name

SHAPE = (1, 16, 16)


def test_by_default_the_places_of_attention_in_any_variant(make_network):
    networks = {
        "baseline": make_network(None),
        "se": make_network("se", ("block2",)),
        "both": make_network("se", ("block1", "block3")),
    }
    found = choose_layers(networks, (), SHAPE)
    assert found == dict.fromkeys(networks, ("block2", "block1", "block3"))


def test_without_attention_the_last_map_of_each_size(make_network):
    network = make_network(None)
    sizes = last_maps(network, SHAPE)
    assert sizes == {
        (16, 16): "block1.relu",
        (8, 8): "block2.relu",
        (4, 4): "block3.relu",
        (2, 2): "block3",
    }
    assert choose_layers({"baseline": network}, (), SHAPE)["baseline"] == tuple(sizes.values())


def test_a_pool_that_repeats_one_position_is_no_place_for_class_activation(make_network):
    """VGG16 at 32×32 ends in 1×1, which torchvision's adaptive pool blows up to 7×7."""
    shape = (3, 32, 32)
    with torch.device("meta"):
        network = make_network(None, backbone="torchvision:vgg16", shape=shape)
    assert cam_layer(network, shape) == "features.29"
    assert len(choose_layers({"vgg": network}, (), shape)["vgg"]) == MAX_DEFAULT


def test_globs_reach_into_attention_and_keep_the_order_of_the_network(make_network):
    networks = {
        "msa": make_network("msa", ("block1", "block2"), {"reduction": 2}),
        "bare": make_network(None),
    }
    found = choose_layers(networks, ("attention.block2.multi_scale.conv*", "block[12]"), SHAPE)
    assert found["msa"] == (
        "block1",
        "block2",
        "attention.block2.multi_scale.conv1",
        "attention.block2.multi_scale.conv3",
        "attention.block2.multi_scale.conv5",
    )
    assert found["bare"] == ("block1", "block2")


def test_places_with_dots_in_their_path(make_network):
    shape = (3, 32, 32)
    with torch.device("meta"):
        network = make_network("cbam", ("layer2.0",), backbone="resnet18", shape=shape)
    assert "attention.layer2.0.spatial.conv" in modules_by_name(network)
    found = choose_layers({"cbam": network}, ("attention.layer2.0.spatial*",), shape)
    assert found["cbam"] == ("attention.layer2.0.spatial",)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            "blok2",
            "--layers: no module matches 'blok2'\n    nearest: block2, block3, block1",
        ),
        (
            "attention.block2.chanel",
            "--layers: no module matches 'attention.block2.chanel'\n    nearest: attention.block2.channel, "
            "attention.block2.channel.reduce, attention.block2.channel.expand",
        ),
        (
            "xyz",
            "--layers: no module matches 'xyz'\n    modules at the top: block1, block2, block3, head",
        ),
        ("head", "--layers 'head': no feature map (B, C, H, W), once in a forward, comes from head"),
    ],
)
def test_a_pattern_that_names_no_map(make_network, pattern, message):
    networks = {"msa": make_network("msa", ("block2",), {"reduction": 2})}
    with pytest.raises(LookError) as raised:
        choose_layers(networks, ("block1", pattern), SHAPE)
    assert str(raised.value) == message
