import sys

import pytest
import torch

from ablate.errors import MachineError
from ablate.models import ModelError, build_backbone, build_network

timm = pytest.importorskip("timm")

# Small ones of unlike families; timm names well over a thousand
FAMILIES = ("resnet10t", "mobilenetv3_small_050", "densenet121", "convnext_atto", "vit_tiny_patch16_224")
FAMILIES += (
    "inception_v3",
    "mixer_s32_224",
    "edgenext_xx_small",
    "ghostnet_050",
    "nfnet_l0",
    "res2net50_14w_8s",
)
FAMILIES += (
    "deit_tiny_distilled_patch16_224",
    "tf_efficientnet_b0",
    "regnetx_002",
    "poolformer_s12",
    "dla34",
)


def on_meta(name, classes=7, image_shape=(5, 96, 96), **args):
    with torch.device("meta"):
        return build_backbone(f"timm:{name}", classes=classes, image_shape=image_shape, args=args)


@pytest.mark.parametrize("name", FAMILIES)
def test_classes_channels_and_image_size_are_those_of_the_data(name):
    network = on_meta(name)
    assert network.train()(torch.zeros(2, 5, 96, 96, device="meta")).shape == (2, 7)


@pytest.mark.slow
def test_a_model_of_every_family():
    """The one with the shortest name; one is bound to RGB images by its own transform."""
    families = {}
    for name in timm.list_models():
        families.setdefault(timm.model_entrypoint(name).__module__, []).append(name)
    refused = []
    for names in families.values():
        name = min(names, key=lambda name: (len(name), name))
        shape = (5, *timm.get_pretrained_cfg(name).input_size[1:])
        try:
            with torch.device("meta"):
                build_network(
                    backbone=f"timm:{name}",
                    args={},
                    attention=None,
                    classes=7,
                    image_shape=shape,
                    backbone_seed=0,
                    attention_seed=0,
                )
        except ModelError as error:
            refused.append((name, str(error)))
    assert len(families) > 60
    assert {name for name, _ in refused} <= {"csatv2"}


def test_it_is_timms_network():
    torch.manual_seed(3)
    theirs = timm.create_model("mobilenetv3_small_050", num_classes=4, in_chans=1, drop_rate=0.1)
    torch.manual_seed(3)
    ours = build_backbone(
        "timm:mobilenetv3_small_050", classes=4, image_shape=(1, 64, 64), args={"drop_rate": 0.1}
    )
    state = theirs.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())
    assert ours.drop_rate == 0.1


def message(name, **args):
    with pytest.raises(ModelError) as caught:
        on_meta(name, **args)
    return str(caught.value)


def test_an_unknown_name_is_answered_with_the_nearest():
    assert "timm has no model 'resnt18'\n    did you mean 'resnet18', " in message("resnt18")
    assert message("resnet18.a1_in2k").startswith(
        "timm has no weights 'a1_in2k' for 'resnet18'\n    did you mean"
    )


def test_no_argument_is_swallowed():
    assert "unexpected keyword argument 'drop'" in message("resnet10t", drop=0.1)
    assert message("resnet10t", drop_rate=None) == (
        "backbone 'timm:resnet10t': timm ignores drop_rate=null; leave 'drop_rate' out"
    )
    assert message("resnet10t", pretrained=True) == (
        "backbone 'timm:resnet10t': 'pretrained' is no argument here: say which weights in model.weights"
    )
    assert "'in_chans' is no argument here: it follows from the data" in message("resnet10t", in_chans=3)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        MachineError, match=r"timm cannot be imported .*install it: python -m pip install 'timm"
    ):
        on_meta("resnet18")
