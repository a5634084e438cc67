"""Small stand-ins for data: batches of given tensors, shuffled by (seed, epoch) alone."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class TensorBatches:
    def __init__(self, x: Tensor, y: Tensor, batch_size: int, seed: int | None = None) -> None:
        self.x, self.y, self.batch_size, self.seed = x, y, batch_size, seed

    @property
    def count(self) -> int:
        return len(self.y)

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(self.count)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(1000 * self.seed + epoch)
            order = torch.randperm(self.count, generator=generator)
        for rows in order.split(self.batch_size):
            yield self.x[rows], self.y[rows]


@pytest.fixture
def batches_of() -> Callable[..., TensorBatches]:
    return TensorBatches


@pytest.fixture
def clusters() -> Callable[..., tuple[Tensor, Tensor]]:
    """(x [N,2,4,4], y [N]) of three classes that a linear layer separates only in part."""

    def make(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        y = torch.arange(count) % 3
        centres = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(99))
        return centres[y] + 1.5 * torch.randn(count, 2, 4, 4, generator=generator), y

    return make
