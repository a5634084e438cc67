import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision import models

from ablate.models import WeightsError, attach_attention, build_backbone, build_network, load_weights
from ablate.models.weights import load_backbone, read_state_dict


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


def resnet(classes=10, image_shape=(3, 32, 32), width=0.125, name="resnet18"):
    return build_backbone(
        name, classes=classes, image_shape=image_shape, args={"width": width} if width else {}
    )


def same(left, right):
    return list(left) == list(right) and all(torch.equal(left[key], right[key]) for key in left)


SE = ("se", {"reduction": 2}, ["block1", "block2.relu"])


@pytest.fixture
def saved(tmp_path):
    """saved(module or state dict) -> path of a state dict."""

    def save(content, name="w.pth"):
        torch.save(content.state_dict() if isinstance(content, nn.Module) else content, tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture
def images():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


# Before and after attaching


def test_weights_load_before_attaching_and_still_load_after(saved, images):
    trained = network(backbone_seed=9)
    path = saved(trained.backbone)
    before = network(SE, weights=path)
    assert same(before.backbone.state_dict(), trained.backbone.state_dict())
    after = network(SE)
    assert load_weights(after, path) == ()
    assert same(after.state_dict(), before.state_dict())
    assert torch.equal(after.eval()(images), before.eval()(images))
    assert torch.equal(before.eval().detach_attention()(images), trained.eval()(images))


def test_attention_is_drawn_alike_with_and_without_weights(saved):
    path = saved(network(backbone_seed=9).backbone)
    assert same(network(SE, weights=path).attention.state_dict(), network(SE).attention.state_dict())


def test_torchvisions_own_weights_load_into_ours(saved):
    torch.manual_seed(1)
    theirs = models.resnet18().eval()
    for name, buffer in theirs.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    ours = resnet(1000, width=None).eval()
    assert load_weights(ours, saved(theirs)) == ()
    image = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(image), theirs(image))
    attached = build_network(
        backbone="resnet18",
        args={},
        attention=("se", {}, ["layer*"]),
        classes=1000,
        image_shape=(3, 64, 64),
        backbone_seed=0,
        attention_seed=0,
        weights=saved(theirs),
    )
    assert torch.equal(attached.eval().detach_attention()(image), theirs(image))


def test_files_from_before_batch_norms_counted(saved):
    state = {name: t for name, t in resnet().state_dict().items() if "num_batches" not in name}
    assert load_weights(resnet(), saved(state)) == ()


# The head


def test_a_head_for_another_number_of_classes_starts_fresh(saved):
    torch.manual_seed(1)
    trained = resnet(10)
    torch.manual_seed(2)
    other = resnet(7)
    fresh = other.fc.weight.clone()
    assert load_weights(other, saved(trained)) == (
        "weights: fc starts fresh: 10 classes in the file, 7 here",
    )
    assert torch.equal(other.fc.weight, fresh)
    assert torch.equal(other.layer4[1].conv2.weight, trained.layer4[1].conv2.weight)


def test_a_head_for_as_many_other_classes_starts_fresh_when_that_is_said():
    torch.manual_seed(1)
    trained = resnet(64)  # as many as its first layers have channels: only the head is one
    torch.manual_seed(2)
    other = resnet(64)
    fresh = other.fc.weight.clone()
    given = dict(trained.state_dict())
    assert load_backbone(other, given, Path("a"), classes=64, other_classes=True) == (
        "weights: fc starts fresh: the classes are others than the file's",
    )
    assert torch.equal(other.fc.weight, fresh)
    assert torch.equal(other.conv1.weight, trained.conv1.weight)
    assert load_backbone(other, given, Path("a"), classes=64) == ()
    assert torch.equal(other.fc.weight, trained.fc.weight)


def test_a_convolution_can_be_a_head(saved):
    trained, other = models.squeezenet1_1(num_classes=5), models.squeezenet1_1(num_classes=4)
    assert load_weights(other, saved(trained)) == (
        "weights: classifier.1 starts fresh: 5 classes in the file, 4 here",
    )


def test_a_head_for_as_many_other_classes_starts_fresh_on_demand(saved):
    normed = torch.nn.utils.parametrizations.weight_norm  # its weight is made of two other tensors
    trained, other = (
        nn.Sequential(normed(nn.Conv2d(3, 2, 1)), nn.Flatten(), nn.Linear(8, 2)) for _ in range(2)
    )
    fresh, path = other[2].weight.clone(), saved(trained)
    notes = load_backbone(other, read_state_dict(path), path, classes=2, other_classes=True)
    assert notes == ("weights: 2 starts fresh: the classes are others than the file's",)
    assert torch.equal(other[2].weight, fresh) and torch.equal(other[0].weight, trained[0].weight)
    load_weights(other, path)
    assert torch.equal(other[2].weight, trained[2].weight)


