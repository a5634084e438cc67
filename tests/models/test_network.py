import copy
import io
import pickle
import shutil
import sys

import numpy as np
import pytest
import torch
from torch import nn

from ablate.models import ModelError, PlaceError, attach_attention, build_attention, build_network

FULL = ("msa", {"reduction": 4}, ["block2", "block3"])


def network(attention=None, **changes):
    arguments = {
        "backbone": "cnn",
        "args": {"width": 0.25},
        "attention": attention,
        "classes": 10,
        "image_shape": (3, 16, 16),
        "backbone_seed": 3,
        "attention_seed": 4,
    }
    return build_network(**arguments | changes)


def same(left, right):
    """Two state dicts, bit for bit."""
    return list(left) == list(right) and all(torch.equal(left[key], right[key]) for key in left)


@pytest.fixture
def images():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_published_parameters():
    full = network(("se", {"reduction": 16}, ["block*.relu"]), args={}, image_shape=(3, 32, 32))
    assert sum(p.numel() for p in full.parameters()) == 1_150_602
    assert [(m.path, m.channels, m.param_count) for m in full.attached] == [
        ("block1.relu", 32, 128),
        ("block2.relu", 64, 512),
        ("block3.relu", 128, 2048),
    ]


def test_every_variant_of_a_seed_starts_from_the_same_backbone():
    bare = network().backbone.state_dict()
    for attention in (FULL, ("se", {}, ["block1.relu"]), ("msa", {"spatial": False}, ["**.norm"])):
        assert same(network(attention).backbone.state_dict(), bare)
    assert not same(network(backbone_seed=5).backbone.state_dict(), bare)


def test_an_attention_module_depends_on_its_own_place_only():
    one, two = network(("msa", {}, ["block2"])), network(("msa", {}, ["block1", "block2", "block3.relu"]))
    assert same(one.attention["block2"].state_dict(), two.attention["block2"].state_dict())
    other = network(("msa", {}, ["block2"]), attention_seed=5)
    assert not same(one.attention["block2"].state_dict(), other.attention["block2"].state_dict())
    # two places with maps of the same size still start from different weights
    twins = network(("se", {"reduction": 2}, ["block1.conv", "block1.norm"])).attention
    assert not torch.equal(twins["block1/conv"].gate.squeeze.weight, twins["block1/norm"].gate.squeeze.weight)


def test_with_every_switch_off_it_is_the_baseline_bit_for_bit(images):
    off = {"multi_scale": False, "channel": False, "spatial": False}
    baseline, absent = network(), network(("msa", off, ["block2"]))
    assert absent.attached == ()
    assert same(absent.state_dict(), baseline.state_dict())
    assert torch.equal(absent.eval()(images), baseline.eval()(images))


def test_the_global_random_state_is_untouched():
    torch.manual_seed(11)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    network(FULL)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_the_global_random_state_does_not_matter():
    torch.manual_seed(1)
    first = network(FULL)
    torch.manual_seed(2)
    assert same(network(FULL).state_dict(), first.state_dict())


def test_attention_acts_where_it_sits(images):
    full = network(FULL).eval()
    backbone = full.backbone
    with torch.no_grad():
        x = backbone.block1(images)
        assert full.attention.keys() == {"block2", "block3"}
        inner = backbone.block2.pool(backbone.block2.relu(backbone.block2.norm(backbone.block2.conv(x))))
        assert torch.equal(backbone.block2(x), full.attention["block2"](inner))
        assert not torch.equal(full(images), network().eval()(images))


def test_detaching_gives_the_backbone_back_bit_for_bit(images):
    full, bare = network(FULL).eval(), network().eval()
    backbone = full.detach_attention()
    assert same(backbone.state_dict(), bare.backbone.state_dict())
    assert torch.equal(backbone(images), bare(images))
    assert torch.equal(full(images), bare(images))
    assert (len(full.attention), full.attached, full.notes) == (0, (), ())
    for left, right in zip(backbone.modules(), bare.backbone.modules(), strict=True):
        assert left.__dict__.keys() == right.__dict__.keys()
        assert not left._forward_hooks


