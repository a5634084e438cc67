"""Class activation against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ablate.errors import MachineError
from ablate.look.cam import grad_cam, has_captum


class Linear(nn.Module):
    """Global average pool and a linear layer on a map: there Grad-CAM is the class activation map of Zhou et
    al. 2016, arXiv:1512.04150, Σ_c w_kc A_c, divided by the number of positions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 5, 3, padding=1)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.conv(x).mean(dim=(2, 3)))


@pytest.fixture
def network():
    pytest.importorskip("captum")
    torch.manual_seed(0)
    return Linear()


def test_on_a_linear_network_it_is_the_weighted_sum_of_the_maps(network):
    x, targets = torch.randn(6, 2, 7, 5), torch.tensor([0, 1, 2, 3, 0, 1])
    with torch.no_grad():
        maps = network.conv(x)
        weighted = torch.einsum("bchw,bc->bhw", maps, network.head.weight[targets]) / 35
    found = grad_cam(network, network.conv, x, targets)
    torch.testing.assert_close(found, weighted.relu())
    assert network.training and all(one.grad is None for one in network.parameters())


def test_a_network_that_overwrites_the_map_in_place_gives_the_same(network):
    class Overwriting(Linear):
        def forward(self, x):
            return self.head(nn.functional.relu(self.conv(x), inplace=True).mean(dim=(2, 3)))

    other = Overwriting()
    other.load_state_dict(network.state_dict())
    x, targets = torch.randn(3, 2, 6, 6), torch.tensor([0, 1, 2])
    with torch.no_grad():
        maps = other.conv(x)
        alive = (maps > 0).float().mean(dim=(2, 3))  # the mean slope of relu
        weights = other.head.weight[targets] * alive / 36
        expected = torch.einsum("bchw,bc->bhw", maps, weights).relu()
    torch.testing.assert_close(grad_cam(other, other.conv, x, targets), expected)


def test_of_a_layer_with_attention_it_reads_what_attention_gives(make_network):
    pytest.importorskip("captum")
    network = make_network("se", ("block3",), {"reduction": 2})
    nn.init.zeros_(network.attention["block3"].gate.excite.weight)  # the gate is 1/2
    bare = make_network(None)
    x, targets = torch.randn(4, 1, 16, 16), torch.tensor([0, 1, 2, 0])
    taken = []
    hook = network.backbone.block3.register_forward_hook(lambda *given: taken.append(given[2].detach()))
    found = grad_cam(network, network.backbone.block3, x, targets)
    hook.remove()
    bare.backbone.load_state_dict(network.backbone.state_dict())
    with torch.no_grad():
        plain = bare.backbone.block3(bare.backbone.block2(bare.backbone.block1(x)))
    torch.testing.assert_close(taken[0], plain / 2)

    # Through the head alone, by autograd: the map that leaves attention is its input.
    leaf = taken[0].clone().requires_grad_(True)
    handle = bare.backbone.block3.register_forward_hook(lambda *_: leaf)
    logits = bare(x)
    handle.remove()
    (slope,) = torch.autograd.grad(logits[torch.arange(4), targets].sum(), leaf)
    expected = (slope.mean(dim=(2, 3), keepdim=True) * leaf).sum(dim=1).relu()
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-6)


def test_without_captum_it_says_how_to_get_it(make_network, without_captum):
    assert not has_captum()
    network = make_network(None)
    with pytest.raises(MachineError) as raised:
        grad_cam(network, network.backbone.block3, torch.zeros(1, 1, 16, 16), torch.tensor([0]))
    assert str(raised.value) == "class-activation maps need captum: pip install 'ablate-bench[look]'"
