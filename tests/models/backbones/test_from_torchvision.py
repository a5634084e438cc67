import inspect
import warnings

import pytest
import torch
from torch import nn
from torchvision import models

from ablate.models import ModelError, build_backbone, build_network

# One of every family, each at a size that it takes; 224 where a network is bound to its windows
FAMILIES = {
    "alexnet": 64,
    "convnext_tiny": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "maxvit_t": 224,
    "mnasnet0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "regnet_y_400mf": 64,
    "resnet50": 64,
    "resnext50_32x4d": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "swin_t": 64,
    "swin_v2_t": 64,
    "vgg11_bn": 64,
    "vit_b_32": 64,
    "wide_resnet50_2": 64,
}


def on_meta(name, classes=7, image_shape=(5, 64, 64), **args):
    with torch.device("meta"):
        return build_backbone(f"torchvision:{name}", classes=classes, image_shape=image_shape, args=args)


def first_convolution(network):
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize("name", FAMILIES)
def test_classes_and_channels_are_those_of_the_data(name):
    shape = (5, FAMILIES[name], FAMILIES[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # GoogLeNet and Inception warn of minutes of initialisation
        network = on_meta(name, image_shape=shape)
    assert network.train()(torch.zeros(2, *shape, device="meta")).shape == (2, 7)
    assert first_convolution(network).in_channels == 5
    assert not [
        m
        for m in network.modules()
        if isinstance(m, nn.AdaptiveAvgPool2d) and m.output_size not in (1, (1, 1))
    ]


def test_every_family_of_torchvision_is_there():
    modules = {
        inspect.getmodule(models.get_model_builder(name)) for name in models.list_models(module=models)
    }
    assert {inspect.getmodule(models.get_model_builder(name)) for name in FAMILIES} == modules


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(models.list_models(module=models)) - set(FAMILIES)))
def test_every_other_model(name):
    shape = (5, 224, 224)
    assert on_meta(name, image_shape=shape)(torch.zeros(2, *shape, device="meta")).shape == (2, 7)


def test_on_rgb_images_it_is_torchvisions_network():
    torch.manual_seed(3)
    theirs = models.mobilenet_v3_small(num_classes=4, width_mult=0.5)
    torch.manual_seed(3)
    args = {"width_mult": 0.5}
    ours = build_backbone("torchvision:mobilenet_v3_small", classes=4, image_shape=(3, 64, 64), args=args)
    state = theirs.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())


def test_a_new_first_layer_differs_in_its_channels_alone():
    mine, theirs = (
        first_convolution(on_meta("vit_b_32")),
        first_convolution(on_meta("vit_b_32", image_shape=(3, 64, 64))),
    )
    for name in ("out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"):
        assert getattr(mine, name) == getattr(theirs, name)
    assert (mine.bias is None) == (theirs.bias is None)


def message(name, image_shape=(3, 64, 64), **args):
    with pytest.raises(ModelError) as caught:
        on_meta(name, image_shape=image_shape, **args)
    return str(caught.value)


def test_an_unknown_name_is_answered_with_the_nearest():
    assert message("resnet5") == (
        "torchvision has no classification model 'resnet5'"
        "\n    did you mean 'resnet50', 'resnet152', 'resnet34'?"
    )
    assert "there are alexnet, " in message("zzz")
    assert "no classification model 'fcn_resnet50'" in message("fcn_resnet50")


def test_no_argument_is_swallowed():
    assert message("vgg11", drop=0.1) == (
        "backbone 'torchvision:vgg11' has no argument 'drop'\n    allowed: init_weights, dropout"
        "\n    did you mean 'dropout'?"
    )
    assert "has no argument 'wide'" in message("mobilenet_v3_small", wide=2)  # its class takes any keyword
    assert "has no argument 'wide'" in message("convnext_tiny", wide=2)
    assert "has no argument 'aux_logits'" in message("googlenet", aux_logits=True)
    assert "has no argument 'num_classes'" in message("resnet50", num_classes=3)
    assert "has no argument 'weights'" in message("resnet50", weights="DEFAULT")
    assert message("alexnet", dropout=2).startswith("backbone torchvision:alexnet(dropout=2): dropout prob")


def test_images_that_a_network_cannot_take():
    assert message("vit_b_32", image_shape=(3, 64, 32)) == (
        "backbone 'torchvision:vit_b_32' takes square images only, not 64×32"
    )
    with torch.device("meta"), pytest.raises(ModelError, match="cannot take an image of 3×32×32: Calculated"):
        build_network(
            backbone="torchvision:inception_v3",
            args={},
            attention=None,
            classes=2,
            image_shape=(3, 32, 32),
            backbone_seed=0,
            attention_seed=0,
        )