def test_the_backbone_keeps_its_names_and_attention_is_registered_once():
    full = network(FULL)
    assert list(full.backbone.state_dict()) == list(network().backbone.state_dict())
    names = [name for name, _ in full.named_parameters(remove_duplicate=False)]
    assert len(names) == len(set(names)) == len(list(full.parameters()))
    assert {name.split(".")[0] for name in names} == {"backbone", "attention"}


def through_pickle(module):
    return pickle.loads(pickle.dumps(module))  # noqa: S301 (our own bytes)


def through_torch_save(module):
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle, through_torch_save])
def test_a_copy_runs_its_own_attention(duplicate, images):
    full = network(FULL).eval()
    expected = full(images)
    other = duplicate(full)
    assert torch.equal(other(images), expected)
    with torch.no_grad():
        for parameter in other.attention.parameters():
            parameter.add_(1)
    assert not torch.equal(other(images), expected)
    assert torch.equal(full(images), expected)
    other(images).sum().backward()
    assert all(parameter.grad is not None for parameter in other.attention.parameters())
    assert all(parameter.grad is None for parameter in full.parameters())
    assert torch.equal(other.detach_attention()(images), network().eval()(images))


def test_a_copy_of_the_backbone_alone_still_attends(images):
    full = network(FULL).eval()
    assert torch.equal(copy.deepcopy(full.backbone)(images), full(images))


def test_state_dict_round_trip(images):
    full, other = network(FULL).eval(), network(FULL, backbone_seed=8, attention_seed=9).eval()
    other.load_state_dict(full.state_dict(), strict=True)
    assert torch.equal(other(images), full(images))
    other.backbone.load_state_dict(
        network().backbone.state_dict(), strict=True
    )  # weights load after attaching too


def test_moving_and_casting_reach_the_attention(images):
    full = network(FULL).eval()
    expected = full(images)
    as_double = copy.deepcopy(full).double()(images.double())
    torch.testing.assert_close(as_double.float(), expected, atol=1e-4, rtol=1e-4)
    last = copy.deepcopy(full).to(memory_format=torch.channels_last)(
        images.to(memory_format=torch.channels_last)
    )
    torch.testing.assert_close(last, expected, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (full(images).float() - expected).abs().max() < 0.1
    assert all(parameter.is_meta for parameter in copy.deepcopy(full).to("meta").parameters())


def test_the_compiler_sees_through_the_hooks(images):
    full = network(FULL).eval()
    torch._dynamo.reset()
    compiled = torch.compile(full, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), full(images))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_inductor(images):
    full = network(FULL)
    torch._dynamo.reset()
    compiled = torch.compile(full)
    torch.manual_seed(0)
    full.eval()
    torch.testing.assert_close(compiled(images), full(images), atol=1e-5, rtol=1e-4)


def test_on_the_meta_device():
    with torch.device("meta"):
        planned = network(FULL)
    real = network(FULL)
    assert all(tensor.is_meta for tensor in planned.state_dict().values())
    assert (planned.attached, planned.notes) == (real.attached, real.notes)


def test_every_parameter_is_trained(images):
    full = network(("msa", {"reduction": 4}, ["block1.relu", "block*"]))
    full(images).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in full.attention.parameters())


def test_notes_name_their_place():
    notes = network(("msa", {"reduction": 5}, ["block2", "block3"]), image_shape=(3, 8, 8)).notes
    assert notes[0] == "block2: 16 channels / reduction=5 = 3.2: the bottleneck is rounded down to 3"
    assert (
        "block3: on a 1×1 map 96% of the weights of the 5×5 convolution see only padding and get no gradient"
        in notes
    )


def test_faults_of_places_reach_the_caller():
    with pytest.raises(PlaceError) as caught:
        network(("se", {}, ["block4", "head"]))
    assert {fault.pattern for fault in caught.value.faults} == {"block4", "head"}


