"""Shared batch norm against torch's own on the joined batch: values, running statistics, gradients.

Two threads stand for two processes, so that many shapes can be tried; test_distributed_fit has real ones.
"""

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules._functions import SyncBatchNorm

from ablate.train.distributed.norm import batch_norm_shared

OWN = functional.batch_norm


class ThreadRanks:
    """`Ranks` of threads: `sum` and `gather` meet at a barrier."""

    def __init__(self, size):
        self.size, self.here = size, threading.local()
        self.barrier, self.brought = threading.Barrier(size, timeout=20), {}

    def gather(self, tensor):
        self.brought[self.here.rank] = tensor
        self.barrier.wait()
        found = torch.stack([self.brought[rank] for rank in range(self.size)])
        self.barrier.wait()
        return found

    def sum(self, tensor):
        return tensor.copy_(self.gather(tensor.clone()).sum(0))


def in_threads(function, shares):
    """`function(share)` in a thread each, with batch norm shared among them."""
    ranks = ThreadRanks(len(shares))

    def run(rank):
        ranks.here.rank = rank
        return function(shares[rank])

    with batch_norm_shared(ranks), ThreadPoolExecutor(len(shares)) as pool:
        return list(pool.map(run, range(len(shares))))


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def norm_of(x, **options):
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[x.dim()]
    norm = kind(x.shape[1], **options).double()
    with torch.no_grad():
        for number, parameter in enumerate(norm.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=5 + number))
    return norm


def trained(norm, x, weight):
    """Output, gradient of the input and of the parameters, buffers, after one step of sum(weight·output²)."""
    x = x.clone().requires_grad_()
    output = norm(x)
    (weight * output**2).sum().backward()
    gradients = [parameter.grad for parameter in norm.parameters()]
    return output.detach(), x.grad, gradients, [buffer.clone() for buffer in norm.buffers()]


@pytest.mark.parametrize(
    ("shape", "sizes", "options"),
    [
        ((8, 3, 5, 4), (4, 4), {}),
        ((7, 3, 5, 4), (4, 3), {}),
        ((9, 3), (1, 8), {"momentum": 0.3}),
        ((6, 4, 5), (2, 3, 1), {"eps": 1e-2}),
        ((6, 2, 3, 2, 2), (3, 3), {"affine": False}),
        ((6, 2, 3, 2), (2, 4), {"track_running_stats": False}),
        ((6, 2, 3, 2), (2, 4), {"momentum": None}),
    ],
)
def test_two_processes_norm_as_one_does(shape, sizes, options):
    x, weight = 3 + 2 * draw(*shape), draw(*shape, seed=1)
    output, dx, parameters, buffers = trained(norm_of(x, **options), x, weight)
    shares = list(zip(x.split(sizes), weight.split(sizes), strict=True))
    each = in_threads(lambda share: trained(norm_of(x, **options), *share), shares)
    outputs, dxs, gradients, own_buffers = zip(*each, strict=True)
    close = {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(torch.cat(outputs), output, **close)
    torch.testing.assert_close(torch.cat(dxs), dx, **close)
    for whole, *shared in zip(parameters, *gradients, strict=True):
        torch.testing.assert_close(sum(shared), whole, **close)
    for mine in own_buffers:
        for one, other in zip(mine, buffers, strict=True):
            torch.testing.assert_close(one, other, **close)


def test_a_large_mean_costs_no_digits():
    x = (1000 + 1e-2 * draw(512, 2)).float()
    (output, *_), _ = in_threads(lambda share: (nn.BatchNorm1d(2)(share).detach(),), list(x.split(256)))
    torch.testing.assert_close(output, nn.BatchNorm1d(2)(x).detach()[:256], rtol=0, atol=5e-2)


def test_channels_last_and_half_precision_keep_layout_and_type():
    x = draw(4, 3, 5, 5).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    first, second = in_threads(lambda share: nn.BatchNorm2d(3)(share), list(x.split(2)))
    assert first.dtype == torch.bfloat16
    assert first.is_contiguous(memory_format=torch.channels_last)
    whole = nn.BatchNorm2d(3)(x.float())
    torch.testing.assert_close(torch.cat([first, second]).float(), whole, rtol=1e-2, atol=1e-2)


def test_evaluation_asks_nobody():
    norm = norm_of(draw(4, 3)).eval()
    with batch_norm_shared(None):
        torch.testing.assert_close(norm(draw(4, 3)), norm(draw(4, 3)))


def test_one_number_a_channel_has_no_variance():
    with pytest.raises(ValueError, match="more than one number a channel"):
        in_threads(nn.BatchNorm1d(2), [torch.ones(1, 2)])


def test_torchs_own_function_comes_back_whatever_happens():
    with pytest.raises(KeyError), batch_norm_shared(None):
        assert functional.batch_norm is not OWN
        raise KeyError
    assert functional.batch_norm is OWN


def test_torchs_function_for_gpus_takes_what_it_is_given_here():
    """It is none of torch's public functions, and needs a GPU to run."""
    taken = list(inspect.signature(SyncBatchNorm.forward).parameters)[-9:]
    running = ["running_mean", "running_var"]
    assert taken == ["input", "weight", "bias", *running, "eps", "momentum", "process_group", "world_size"]
