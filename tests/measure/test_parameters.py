import pytest
from torch import nn

from ablate.measure import MeasureError, count_parameters


def test_each_parameter_counts_once_and_frozen_ones_count():
    shared = nn.Linear(3, 4)
    network = nn.Sequential(shared, nn.Sequential(shared, nn.Linear(4, 2, bias=False)), nn.BatchNorm1d(2))
    shared.weight.requires_grad_(False)
    assert count_parameters(network) == (3 * 4 + 4) + 4 * 2 + 2 * 2


def test_within_one_child():
    network = nn.ModuleDict({"backbone": nn.Linear(3, 4), "attention": nn.Linear(4, 4, bias=False)})
    assert count_parameters(network, within="attention") == 16
    assert count_parameters(network, within="nothing") == 0


def test_a_parameter_without_a_shape_is_not_guessed():
    with pytest.raises(MeasureError, match=r"parameter '1\.weight' has no shape yet"):
        count_parameters(nn.Sequential(nn.ReLU(), nn.LazyLinear(3)))
