"""Small stand-ins for data: batches of given tensors, shuffled by (seed, epoch) alone."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn


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

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(self.count)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(1000 * self.seed + epoch)
            order = torch.randperm(self.count, generator=generator)
        for rows in order.split(self.batch_size)[first:]:
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


class Keeper:
    """An EpochLog that keeps everything."""

    def __init__(self):
        self.rows, self.steps, self.states = [], [], []

    def epoch(self, row, steps, state):
        self.rows.append(row)
        self.steps += steps
        self.states.append(copy.deepcopy(state.state_dict()))

    def resume(self, state):
        """What was told of before this one is kept by the Keeper of then."""


@pytest.fixture
def keeper() -> type[Keeper]:
    return Keeper


class Gate(nn.Module):
    """Stands for attention: (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(channels, channels, bias=False), nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.norm(self.fc(x.mean((2, 3)))))[:, :, None, None]


def block(before: int, after: int) -> nn.Sequential:
    layers = OrderedDict(
        conv=nn.Conv2d(before, after, 3, padding=1, bias=False), norm=nn.BatchNorm2d(after), relu=nn.ReLU()
    )
    return nn.Sequential(layers)


class Attended(nn.Module):
    """As ablate's own networks are: `backbone` and `attention` apart, attention called by hooks.

    Takes images of 2×4×4; attention sits at block1 and at block2.relu.
    """

    def __init__(self, attention: bool = True, dropout: float = 0.5) -> None:
        super().__init__()
        head = OrderedDict(flatten=nn.Flatten(), dropout=nn.Dropout(dropout), output=nn.Linear(64, 3))
        parts = OrderedDict(block1=block(2, 4), block2=block(4, 4), head=nn.Sequential(head))
        self.backbone = nn.Sequential(parts)
        places = {"block1": Gate(4), "block2/relu": Gate(4)} if attention else {}
        self.attention = nn.ModuleDict(places)
        for key, gate in self.attention.items():
            host = self.backbone.get_submodule(key.replace("/", "."))
            host.register_forward_hook(lambda _module, _inputs, out, gate=(gate,): gate[0](out))

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x)


@pytest.fixture
def attended() -> Callable[..., Attended]:
    """Networks with the same weights whenever the seed is the same."""

    def make(seed: int = 0, **changes: object) -> Attended:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return Attended(**changes)

    return make


@pytest.fixture
def train(
    batches_of: Callable[..., TensorBatches], clusters: Callable[..., tuple[Tensor, Tensor]]
) -> TensorBatches:
    """Seven steps an epoch in batches of eight."""
    return batches_of(*clusters(50), 8, seed=1)


@pytest.fixture
def validation(
    batches_of: Callable[..., TensorBatches], clusters: Callable[..., tuple[Tensor, Tensor]]
) -> TensorBatches:
    return batches_of(*clusters(21, seed=7), 8)
