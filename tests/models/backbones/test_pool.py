import pytest
import torch
from torch import nn

from ablate.models.backbones.pool import AveragePool


@pytest.mark.parametrize("size", [(7, 7), (14, 21), (1, 1), (2, 3), (10, 5), (8, 13), (1, 9)])
@pytest.mark.parametrize("output", [(7, 7), (1, 1), (6, 2)])
def test_it_is_torchs_pool_forward_and_backward(size, output):
    generator = torch.Generator().manual_seed(0)
    mine = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64, requires_grad=True)
    torchs = mine.detach().clone().requires_grad_()
    ours, theirs = AveragePool(*output)(mine), nn.AdaptiveAvgPool2d(output)(torchs)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    torch.testing.assert_close(mine.grad, torchs.grad)


def test_what_torch_leaves_exact_is_exact():
    x = torch.randn(2, 3, 7, 7)
    assert torch.equal(AveragePool(7, 7)(x), x)
    odd = torch.randn(2, 5, 9, 4)
    assert torch.equal(AveragePool(1, 1)(odd), nn.AdaptiveAvgPool2d(1)(odd))


def test_its_backward_pass_calls_no_adaptive_pool():
    x = torch.randn(1, 1, 10, 3, requires_grad=True)
    seen, ahead = set(), [AveragePool(7, 7)(x).grad_fn]
    while ahead:
        function = ahead.pop()
        seen.add(function.name())
        ahead += [after for after, _ in function.next_functions if after is not None]
    assert seen and not any("Adaptive" in name for name in seen)
