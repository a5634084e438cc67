"""A training step leaves everything on the device: nothing in it makes the host wait."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ablate.train import Recipe
from ablate.train.state import prepare
from ablate.train.step import in_training_mode, train_step


class HostReads(TorchDispatchMode):
    """Operators for whose result the host would have to wait for a GPU."""

    WAITING = ("_local_scalar_dense", "nonzero", "item", "equal", "unique")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.found += [name] if name.startswith(self.WAITING) else []
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"clip_norm": 0.1},
        {"accumulate": 3},
        {"precision": "bf16"},
        {"label_smoothing": 0.1},
        {"channels_last": True},
        {"schedule": "cosine"},
    ],
)
def test_a_step_makes_nobody_wait(attended, train, changes):
    # SGD: Adam counts its steps on the host, and reads that count there.
    recipe = Recipe(epochs=1, batch_size=8, optimizer="sgd", **changes)
    network = attended()
    state = prepare(network, recipe, len(train), torch.device("cpu"))
    in_training_mode(network, state)
    with HostReads() as reads:
        for step, (x, y) in enumerate(train.epoch(0)):
            state.schedule.before_step(step)
            train_step(network, state, x, y, recipe)
    assert reads.found == []
