import pytest
import torch
from torch import nn
from torch.nn.utils import prune, spectral_norm

from ablate.models import ModelError
from ablate.models.attention.registered import check_registered


class Mine(nn.Module):
    def __init__(self, **attributes):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("mask", torch.ones(3), persistent=False)
        for name, value in attributes.items():
            setattr(self, name, value)


@pytest.mark.parametrize("value", [torch.ones(3), [torch.ones(3)], {"a": (torch.ones(3),)}])
def test_a_tensor_that_would_stay_behind_is_named(value):
    with pytest.raises(ModelError) as caught:
        check_registered("mymodules:Mine", nn.Sequential(Mine(), Mine(table=value)))
    assert str(caught.value) == (
        "attention 'mymodules:Mine' keeps a tensor in 1.table that is neither a parameter nor a buffer"
        "\n    it would stay behind when the network moves, and be missing from its saved weights:"
        "\n    use self.register_buffer('name', tensor), or nn.Parameter(tensor) if it is to be trained"
    )


def test_what_moves_with_the_network_or_has_no_device_is_left_alone():
    check_registered("m:Mine", Mine(scale=torch.tensor(2.0), sizes=[1, 2], nothing=None))


@pytest.mark.filterwarnings("ignore")
def test_tensors_that_torch_derives_from_parameters_are_left_alone():
    normed = nn.utils.weight_norm(nn.Conv2d(2, 2, 1))
    pruned = prune.l1_unstructured(nn.Conv2d(2, 2, 1), "weight", 1)
    check_registered("m:Mine", nn.Sequential(normed, pruned, spectral_norm(nn.Conv2d(2, 2, 1))))
