import copy
import pickle

import pytest
import torch
from torch import nn

from ablate.models import ModelError, PlaceError, attach_attention, build_attention
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


def faults(backbone, *patterns, image_shape=(3, 32, 32), place="after"):
    with pytest.raises(PlaceError) as caught:
        find_places(backbone, patterns, image_shape, place)
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


class KeepsTensors(nn.Module):
    """Tensors that are neither parameters nor buffers; one is made by autograd: deepcopy refuses that."""

    def __init__(self, looks=False):
        super().__init__()
        self.conv = nn.utils.weight_norm(nn.Conv2d(3, 4, 1))
        self.shifts = [torch.ones(1, 4, 1, 1)]
        self.cache = {"doubled": self.conv.weight * 2}
        self.looks = looks

    def forward(self, x):
        y = self.conv(x) + self.shifts[0]
        return y if not self.looks or y.sum().item() > 0 else -y


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize("looks", [False, True])
def test_plain_tensors_of_a_network_come_along(looks):
    network = KeepsTensors(looks)
    assert not network.conv.weight.is_leaf
    assert paths(network, "conv") == ["conv"]


class ChannelsLast(nn.Module):
    """Maps (B, H, W, C) inside, as in Swin; `sides` gives the map's height and width for a fixed size."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 1)
        self.turned = Turned()
        self.tokens = Tokens()

    def forward(self, x):
        return self.tokens(self.turned(self.conv(x)))


class Turned(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1)


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(1, 2).unsqueeze(3)


class OneSize(nn.Module):
    """Takes images of one size only, so no second size can tell where the channels are."""

    def __init__(self, channels, side):
        super().__init__()
        self.inner, self.side = ChannelsLast(channels), side

    def forward(self, x):
        if x.shape[-1] != self.side:
            raise AssertionError("another size")
        return self.inner(x)


@pytest.mark.parametrize("image_shape", [(3, 8, 8), (3, 8, 6), (3, 6, 8)])
@pytest.mark.parametrize("channels", [4, 6, 8])
def test_a_map_with_channels_last_is_refused(channels, image_shape):
    """Of a non-square image too, and where the number of channels is a side of the map."""
    network, (_, height, width) = ChannelsLast(channels), image_shape
    [place] = find_places(network, ["conv"], image_shape)
    assert place.shape == (channels, height, width)
    [fault] = faults(network, "turned", image_shape=image_shape)
    assert fault.shape == (2, height, width, channels)
    assert str(fault) == (
        f"attention cannot sit after 'turned': its output has the shape (2, {height}, {width}, {channels}),"
        " channels last (B, H, W, C), not that of a feature map (B, C, H, W)"
    )
    [fault] = faults(network, "tokens", image_shape=image_shape)
    assert str(fault).endswith(
        f"{(2, height * width, channels, 1)}, and its second axis, the channels', grows with the image"
    )


def test_without_a_second_size_the_shape_decides():
    network = OneSize(4, 8)
    assert [place.channels for place in find_places(network, ["inner.conv"], (3, 8, 8))] == [4]
    assert "channels last" in str(faults(network, "inner.turned", image_shape=(3, 8, 8))[0])


def test_pooled_maps_are_maps():
    network = nn.Sequential(nn.Conv2d(3, 7, 1), nn.AdaptiveAvgPool2d((5, 7)), nn.AdaptiveAvgPool2d(1))
    assert [place.shape for place in find_places(network, ["1", "2"], (3, 8, 8))] == [(7, 5, 7), (7, 1, 1)]


# --- inside a residual block, before the addition


class Block(nn.Module):
    """A basic block in the ways people write one: how it adds, and what stands on either way."""

    def __init__(self, channels, out, how="out-of-place"):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
        )
        self.conv = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out)
        self.drop = nn.Dropout(0.5)
        self.shortcut = nn.Conv2d(channels, out, 1, bias=False) if channels != out else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.add = Sum()
        self.how = how

    def forward(self, x):
        branch = self.norm(self.conv(self.first(x)))
        if self.how == "dropout":
            branch = self.drop(branch)
        shortcut = self.shortcut(x)
        if self.how == "in place":
            branch += shortcut
            return self.relu(branch)
        if self.how == "shortcut first":
            return self.relu(shortcut + branch)
        if self.how == "module":
            return self.relu(self.add(branch, shortcut))
        if self.how == "scaled":
            return self.relu(branch * 0.2 + shortcut)
        return self.relu(torch.add(branch, shortcut))


class Sum(nn.Module):
    def forward(self, left, right):
        return left + right


class Zero(nn.Module):
    def forward(self, x):
        return x * 0


def before_add(backbone, *patterns, image_shape=(3, 16, 16)):
    return find_places(backbone, patterns, image_shape, "before-add")


WAYS = ["out-of-place", "in place", "shortcut first", "module", "dropout"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("out", [3, 5], ids=["identity", "projection"])
def test_a_branch_times_zero_leaves_the_shortcut(how, out):
    network = nn.Sequential(Block(3, out, how)).eval()
    [place] = before_add(network, "0")
    assert (place.path, place.block, place.shape) == ("0.norm", "0", (out, 16, 16))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    attended = attach_attention(
        network, ["0"], lambda place: Zero(), image_shape=(3, 16, 16), seed=0, place="before-add"
    )
    assert torch.equal(attended(x), network[0].shortcut(x).relu())
    assert not torch.equal(attended.detach_attention()(x), network[0].shortcut(x).relu())


def faults_before_add(backbone, *patterns):
    return faults(backbone, *patterns, place="before-add", image_shape=(3, 16, 16))


def test_a_branch_that_leaves_no_submodule_is_refused_with_the_way_out():
    [fault] = faults_before_add(nn.Sequential(Block(3, 5, "scaled")), "0")
    assert (fault.path, fault.shape) == ("0", None)
    assert str(fault) == (
        "attention cannot sit before the addition of '0': the map that it adds to the shortcut is no output"
        " of a submodule (mul comes between)\n"
        "    the last submodule of the branch is '0.norm': name it, with place: after"
    )


def test_what_has_no_branch_is_refused(backbone):
    network = nn.Sequential(Block(3, 5), nn.Sequential(Block(5, 5), Block(5, 5)))
    places = before_add(network, "0", "1.*")
    assert [(place.block, place.path) for place in places] == [
        (block, f"{block}.norm") for block in ("0", "1.0", "1.1")
    ]
    [fault] = faults_before_add(network, "1")
    assert str(fault) == (
        "attention cannot sit before the addition of '1': it adds no two maps itself, modules inside it do\n"
        "    name those: '1.0', '1.1'"
    )
    [fault] = faults(backbone, "block1", place="before-add")
    assert str(fault) == (
        "attention cannot sit before the addition of 'block1': it adds no two maps of one shape, so it has no"
        " residual branch\n    use place: after"
    )
    assert "no module of the backbone matches" in str(faults_before_add(network, "2")[0])


class Ambiguous(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.left(x) + self.right(x)


class Repeats(nn.Module):
    """One block that runs twice, and one whose last layer does."""

    def __init__(self):
        super().__init__()
        self.block, self.shared = Block(3, 3), SharedNorm()

    def forward(self, x):
        return self.shared(self.block(self.block(x)))


class SharedNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.norm = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.right(self.norm(self.left(x)))) + x


class Cubic(nn.Module):
    """An activation that adds maps which it made itself: no residual addition."""

    def forward(self, x):
        return x + x**3


def test_additions_that_tell_no_branch():
    assert "equally many convolutions" in str(faults_before_add(nn.Sequential(Ambiguous()), "0")[0])
    network = Repeats()
    assert str(faults_before_add(network, "block")[0]).endswith("it runs 2 times in a forward")
    assert "ends in 'shared.norm', which runs several times" in str(faults_before_add(network, "shared")[0])
    cubic = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), Cubic()))
    assert "so it has no residual branch" in str(faults_before_add(cubic, "0")[0])


class TurnedBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.turn, self.mix = Turned(), nn.Linear(3, 3)

    def forward(self, x):
        x = self.turn(x)
        return (x + self.mix(x)).permute(0, 3, 1, 2)


def test_a_branch_with_channels_last_is_refused():
    [fault] = faults_before_add(nn.Sequential(TurnedBlock()), "0")
    assert fault.shape == (2, 16, 16, 3)
    assert "its branch ends in '0.mix', but its output has the shape (2, 16, 16, 3), channels last" in str(
        fault
    )


def test_a_residual_block_that_looks_at_values_is_found_with_real_numbers():
    class Looks(Block):
        def forward(self, x):
            return super().forward(x) if x.sum().item() >= 0 else x

    assert [place.path for place in before_add(nn.Sequential(Looks(3, 5)), "0")] == ["0.norm"]


def test_looking_for_branches_changes_nothing():
    network = nn.Sequential(Block(3, 5, "in place"))
    state = copy.deepcopy(network.state_dict())
    before_add(network, "0")
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert all(
        module.training and not module._forward_hooks and not module._forward_pre_hooks
        for module in network.modules()
    )


def test_an_unknown_kind_of_place_is_refused(backbone):
    with pytest.raises(ModelError) as caught:
        find_places(backbone, ["block1"], (3, 32, 32), "before")
    assert str(caught.value) == "no place is called 'before'\n    allowed: after, before-add"


# --- torchvision's own networks


@pytest.fixture(scope="module")
def torchvision_models():
    return pytest.importorskip("torchvision").models


@pytest.mark.parametrize(
    ("name", "end", "widths"),
    [
        ("resnet18", "bn2", [64, 64, 128, 128, 256, 256, 512, 512]),
        ("resnet50", "bn3", [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3),
    ],
)
def test_cbams_own_position_in_torchvisions_resnets(torchvision_models, name, end, widths):
    with torch.device("meta"):
        network = torchvision_models.get_model(name)
    places = find_places(network, ["layer?.*"], (3, 64, 64), "before-add")
    assert [place.channels for place in places] == widths
    assert all(place.path == f"{place.block}.{end}" for place in places)


def test_cbams_own_position_in_timms_resnets():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        network = timm.create_model("resnet18d", drop_path_rate=0.1)
    places = find_places(network, ["layer?.*"], (3, 64, 64), "before-add")
    # not after its drop_path: a branch that was dropped stays zero
    assert [place.path for place in places] == [f"layer{i}.{j}.bn2" for i in (1, 2, 3, 4) for j in (0, 1)]


@pytest.mark.parametrize(
    ("name", "place", "at"),
    [
        ("squeezenet1_1", "after", "features.*.expand3x3"),
        ("shufflenet_v2_x0_5", "after", "stage?.*"),
        ("resnet18", "before-add", "layer?.*"),
    ],
)
def test_removing_attention_gives_the_network_back_bit_for_bit(torchvision_models, name, place, at):
    torch.manual_seed(0)
    network = torchvision_models.get_model(name, num_classes=5).eval()
    bare = copy.deepcopy(network)
    x = torch.randn(2, 3, 64, 64)
    expected = bare(x)
    attended = attach_attention(
        network,
        [at],
        lambda spot: build_attention("se", spot.channels, {"reduction": 4}),
        image_shape=(3, 64, 64),
        seed=0,
        place=place,
    )
    assert list(attended.backbone.state_dict()) == list(bare.state_dict())
    assert not torch.equal(attended(x), expected)
    attended.backbone.load_state_dict(bare.state_dict(), strict=True)
    back = attended.detach_attention()
    assert all(torch.equal(value, bare.state_dict()[key]) for key, value in back.state_dict().items())
    assert torch.equal(back(x), expected)
    assert [vars(module).keys() for module in back.modules()] == [
        vars(module).keys() for module in bare.modules()
    ]