OWN = """
import torch
from torch import nn

class Crop(nn.Module):
    def __init__(self, channels):
        super().__init__()
    def forward(self, x):
        return x[..., 1:]

def features(*, classes, image_shape):
    return nn.Conv2d(image_shape[0], classes, 1)

def narrow(*, classes, image_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(7, classes))

def graded(*, classes, image_shape):
    rates = torch.linspace(0, 0.2, 3).tolist()
    blocks = [nn.Sequential(nn.Conv2d(image_shape[0], image_shape[0], 1), nn.Dropout(rate)) for rate in rates]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(3 * 16 * 16, classes))

class Narrow(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(3, classes)

    def forward(self, x):
        mean = x.mean((2, 3))
        return self.fc(mean[:, :2])

def wrong(*, classes, image_shape):
    return Narrow(classes)

def broken(*, classes, image_shape):
    raise KeyError("depth")

def two_heads(*, classes, image_shape):
    class Two(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)), x
    return Two()

class CropInTraining(Crop):
    def forward(self, x):
        return x[..., 1:] if self.training else x

class Quits(Crop):
    def forward(self, x):
        raise SystemExit(3)

class Keyless(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        return {}["gate"]

def lazy(*, classes, image_shape):
    return nn.Sequential(nn.LazyConv2d(4, 1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_networks_of_a_user.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_networks_of_a_user", raising=False)  # a test, a file
    return "own_networks_of_a_user"


def test_parts_that_do_not_fit_are_refused_before_training(own):
    def message(**changes):
        with pytest.raises(ModelError) as caught:
            network(**changes)
        return str(caught.value)

    with torch.device("meta"):
        in_training = message(attention=(f"{own}:CropInTraining", {}, ["block1"]))
    assert "into (2, 8, 8, 7) in training mode; it must keep the shape" in in_training
    quits = message(attention=(f"{own}:Quits", {}, ["block1"]))
    assert "cannot take a map of (2, 8, 8, 8): SystemExit: 3\n    raised in " in quits
    assert "own_networks_of_a_user.py:" in quits
    assert message(attention=(f"{own}:Crop", {}, ["block1"])) == (
        "attention at 'block1' turns a map of (2, 8, 8, 8) into (2, 8, 8, 7); it must keep the shape"
    )
    assert message(backbone=f"{own}:features", args={}) == (
        f"backbone '{own}:features' gives (2, 10, 16, 16) for 2 images of 3×16×16; expected (2, 10) logits"
    )
    assert message(backbone=f"{own}:narrow", args={}).startswith(
        f"backbone '{own}:narrow' cannot take an image of 3×16×16: "
    )
    assert "too small" in message(image_shape=(3, 4, 4))


def test_an_error_in_a_users_own_code_names_its_line(own, tmp_path):
    def said(**changes):
        with pytest.raises(ModelError) as caught:
            network(args={}, **changes)
        return str(caught.value).splitlines()

    line = OWN.splitlines().index("        return self.fc(mean[:, :2])") + 1
    first, second = said(backbone=f"{own}:wrong")
    assert first.startswith(f"backbone '{own}:wrong' cannot take an image of 3×16×16: ")
    assert second == f"    raised in {tmp_path / own}.py:{line}"
    line = OWN.splitlines().index('    raise KeyError("depth")') + 1
    assert said(backbone=f"{own}:broken") == [
        f"backbone {own}:broken(): KeyError: 'depth'",
        f"    raised in {tmp_path / own}.py:{line}",
    ]
    line = OWN.splitlines().index('        return {}["gate"]') + 1
    assert said(attention=(f"{own}:Keyless", {}, ["block1"])) == [
        "attention at 'block1' cannot take a map of (2, 32, 8, 8): KeyError: 'gate'",
        f"    raised in {tmp_path / own}.py:{line}",
    ]
    # an error in a library's or our own code names no line of it
    assert len(said(backbone=f"{own}:narrow")) == 1
    assert len(said(backbone="torchvision:inception_v3")) == 1


def test_a_network_with_several_outputs_is_refused(own):
    with pytest.raises(ModelError) as caught:
        network(backbone=f"{own}:two_heads", args={})
    assert str(caught.value) == (
        f"backbone '{own}:two_heads' gives a tuple for 2 images of 3×16×16; expected (2, 10) logits"
        "\n    wrap it in a function of your own that keeps the logits"
    )


@pytest.mark.parametrize(
    ("backbone", "at"),
    [
        ("vgg16", ["features.4", "features.30"]),
        ("resnet18", ["layer*"]),
        ("torchvision:mobilenet_v3_small", ["features.3", "features.9"]),
    ],
)
def test_every_backbone_is_the_same_with_and_without_attention(backbone, at):
    args = {} if ":" in backbone else {"width": 0.1}
    image = torch.randn(2, 5, 40, 40, generator=torch.Generator().manual_seed(1))
    bare = network(backbone=backbone, args=args, image_shape=(5, 40, 40)).eval()
    full = network(("se", {"reduction": 2}, at), backbone=backbone, args=args, image_shape=(5, 40, 40)).eval()
    assert not torch.equal(full(image), bare(image))
    assert same(full.backbone.state_dict(), bare.backbone.state_dict())
    assert torch.equal(full.detach_attention()(image), bare(image))


def test_place_and_gate_reach_the_attention():
    def build(**more):
        return network(
            ("se", {"reduction": 2}, ["layer1.0"]),
            backbone="resnet18",
            args={"width": 0.125},
            image_shape=(3, 32, 32),
            **more,
        )

    assert [m.path for m in build(place="before-add").attached] == ["layer1.0.bn2"]
    own, static = build(), build(gate="static")
    assert [m.path for m in own.attached] == [m.path for m in static.attached] == ["layer1.0"]
    assert (own.attached[0].param_count, static.attached[0].param_count) == (2 * 8 * 4, 8)


def test_lazy_layers_draw_from_the_seed_of_the_backbone(own):
    torch.manual_seed(0)
    first = network(backbone=f"{own}:lazy", args={})
    torch.manual_seed(1)
    before = torch.get_rng_state()
    second = network(("se", {"reduction": 2}, ["1"]), backbone=f"{own}:lazy", args={})
    assert same(first.backbone.state_dict(), second.backbone.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    assert second.training


def test_a_backbone_that_needs_numbers_while_it_builds_can_be_planned(own):
    attention = ("se", {"reduction": 1}, ["1"])
    with torch.device("meta"):
        planned = network(attention, backbone=f"{own}:graded", args={})
    real = network(attention, backbone=f"{own}:graded", args={})
    assert all(parameter.is_meta for parameter in planned.parameters())
    assert planned.attached == real.attached
    assert [p.shape for p in planned.parameters()] == [p.shape for p in real.parameters()]


def test_a_second_attention_at_the_same_place_is_refused():
    full = network(("se", {}, ["block1"]))
    with pytest.raises(ModelError, match="'block1' already has attention attached; detach it first"):
        attach_attention(full.backbone, ["block1"], lambda p: nn.Identity(), image_shape=(3, 16, 16), seed=0)


VGG16_POOLS = [f"features.{n}" for n in (4, 9, 16, 23, 30)]


@pytest.fixture(scope="module")
def vgg16():
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        return torchvision.models.vgg16()


def test_the_published_positions_of_vgg16(vgg16):
    full = attach_attention(
        copy.deepcopy(vgg16),
        VGG16_POOLS,
        lambda place: build_attention("msa", place.channels, {"reduction": 16}).to("meta"),
        image_shape=(3, 224, 224),
        seed=0,
    )
    assert [(m.path, m.channels) for m in full.attached] == list(
        zip(VGG16_POOLS, [64, 128, 256, 512, 512], strict=True)
    )
    assert sum(m.param_count for m in full.attached) == 1_529_812
    assert sum(p.numel() for p in full.backbone.parameters()) == 138_357_544


def test_a_position_that_does_not_exist_is_an_error(vgg16):
    with pytest.raises(PlaceError) as caught:
        attach_attention(vgg16, ["features.31"], lambda p: nn.Identity(), image_shape=(3, 224, 224), seed=0)
    assert "no module of the backbone matches 'features.31'" in str(caught.value)
    assert all(name.startswith("features.") for name in caught.value.nearest)
