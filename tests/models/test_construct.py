import re
import sys

import pytest
from torch import nn

from ablate.models import ModelError, build_attention, build_backbone
from ablate.models.attention import MECHANISMS

OWN = """
import torch
from torch import nn

class Half(nn.Module):
    def __init__(self, channels, *, factor=0.5):
        super().__init__()
        self.factor = factor
    def forward(self, x):
        return x * self.factor

class Shapeless(nn.Module):
    def __init__(self, size):
        super().__init__()

class Picky(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(channels.zeros)

class Table(nn.Module):
    def __init__(self, channels, map_shape):
        super().__init__()
        self.table = torch.zeros(channels, *map_shape)

def not_a_module(channels):
    return channels

def tiny(*, classes, image_shape, units=4):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(units), nn.Linear(units, classes))
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_parts_of_a_user.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "broken_parts_of_a_user.py").write_text("import a_package_that_is_nowhere", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "own_parts_of_a_user"


def test_a_users_own_class(own_module):
    module = build_attention(f"{own_module}:Half", 8, {"factor": 0.25})
    assert isinstance(module, nn.Module)
    assert module.factor == 0.25


def test_a_users_own_backbone(own_module):
    backbone = build_backbone(f"{own_module}:tiny", classes=3, image_shape=(1, 4, 4), args={"units": 5})
    assert backbone[2].weight.shape == (3, 5)


def message(action):
    with pytest.raises(ModelError) as caught:
        action()
    return str(caught.value)


def test_an_unknown_name_is_answered_with_the_nearest():
    assert message(lambda: build_attention("mas", 8, {})) == (
        "no attention is called 'mas'"
        f"\n    allowed: {', '.join(MECHANISMS)}, or an import path such as 'package.module:Name'"
        "\n    did you mean 'msa'?"
    )
    assert message(lambda: build_backbone("cn", classes=2, image_shape=(1, 8, 8), args={})).endswith(
        "did you mean 'cnn'?"
    )


def test_what_an_import_tried_is_said(own_module):
    assert message(lambda: build_attention("nowhere.at_all:X", 8, {})) == (
        "attention 'nowhere.at_all:X': importing 'nowhere.at_all' failed with"
        " ModuleNotFoundError: No module named 'nowhere'"
        "\n    the module must be importable from the folder where the command runs, or be installed"
    )
    broken = message(lambda: build_attention("broken_parts_of_a_user:X", 8, {}))
    assert "No module named 'a_package_that_is_nowhere'" in broken
    assert re.search(r"mend .*broken_parts_of_a_user.*:\d+ in ", broken), "it was found: it is to be mended"
    assert message(lambda: build_attention(f"{own_module}:Halv", 8, {})) == (
        f"attention '{own_module}:Halv': '{own_module}' was imported, but has no class or function 'Halv'"
        "\n    it has: Half, Shapeless, Picky, Table, not_a_module, tiny"
        "\n    did you mean 'Half'?"
    )
    assert "failed with ValueError" in message(lambda: build_attention(":Half", 8, {}))


def test_no_argument_is_swallowed(own_module):
    assert message(lambda: build_attention("se", 8, {"ratio": 4})) == (
        "attention 'se' has no argument 'ratio'\n    allowed: reduction"
    )
    assert message(lambda: build_attention("msa", 8, {"spatal": True})).endswith("did you mean 'spatial'?")
    assert message(lambda: build_attention("se", 8, {"channels": 4})).startswith(
        "attention 'se' has no argument"
    )
    assert message(
        lambda: build_backbone("cnn", classes=2, image_shape=(1, 8, 8), args={"classes": 4})
    ).startswith("backbone 'cnn' has no argument 'classes'")


def test_a_value_out_of_range_carries_the_name():
    assert message(lambda: build_attention("se", 8, {"reduction": 0})) == (
        "attention se(reduction=0): reduction must be a whole number of at least 1, not 0"
    )


def test_parts_that_cannot_serve_are_refused(own_module):
    assert "must take `channels`" in message(lambda: build_attention(f"{own_module}:Shapeless", 8, {}))
    assert message(lambda: build_attention(f"{own_module}:not_a_module", 8, {})).endswith(
        "gave a int, not a torch.nn.Module"
    )
    assert message(
        lambda: build_backbone(f"{own_module}:Half", classes=2, image_shape=(1, 8, 8), args={})
    ).endswith("must take `classes` and `image_shape`; it lacks classes, image_shape")


def test_an_error_of_the_users_own_code_comes_with_its_line(own_module):
    line = OWN.splitlines().index("        self.weight = nn.Parameter(channels.zeros)") + 1
    assert message(lambda: build_attention(f"{own_module}:Picky", 8, {})) == (
        f"attention {own_module}:Picky(): AttributeError: 'int' object has no attribute 'zeros'"
        f"\n    raised in {sys.modules[own_module].__file__}:{line}"
    )


def test_the_size_of_the_map_is_for_whoever_takes_it_and_a_tensor_that_would_stay_behind_is_said(own_module):
    told = message(lambda: build_attention(f"{own_module}:Table", 8, {}, map_shape=(4, 3)))
    assert told.startswith(
        f"attention '{own_module}:Table' keeps a tensor in table that is neither a parameter nor a buffer"
    )
    assert "no argument 'map_shape'" in message(
        lambda: build_attention(f"{own_module}:Table", 8, {"map_shape": [4, 3]})
    )
