import warnings

import pytest
import torch
from torch import nn

from ablate.measure import MeasureError, count_macs, operators
from ablate.models import attach_attention, build_attention, build_network


def network(attention=None, **changes):
    arguments = {
        "backbone": "cnn",
        "args": {},
        "attention": attention,
        "classes": 10,
        "image_shape": (3, 32, 32),
        "backbone_seed": 0,
        "attention_seed": 0,
    }
    with torch.device("meta"):
        return build_network(**arguments | changes)


def test_the_published_cnn():
    count = count_macs(network(), (3, 32, 32))
    assert count.total == 11_375_616
    assert count.by_module == {
        "backbone.block1.conv": 32 * 32 * 9 * 3 * 32,
        "backbone.block2.conv": 16 * 16 * 9 * 32 * 64,
        "backbone.block3.conv": 8 * 8 * 9 * 64 * 128,
        "backbone.head.hidden": 2048 * 512,
        "backbone.head.output": 512 * 10,
    }
    assert count.attention == 0
    assert count.other_ops == {"aten::batch_norm": 3, "aten::max_pool2d": 3}


def test_squeeze_and_excitation_in_the_published_cnn():
    count = count_macs(network(("se", {"reduction": 16}, ["block*.relu"])), (3, 32, 32))
    assert count.attention == sum(2 * channels**2 // 16 for channels in (32, 64, 128))
    assert count.total == 11_375_616 + count.attention
    assert count.by_module["attention.block3/relu.gate.squeeze"] == 128 * 8


@pytest.mark.parametrize("reduction", [4, 8, 16, 32])
@pytest.mark.parametrize("channels", [64, 512])
@pytest.mark.parametrize("name", ["se", "msa"])
def test_closed_forms_of_the_mechanisms(name, channels, reduction):
    with torch.device("meta"):
        module = build_attention(name, channels, {"reduction": reduction})
    m, positions = channels // reduction, 7 * 5
    expected = {
        "se": 2 * channels**2 // reduction,
        "msa": positions * (38 * channels * m + 147) + 2 * channels * m,
    }
    assert count_macs(module, (channels, 7, 5)).total == expected[name]


def test_the_parts_of_msa_add_up():
    c, m, positions = 64, 4, 8 * 8
    parts = {
        "multi_scale": positions * 38 * c * m,
        "channel": 2 * c * m,
        "spatial": positions * 147,
    }
    for on in ([part] for part in parts):
        with torch.device("meta"):
            module = build_attention("msa", c, {part: part in on for part in parts})
        assert count_macs(module, (c, 8, 8)).total == sum(parts[part] for part in on)


@pytest.fixture(scope="module")
def torchvision_models():
    return pytest.importorskip("torchvision").models


def test_resnet18(torchvision_models):
    with torch.device("meta"):
        resnet18 = torchvision_models.resnet18()
    count = count_macs(resnet18, (3, 224, 224))
    assert count.total == 1_814_073_344
    assert sum(count.by_module.values()) == count.total


def test_five_msa_modules_in_vgg16(torchvision_models):
    places = [f"features.{n}" for n in (4, 9, 16, 23, 30)]
    with torch.device("meta"):
        full = attach_attention(
            torchvision_models.vgg16(),
            places,
            lambda place: build_attention("msa", place.channels, {}),
            image_shape=(3, 224, 224),
            seed=0,
        )
    count = count_macs(full, (3, 224, 224))
    backbone = count.total - count.attention
    assert count.attention == 521_151_647
    assert backbone == 15_470_264_320
    assert round(100 * count.attention / backbone, 2) == 3.37


def test_a_vision_transformer_with_fused_attention():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        vit = timm.create_model("vit_tiny_patch16_224")
    assert count_macs(vit, (3, 224, 224)).total == 1_253_683_200


def test_counting_leaves_the_network_alone():
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout()).train()
    before = {key: value.clone() for key, value in plain.state_dict().items()}
    rng = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # tracing is noisy; none of it reaches a user
        count_macs(plain, (1, 6, 6))
    assert all(torch.equal(value, before[key]) for key, value in plain.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in plain.modules())
    assert torch.equal(torch.get_rng_state(), rng)


def test_counting_says_nothing(caplog, capfd):
    count_macs(network(("msa", {}, ["block3"])), (3, 32, 32))
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_weights_of_another_precision():
    assert count_macs(nn.Linear(4, 3).double(), (1, 2, 4)).total == 24


@torch.library.custom_op("ablate_test::twist", mutates_args=())
def twist(x: torch.Tensor, weight: torch.Tensor, times: int) -> torch.Tensor:
    return x @ weight * times


@twist.register_fake
def _(x, weight, times):
    return x @ weight


class Twist(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 4))
        self.before = nn.Linear(4, 4, bias=False)

    def forward(self, x):
        return torch.ops.ablate_test.twist(self.before(x), self.weight, 3)


def twist_macs(inputs, outputs):
    x, weight, times = inputs
    assert times == 3
    assert tuple(outputs[0]) == (*x[:-1], weight[1])
    return x[0] * x[1] * x[2] * weight[0] * weight[1]


def test_an_operator_that_nobody_counts_is_an_error():
    with pytest.raises(MeasureError) as caught:
        count_macs(Twist(), (1, 5, 4))
    assert str(caught.value) == (
        "operators that nobody counts: ablate_test::twist"
        "\n    register each: give the module that calls it an attribute mac_handlers = {'name': function},"
        " where function(inputs, outputs) takes shapes and gives MACs, and None stands for no MACs;"
        " count_macs(..., handlers=...) takes the same"
    )


def test_an_operator_is_registered_by_the_caller_or_by_its_module():
    before, own = 5 * 4 * 4, 5 * 4 * 4
    assert count_macs(Twist(), (1, 5, 4), handlers={"ablate_test::twist": twist_macs}).total == before + own
    assert count_macs(Twist(), (1, 5, 4), handlers={"ablate_test::twist": None}).total == before

    class Declared(Twist):
        mac_handlers = {"ablate_test::twist": twist_macs}  # noqa: RUF012

    count = count_macs(nn.Sequential(Declared()), (1, 5, 4))
    assert count.total == before + own
    assert count.by_module == {"0": own, "0.before": before}


def test_counters_that_disagree_show_both_numbers_by_module(monkeypatch):
    monkeypatch.setitem(operators.COUNTED, "aten::linear", lambda inputs, outputs: 7)
    attended = network(("se", {"reduction": 16}, ["block2"]))
    with pytest.raises(MeasureError) as caught:
        count_macs(attended, (3, 32, 32))
    assert str(caught.value) == (
        "fvcore counts 10,321,948 MACs and torch 11,376,128; they must agree"
        "\n    backbone.head.hidden: 7 and 1,048,576"
        "\n    backbone.head.output: 7 and 5,120"
        "\n    attention.block2.gate.squeeze: 7 and 256"
        "\n    attention.block2.gate.excite: 7 and 256"
    )


def test_a_network_that_cannot_run_is_said():
    with pytest.raises(MeasureError, match=r"cannot be traced on an image of \(4, 8, 8\)"):
        count_macs(nn.Conv2d(3, 2, 1), (4, 8, 8))


def test_a_disagreement_inside_a_module_without_children_is_found():
    class Vector(nn.Module):
        def forward(self, x):
            return torch.matmul(x, x[0, 0, 0])  # matrix times vector: torch's counter has no formula for it

    with pytest.raises(
        MeasureError, match=r"fvcore counts 20 MACs and torch 0; they must agree\n    0: 20 and 0"
    ):
        count_macs(nn.Sequential(Vector()), (1, 5, 4))