def test_a_hidden_layer_is_no_head(saved):
    path = saved(network(args={"width": 0.25, "hidden": 50}).backbone)
    with pytest.raises(WeightsError) as caught:
        network(args={"width": 0.25, "hidden": 60}, weights=path)
    assert str(caught.value) == (
        f"the weights file '{path}' does not fit the backbone: 3 of another shape"
        "\n    another shape: head.hidden.weight is (50, 128) in the file, (60, 128) here"
        "\n    another shape: head.hidden.bias is (50,) in the file, (60,) here"
        "\n    another shape: head.output.weight is (10, 50) in the file, (10, 60) here"
    )


# The first layer


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 7])
def test_the_first_layer_follows_the_rule(saved, channels):
    trained, other = resnet(), resnet(image_shape=(channels, 32, 32))
    notes = load_weights(other, saved(trained))
    assert notes == (f"weights: conv1.weight was adapted from 3 image channels to {channels}",)
    for channel in range(channels):
        kernel = trained.conv1.weight[:, channel % 3] * 3 / channels
        expected = trained.conv1.weight.sum(1) if channels == 1 else kernel
        torch.testing.assert_close(other.conv1.weight[:, channel], expected)


def test_an_image_with_equal_channels_gives_what_it_gave(saved):
    gray = torch.randn(2, 1, 32, 32)
    trained, for_gray = resnet().eval(), resnet(image_shape=(1, 32, 32)).eval()
    six = resnet(image_shape=(6, 32, 32)).eval()
    load_weights(for_gray, saved(trained))
    load_weights(six, saved(trained))
    expected = trained(gray.expand(-1, 3, -1, -1))
    torch.testing.assert_close(for_gray(gray), expected)
    torch.testing.assert_close(six(gray.expand(-1, 6, -1, -1)), expected)


def test_the_rule_is_timms(saved):
    timm = pytest.importorskip("timm")
    trained = timm.create_model("resnet10t", num_classes=4)
    for channels in (1, 5):
        path = saved(trained)
        theirs = timm.create_model(
            "resnet10t",
            num_classes=3,
            in_chans=channels,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(path), "num_classes": 4},
        )
        ours = build_backbone("timm:resnet10t", classes=3, image_shape=(channels, 32, 32), args={})
        notes = load_weights(ours, path)
        assert notes == (
            f"weights: conv1.0.weight was adapted from 3 image channels to {channels}",
            "weights: fc starts fresh: 4 classes in the file, 3 here",
        )
        expected = theirs.state_dict()
        for name, tensor in ours.state_dict().items():
            if not name.startswith("fc."):
                torch.testing.assert_close(tensor, expected[name])


# What torchvision's and timm's own files call otherwise


def test_auxiliary_heads_of_the_file_are_left_out(saved):
    theirs = models.googlenet(aux_logits=True, init_weights=False, num_classes=4)
    ours = build_backbone("torchvision:googlenet", classes=4, image_shape=(3, 64, 64), args={})
    assert load_weights(ours, saved(theirs)) == (
        "weights: aux1, aux2 of the file was left out, as the backbone has it switched off",
    )
    assert torch.equal(ours.fc.weight, theirs.fc.weight)


def test_names_of_older_torchvisions(saved):
    dense = models.densenet121(num_classes=2)
    pattern = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])")
    old = {pattern.sub(r"\1.\2", name): tensor for name, tensor in dense.state_dict().items()}
    assert old.keys() != dense.state_dict().keys()
    with torch.device("meta"):
        assert load_weights(models.densenet121(num_classes=2), saved(old)) == ()
        vit = models.vit_b_32(num_classes=2)
    state = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in vit.state_dict().items()}
    older = {
        name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): tensor
        for name, tensor in state.items()
    }
    assert older.keys() != state.keys()
    assert load_weights(vit, saved(older)) == ()


def test_position_tables_are_resampled_by_timms_own_rule(saved):
    timm = pytest.importorskip("timm")
    trained = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=2, depth=1)
    path = saved(trained)
    for device in ("meta", "cpu"):
        with torch.device(device):
            ours = build_backbone(
                "timm:vit_tiny_patch16_224", classes=2, image_shape=(3, 96, 96), args={"depth": 1}
            )
        assert load_weights(ours, path) == ()
    assert ours.pos_embed.shape == (1, 37, 192)
    assert torch.equal(ours.pos_embed[:, 0], trained.pos_embed[:, 0])
    assert ours.pos_embed[:, 1:].std() > 0


