import re
import sys
from inspect import getsource

import pytest
import torch
from torch import nn

from ablate.errors import MachineError
from ablate.measure import count_macs
from ablate.models import ModelError, attach_attention
from ablate.models.attention import build_attention, is_absent, timm_names

create_attn = pytest.importorskip("timm.layers.create_attn")

# timm's own defaults do not build these, or not for a map of 8×8
NEEDED = {"ge": {"use_mlp": False, "extent": 2}, "bat": {"block_size": 4}}


def test_every_layer_of_timms_factory_is_known():
    assert set(timm_names()) == set(re.findall(r"attn_type == '(\w+)'", getsource(create_attn.get_attn)))


@pytest.mark.parametrize("name", timm_names())
def test_every_layer_runs_and_is_counted(name):
    args = NEEDED.get(name, {})
    module = build_attention(f"timm:{name}", 64, args, map_shape=(8, 8)).eval()
    x = torch.randn(2, 64, 8, 8)
    own = {"feat_size": (8, 8)} if name in ("ge", "lambda", "bottleneck", "halo") else {}
    theirs = create_attn.create_attn(name, 64, **args, **own).eval()
    theirs.load_state_dict(module.state_dict())
    with torch.no_grad():
        assert torch.equal(module(x), theirs(x))
    if list(module.parameters()):
        assert count_macs(module, (64, 8, 8)).total > 0
    assert not is_absent(f"timm:{name}", args)


def message(name, args):
    with pytest.raises(ModelError) as caught:
        build_attention(name, 64, args)
    return str(caught.value)


def test_no_argument_is_swallowed():
    assert message("timm:nl", {"ratio": 2}) == (
        "attention 'timm:nl' has no argument 'ratio'"
        "\n    allowed: use_scale, rd_ratio, rd_channels, rd_divisor"
        "\n    did you mean 'rd_ratio'?"
    )
    assert "has no argument 'device'" in message("timm:se", {"device": "cuda"})
    assert "has no argument 'channels'" in message("timm:se", {"channels": 3})
    half = build_attention("timm:se", 64, {"rd_ratio": 0.5})
    assert half.fc1.out_channels == 32


def test_an_unknown_name_lists_what_there_is():
    text = message("timm:cbom", {})
    assert text.startswith("timm has no attention layer 'cbom'\n    allowed: timm:se, timm:ese, timm:eca, ")
    assert text.endswith("did you mean 'cbam'?")
    assert "no attention layer 'SE'" in message("timm:SE", {})


def test_without_timm_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MachineError, match="pip install 'timm"):
        build_attention("timm:se", 64, {})


def test_timms_layers_have_no_gates_to_replace():
    with pytest.raises(ModelError, match="'timm:se' names no `gates`"):
        build_attention("timm:se", 64, {}, "static")


def test_a_map_that_a_layer_cannot_take_is_said_before_training():
    with pytest.raises(ModelError) as caught:
        attach_attention(
            nn.Sequential(nn.Conv2d(3, 64, 1)),
            ["0"],
            lambda place: build_attention("timm:halo", place.channels, {}, map_shape=place.shape[1:]),
            image_shape=(3, 7, 5),
            seed=0,
        )
    said = str(caught.value)
    assert said.startswith("attention at '0' cannot take a map of (2, 64, 7, 5): ")
    assert "block_size" in said  # the condition itself, and the line of timm's where it stands
    assert "halo_attn.py:" in said
