"""Looking changes nothing: the same outputs bit for bit, no hook left, every module in its own mode."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ablate.look.capture import capture, evaluating
from ablate.look.layers import cam_layer, choose_layers
from ablate.look.one import read_cam, read_maps
from ablate.look.sampled import read_gates


def hooks_of(network):
    return {
        path: (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        for path, module in network.named_modules()
    }


@pytest.mark.parametrize("mechanism", ["msa", "self-attention", "selective-kernel"])
def test_a_whole_look_leaves_the_network_as_it_was(make_network, make_subject, mechanism):
    pytest.importorskip("captum")
    network = make_network(mechanism, ("block1", "block2"))
    network.train()
    network.backbone.block2.eval()
    network.backbone.block1.conv.weight.requires_grad_(False)
    subject = make_subject(network)
    modes = {path: module.training for path, module in network.named_modules()}
    asked = {path: parameter.requires_grad for path, parameter in network.named_parameters()}
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    hooks = hooks_of(network)
    with evaluating(network), torch.no_grad():
        before = network(subject.shown)

    said, _ = read_maps(subject, ("block1", "block2"), channels=4, top=2)
    read_gates(subject)
    read_cam(subject, "block3", said)

    assert {path: module.training for path, module in network.named_modules()} == modes
    assert {path: one.requires_grad for path, one in network.named_parameters()} == asked
    assert all(parameter.grad is None for parameter in network.parameters())
    assert hooks_of(network) == hooks
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    with evaluating(network), torch.no_grad():
        assert torch.equal(network(subject.shown), before)


def test_hooks_go_when_the_network_breaks_down(make_network):
    network = make_network("se").train()
    hooks = hooks_of(network)
    with pytest.raises(RuntimeError):
        capture(network, torch.zeros(1, 7, 16, 16), {"block1": network.backbone.block1})
    assert hooks_of(network) == hooks
    assert network.backbone.block1.training


def test_a_map_is_taken_before_a_later_module_overwrites_it():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(3)).eval()
    x = torch.randn(4, 1, 3, 3)
    network(x)
    _, seen = capture(network, x, {"conv": network[0], "relu": network[1]})
    torch.testing.assert_close(seen["conv"][1][0], network[0](x).detach())
    assert (seen["conv"][1][0] < 0).any()
    assert (seen["relu"][1][0] >= 0).all()


@pytest.mark.parametrize(
    ("backbone", "shape", "layers", "cam"),
    [
        ("torchvision:resnet18", (3, 64, 64), ["layer1", "layer2", "layer3", "layer4"], "layer4"),
        ("timm:resnet18", (3, 64, 64), ["layer1", "layer2", "layer3", "layer4"], "layer4"),
    ],
)
def test_networks_of_libraries_are_looked_at_alike(make_network, make_subject, backbone, shape, layers, cam):
    if backbone.startswith("timm"):
        pytest.importorskip("timm")
    pytest.importorskip("captum")
    network = make_network("cbam", ("layer2.*",), backbone=backbone, shape=shape)
    bare = make_network(None, backbone=backbone, shape=shape)
    assert list(choose_layers({"bare": bare}, (), shape)["bare"])[-4:] == layers
    assert cam_layer(network, shape) == cam
    subject = make_subject(network, shape=shape, count=3, sample=4)
    said, rows = read_maps(subject, ("layer2.1", "layer4"), channels=5, top=3)
    assert [row.shape for row in rows["layers"]] == [(128, 8, 8), (512, 2, 2)]
    assert [change.maps.shape for change in rows["changes"]] == [(3, 8, 8)] * 2
    gates, _ = read_gates(subject)
    assert [(gate.place, gate.name) for gate in gates] == [
        (place, name) for place in ("layer2.0", "layer2.1") for name in ("channel", "spatial")
    ]
    assert read_cam(subject, cam, said).predicted.shape == (3, 2, 2)
