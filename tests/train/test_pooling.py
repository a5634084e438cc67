"""The fast pooling gives what torch's gives, bit for bit; what it does not know is left to torch."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from ablate.train import Recipe, fit
from ablate.train.pooling import WIDEST, fast_pools, max_pool_2x2


def both(x):
    """Value and gradient by torch's pooling and by ours."""
    gradient = torch.randn(*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2)
    found = []
    for pool in (lambda x: functional.max_pool2d(x, 2), max_pool_2x2):
        x = x.detach().clone().requires_grad_()
        y = pool(x)
        y.backward(gradient)
        found.append((y.detach(), x.grad))
    return found


def of_few_values(*shape):
    """Half zeros, as after a ReLU, and so few other values that many windows hold a maximum several times."""
    return torch.randint(-2, 3, shape).float().relu()


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(3, 5, 8, 8),
        of_few_values(4, 3, 6, 10),
        -of_few_values(4, 3, 6, 10),
        torch.zeros(2, 2, 4, 4),
        torch.cat([torch.zeros(1, 2, 4, 4), -torch.zeros(1, 2, 4, 4)], 3),
        torch.full((1, 2, 4, 4), float("-inf")),
        of_few_values(1, 1, 2, WIDEST),
        of_few_values(1, 1, 2, WIDEST + 2),
    ],
    ids=["any", "ties", "negative ties", "zeros", "two zeros", "infinite", "widest", "wider"],
)
def test_value_and_gradient_are_those_of_torch(x):
    (value, gradient), (ours, our_gradient) = both(x)
    assert torch.equal(ours.view(torch.int32), value.view(torch.int32))
    assert torch.equal(our_gradient.view(torch.int32), gradient.view(torch.int32))


def test_odd_maps_and_other_layouts_are_left_to_torch():
    for x in (torch.randn(2, 3, 7, 8), torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)):
        (value, gradient), (ours, our_gradient) = both(x)
        assert torch.equal(ours, value) and torch.equal(our_gradient, gradient)


def test_a_layer_behind_it_may_work_in_place():
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    max_pool_2x2(x).mul_(2).sum().backward()
    assert x.grad.sum() == 2 * 2 * 3 * 4


def test_without_a_gradient_the_value_is_the_same():
    x = of_few_values(4, 3, 6, 10)
    with torch.inference_mode():
        assert torch.equal(max_pool_2x2(x), functional.max_pool2d(x, 2))


class Own(nn.MaxPool2d):
    """Someone's own pooling, of which nobody knows what its `forward` does."""


def test_only_pools_of_two_by_two_side_by_side_are_taken_and_given_back():
    taken = [nn.MaxPool2d(2), nn.MaxPool2d((2, 2), stride=2)]
    left = [
        nn.MaxPool2d(3),
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d(2, return_indices=True),
        Own(2),
    ]
    network = nn.Sequential(*taken, *left)
    with fast_pools(network):
        assert [module.__dict__.get("forward") is max_pool_2x2 for module in network] == [True] * 2 + [
            False
        ] * 7
    assert not any("forward" in vars(module) for module in network)


def test_training_gives_the_same_bits_as_with_torchs_pooling(monkeypatch, batches_of):
    x, y = torch.randn(40, 3, 8, 8), torch.arange(40) % 3
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    pooled = []
    for function in (max_pool_2x2, lambda x: functional.max_pool2d(x, 2)):
        monkeypatch.setattr("ablate.train.pooling.max_pool_2x2", function)
        trained = copy.deepcopy(network)
        data = batches_of(x, y, 8, seed=0)
        fit(trained, data, data, Recipe(epochs=2, batch_size=8), device="cpu", dropout_seed=0)
        pooled.append(trained.state_dict())
    assert all(torch.equal(pooled[0][key], pooled[1][key]) for key in pooled[0])
