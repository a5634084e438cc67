"""What each module has of the counts."""

import torch
from torch import nn

from ablate.measure import module_table


class Shared(nn.Module):
    """One weight under two names, a parameter of the network's own, and a product outside any child."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.ones(4, 3))

    def forward(self, x):
        return self.second(self.first(x)) @ self.scale


def test_a_shared_weight_counts_once_and_what_has_no_child_is_the_networks_own():
    found = module_table(Shared(), (1, 5, 4))
    rows = {row.path: (row.kind, row.param_count, row.macs) for row in found.rows}
    assert rows == {
        "": ("Shared", 12, 5 * 4 * 3),
        "first": ("Linear", 16, 5 * 4 * 4),
        "second": ("Linear", 0, 5 * 4 * 4),
    }
    assert (found.param_count, found.macs) == (28, 5 * 4 * (3 + 4 + 4))


def test_what_lies_deeper_counts_with_the_module_above_it():
    network = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)), nn.Flatten())
    [row] = module_table(network, (1, 6, 6), depth=1).rows
    assert (row.path, row.macs, row.activations) == ("0", 16 * 2 * 9 + 4 * 2 * 2 * 9, 16 * 2 + 4 * 2)


def test_a_network_without_costs_has_no_rows():
    assert module_table(nn.ReLU(), (1, 2, 2)).rows == ()
