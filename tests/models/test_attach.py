import pickle

import pytest
import torch
from torch import nn

from ablate.models import PlaceError
from ablate.models.attach import find_places, glob_regex
from ablate.models.backbones.cnn import cnn


@pytest.fixture(scope="module")
def backbone():
    return cnn(classes=10, image_shape=(3, 32, 32), width=0.25)


def paths(backbone, *patterns, image_shape=(3, 32, 32)):
    return [place.path for place in find_places(backbone, patterns, image_shape)]


def test_globs_stop_at_dots(backbone):
    assert paths(backbone, "block*") == ["block1", "block2", "block3"]
    assert paths(backbone, "block*.relu") == ["block1.relu", "block2.relu", "block3.relu"]
    assert paths(backbone, "block[!2].pool") == ["block1.pool", "block3.pool"]
    assert paths(backbone, "block[13]") == ["block1", "block3"]
    assert paths(backbone, "block?.n*m") == ["block1.norm", "block2.norm", "block3.norm"]
    assert paths(backbone, "**.conv") == ["block1.conv", "block2.conv", "block3.conv"]
    assert paths(backbone, "block1**") == [
        "block1",
        *(f"block1.{part}" for part in ("conv", "norm", "relu", "pool")),
    ]


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("**.relu", "relu", True),
        ("**.relu", "layer1.0.relu", True),
        ("layer*.relu", "layer1.0.relu", False),
        ("layer**.relu", "layer1.0.relu", True),
        ("features.[3-5]", "features.4", True),
        ("features.[3-5]", "features.14", False),
        ("features.?", "features.14", False),
        ("a.b", "axb", False),
        ("a?b", "a.b", False),
        ("a[!x]b", "a.b", False),
        ("block[", "block[", True),
        ("block[5-1]", "block5", False),
        ("", "block1", False),
    ],
)
def test_glob(pattern, path, expected):
    assert bool(glob_regex(pattern).fullmatch(path)) is expected


def test_one_place_for_each_module_in_the_order_of_the_backbone(backbone):
    assert paths(backbone, "block3", "block*", "block1") == ["block1", "block2", "block3"]


def test_shapes_are_found_by_running(backbone):
    places = find_places(backbone, ["block*"], (3, 32, 32))
    assert [place.shape for place in places] == [(8, 16, 16), (16, 8, 8), (32, 4, 4)]
    assert [place.channels for place in places] == [8, 16, 32]


def test_looking_changes_nothing():
    backbone = cnn(classes=10, image_shape=(3, 32, 32), width=0.25).train()
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    rng = torch.get_rng_state()
    find_places(backbone, ["block*"], (3, 32, 32))
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in backbone.modules())


def faults(backbone, *patterns):
    with pytest.raises(PlaceError) as caught:
        find_places(backbone, patterns, (3, 32, 32))
    return caught.value.faults


def test_a_path_that_matches_nothing_names_the_nearest(backbone):
    (fault,) = faults(backbone, "blok2")
    assert fault.pattern == "blok2"
    assert fault.nearest[0] == "block2"
    assert fault.shape is None
    assert str(fault).startswith("no module of the backbone matches 'blok2'\n    did you mean 'block2', ")
    (far,) = faults(backbone, "zzz*")
    assert str(far) == (
        "no module of the backbone matches 'zzz*'\n    modules at the top: block1, block2, block3, head"
    )


def test_a_place_without_a_map_is_refused_with_its_shape(backbone):
    (fault,) = faults(backbone, "head.hidden")
    assert (fault.pattern, fault.path, fault.shape) == ("head.hidden", "head.hidden", (2, 128))
    assert str(fault) == (
        "attention cannot sit after 'head.hidden': its output has the shape (2, 128),"
        " not that of a feature map (B, C, H, W)"
    )
    assert "after 'head' (from 'h*')" in str(faults(backbone, "h*")[0])


def test_every_fault_comes_in_one_go_and_survives_pickling(backbone):
    found = faults(backbone, "block1", "blok2", "head", "nope")
    assert {fault.pattern for fault in found} == {"blok2", "head", "nope"}
    copied = pickle.loads(pickle.dumps(found[0]))  # noqa: S301 (our own bytes)
    assert (str(copied), copied.pattern, copied.nearest) == (
        str(found[0]),
        found[0].pattern,
        found[0].nearest,
    )


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.alias = self.conv
        self.twice = nn.ReLU()
        self.pair = Pair()
        self.unused = nn.ReLU()

    def forward(self, x):
        return self.pair(self.twice(self.twice(self.conv(x))))[0].mean((2, 3))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def test_modules_that_cannot_carry_one_attention():
    odd = Odd()
    assert "it runs 2 times in a forward" in str(faults(odd, "twice")[0])
    assert "it does not run in a forward" in str(faults(odd, "unused")[0])
    assert "its output is a tuple, not a feature map" in str(faults(odd, "pair")[0])
    assert paths(odd, "alias", "conv") == ["conv"]  # one module under two names is one place


class LooksAtValues(nn.Module):
    """Cannot run on the meta device: it branches on a number."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        y = self.conv(x)
        return y if y.sum().item() > 0 else -y


def test_a_network_that_looks_at_values_runs_for_real():
    assert paths(LooksAtValues(), "conv") == ["conv"]
