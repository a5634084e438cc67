"""Attention attaches to networks that nobody here wrote; networks.csv says how many modules a glob gives."""

import csv
from pathlib import Path

import pytest
import torch

from ablate.models import PlaceError, attach_attention, build_attention, build_backbone

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
DOCUMENT = REPOSITORY / "docs/attaching.md"
REDUCTION = 16

with (HERE / "networks.csv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))
ATTACHED = [row for row in ROWS if row["modules"]]
REFUSED = [row for row in ROWS if not row["modules"]]


def title(row):
    return f"{row['network']}-{row['place']}"


def image_shape(row):
    return 3, int(row["image_size"]), int(row["image_size"])


def attach(row, backbone, mechanism, args, shape=None):
    def build(place):
        return build_attention(mechanism, place.channels, args)

    return attach_attention(
        backbone, [row["at"]], build, image_shape=shape or image_shape(row), seed=0, place=row["place"]
    )


def bare(row, shape=None):
    pytest.importorskip(row["network"].partition(":")[0])
    return build_backbone(row["network"], classes=10, image_shape=shape or image_shape(row), args={})


def test_the_table_holds_each_network_once_and_enough_of_them():
    assert len({row["network"] for row in ATTACHED}) == len(ATTACHED) >= 30
    assert len({(title(row), row["at"]) for row in ROWS}) == len(ROWS)
    assert all(row["refusal"] for row in REFUSED)
    assert {row["network"].partition(":")[0] for row in ATTACHED} == {"torchvision", "timm"}


def documented():
    """{(network, place, glob): the other cells} of the document's table."""
    table = DOCUMENT.read_text(encoding="utf-8").partition("<!-- table: begin -->")[2]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {tuple(cell.strip("`") for cell in row[:3]): row[3:] for row in cells}


def test_the_documents_table_has_a_row_for_every_network():
    table = documented()
    assert list(table) == [(row["network"], row["place"], row["at"]) for row in ATTACHED + REFUSED]
    for row in ROWS:
        shown = table[row["network"], row["place"], row["at"]]
        if row["modules"]:
            assert shown[:2] == [row["image_size"], row["modules"]]
        else:
            assert row["refusal"] in shown[0]


@pytest.mark.networks
@pytest.mark.slow
@pytest.mark.parametrize("row", ATTACHED, ids=title)
def test_one_glob_attaches_to_a_network(row):
    """On the meta device, with the closed forms of SE's and MSA's parameters for each module."""
    with torch.device("meta"):
        plain = bare(row)
        names = list(plain.state_dict())
        network = attach(row, plain, "se", {"reduction": REDUCTION})
        assert len(network.attached) == int(row["modules"])
        for module in network.attached:
            reduced = max(1, module.channels // REDUCTION)
            assert module.param_count == 2 * module.channels * reduced
        added = {"se": sum(module.param_count for module in network.attached)}
        assert list(network.backbone.state_dict()) == names
        assert network.eval()(torch.zeros((2, *image_shape(row)))).shape == (2, 10)

        network.detach_attention()
        network = attach(row, plain, "msa", {"reduction": REDUCTION})
        for module in network.attached:
            c, m = module.channels, max(1, module.channels // REDUCTION)
            branches = (1 + 9 + 25) * c * m + 3 * m
            assert module.param_count == branches + (3 * m * c + c) + (2 * c * m + m + c) + (3 * 49 + 1)
        added["msa"] = sum(module.param_count for module in network.attached)
        assert network.eval()(torch.zeros((2, *image_shape(row)))).shape == (2, 10)
    shown = documented()[row["network"], row["place"], row["at"]]
    assert shown[-2:] == [f"{added['se']:,}", f"{added['msa']:,}"], "run scripts/attach_table.py again"


@pytest.mark.networks
@pytest.mark.slow
@pytest.mark.parametrize("row", REFUSED, ids=title)
def test_what_cannot_be_attached_is_refused_with_a_reason(row):
    with torch.device("meta"), pytest.raises(PlaceError) as caught:
        attach(row, bare(row), "se", {})
    assert row["refusal"] in str(caught.value)


TRAINED = {
    "torchvision:mobilenet_v3_small": 64,
    "torchvision:densenet121": 64,
    "torchvision:regnet_y_400mf": 64,
    "torchvision:squeezenet1_1": 64,
    "timm:res2net50_26w_4s": 64,
    "timm:tinynet_e": 96,
    "timm:rexnet_100": 64,
    "timm:convnextv2_atto": 64,
    "timm:ghostnet_100": 64,
    "timm:mobilevit_xxs": 64,
}


@pytest.mark.networks
@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ATTACHED if row["network"] in TRAINED], ids=title)
@pytest.mark.parametrize("mechanism", ["se", "msa"])
def test_a_network_with_attention_trains_and_gives_the_backbone_back(row, mechanism):
    size = TRAINED[row["network"]]
    torch.manual_seed(0)
    backbone = bare(row, (3, size, size))
    for module in backbone.modules():
        # timm starts the last norm of a branch at zero: attention there has nothing to learn from yet
        if isinstance(module, torch.nn.BatchNorm2d) and not module.weight.any():
            torch.nn.init.ones_(module.weight)
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    x = torch.randn(4, 3, size, size)
    expected = backbone.eval()(x)
    network = attach(row, backbone, mechanism, {"reduction": 4}, (3, size, size))

    network.train()(x).square().mean().backward()
    for name, parameter in network.attention.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert all(any(p.grad.any() for p in module.parameters()) for module in network.attention.values())

    network.backbone.load_state_dict(state, strict=True)  # the batch's statistics are in it by now
    assert not torch.equal(network.eval()(x), expected)
    back = network.detach_attention()
    assert all(torch.equal(value, state[key]) for key, value in back.state_dict().items())
    assert torch.equal(back(x), expected)