# What does not fit


def test_every_name_that_does_not_fit_is_listed(saved):
    state = resnet().state_dict()
    state["stem.weight"] = state.pop("conv1.weight")
    state["layer1.0.convolution1.weight"] = state.pop("layer1.0.conv1.weight")
    state["fc.weight"] = torch.zeros(10, 65)
    path, other = saved(state), resnet()
    untouched = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(other, path)
    assert str(caught.value) == (
        f"the weights file '{path}' does not fit the backbone:"
        " 2 missing, 2 unexpected, 1 of another shape"
        "\n    missing in the file: conv1.weight (near it: stem.weight)"
        "\n    missing in the file: layer1.0.conv1.weight (near it: layer1.0.convolution1.weight)"
        "\n    not in the backbone: stem.weight (near it: conv1.weight)"
        "\n    not in the backbone: layer1.0.convolution1.weight (near it: layer1.0.conv1.weight)"
        "\n    another shape: fc.weight is (10, 65) in the file, (10, 64) here"
    )
    assert same(other.state_dict(), untouched)


def test_weights_of_another_network_name_all_of_it(saved):
    with pytest.raises(WeightsError) as caught:
        load_weights(resnet(), saved(network().backbone))
    text = str(caught.value)
    assert text.count("missing in the file: ") == 102 and text.count("not in the backbone: ") == 25


def test_on_the_meta_device_names_and_shapes_are_checked_and_nothing_is_loaded(saved):
    path = saved(network(classes=5).backbone)
    with torch.device("meta"):
        planned = network(SE, weights=path, image_shape=(1, 16, 16))
    real = network(SE, weights=path, image_shape=(1, 16, 16))
    assert all(tensor.is_meta for tensor in planned.state_dict().values())
    assert planned.notes == real.notes and len(planned.notes) == 2
    with torch.device("meta"), pytest.raises(WeightsError, match=r"block1\.conv\.bias is \(8,\) in the file"):
        network(args={"width": 0.5}, weights=path)


# Files of our own trials


@pytest.fixture
def trial(tmp_path):
    """The weights that a finished trial with attention leaves."""
    trained = network(SE, backbone_seed=7, attention_seed=8)
    safetensors.torch.save_model(trained, str(tmp_path / "weights.safetensors"))
    return trained, tmp_path / "weights.safetensors"


def test_a_finished_trial_gives_backbone_and_attention(trial):
    trained, path = trial
    assert same(network(SE, weights=path).state_dict(), trained.state_dict())
    assert network(SE, weights=path).notes == ()


def test_attention_of_a_trial_goes_in_where_it_is_the_same(trial):
    trained, path = trial
    other = network(("se", {"reduction": 4}, ["block1", "block3"]), weights=path)
    fresh = network(("se", {"reduction": 4}, ["block1", "block3"]))
    assert same(other.backbone.state_dict(), trained.backbone.state_dict())
    assert same(other.attention.state_dict(), fresh.attention.state_dict())
    assert other.notes == (
        "weights: attention at block1 was left out: this network has another there",
        "weights: attention at block2.relu was left out: this network has none there",
    )
    half = network(("se", {"reduction": 2}, ["block1"]), weights=path)
    assert same(half.attention["block1"].state_dict(), trained.attention["block1"].state_dict())
    bare = network(weights=path)
    assert same(bare.backbone.state_dict(), trained.backbone.state_dict()) and len(bare.notes) == 2


class Wrapped(nn.Module):
    def __init__(self, classes=2):
        super().__init__()
        self.backbone, self.attention = nn.Conv2d(3, 4, 1), nn.Linear(4, classes)

    def forward(self, x):
        return self.attention(self.backbone(x).mean((2, 3)))


def test_a_backbone_whose_own_names_look_like_ours(saved):
    trained, other, wider = Wrapped(), Wrapped(), Wrapped(classes=3)
    assert load_weights(other, saved(trained)) == ()
    assert same(other.state_dict(), trained.state_dict())
    assert load_weights(wider, saved(trained)) == (
        "weights: attention starts fresh: 2 classes in the file, 3 here",
    )
    full = attach_attention(
        trained, ["backbone"], lambda place: nn.Conv2d(4, 4, 1), image_shape=(3, 5, 5), seed=0
    )
    again = attach_attention(
        other, ["backbone"], lambda place: nn.Conv2d(4, 4, 1), image_shape=(3, 5, 5), seed=1
    )
    assert load_weights(again, saved(full)) == ()
    assert same(again.state_dict(), full.state_dict())
