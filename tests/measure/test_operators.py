"""Each handler against its closed form; `count_macs` holds each against torch's own counter besides."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ablate.measure import MeasureError, count_macs
from ablate.measure.operators import COUNTED, FREE, is_free


class Call(nn.Module):
    """A network that is one function of the image and a few weights."""

    def __init__(self, function, *shapes):
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(torch.zeros(shape) for shape in shapes)

    def forward(self, x):
        return self.function(x, *self.weights)


# name: (network, image shape (C, H, W), MACs written out)
CASES = {
    "convolution": (nn.Conv2d(3, 8, 3, padding=1), (3, 9, 7), 9 * 7 * 8 * 3 * 9),
    "strided": (nn.Conv2d(3, 8, (5, 3), stride=2), (3, 9, 7), 3 * 3 * 8 * 3 * 15),
    "dilated": (nn.Conv2d(3, 8, 3, dilation=2), (3, 9, 7), 5 * 3 * 8 * 3 * 9),
    "grouped": (nn.Conv2d(6, 12, 3, groups=3, padding=1), (6, 5, 5), 25 * 12 * 2 * 9),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6, padding=1), (6, 5, 5), 25 * 6 * 9),
    "padding in words": (nn.Conv2d(3, 8, 3, padding="same"), (3, 9, 7), 9 * 7 * 8 * 3 * 9),
    "transposed": (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 5, 5), 25 * 4 * 6 * 4),
    "transposed in groups": (nn.ConvTranspose2d(4, 6, 3, groups=2), (4, 5, 5), 25 * 4 * 3 * 9),
    "linear": (nn.Linear(7, 5), (3, 4, 7), 3 * 4 * 7 * 5),
    "matmul": (Call(torch.matmul, (2, 7, 5)), (2, 4, 7), 2 * 4 * 7 * 5),
    "matmul, batch of the second": (Call(lambda x, w: x[0, 0] @ w, (6, 7, 5)), (1, 4, 7), 6 * 4 * 7 * 5),
    "bmm": (Call(lambda x, w: torch.bmm(x[0], w), (2, 7, 5)), (2, 4, 7), 2 * 4 * 7 * 5),
    "addmm": (Call(lambda x, b, w: torch.addmm(b, x[0, 0], w), (5,), (7, 5)), (1, 4, 7), 4 * 7 * 5),
    "baddbmm": (
        Call(lambda x, b, w: torch.baddbmm(b, x[0], w), (2, 4, 5), (2, 7, 5)),
        (2, 4, 7),
        2 * 4 * 7 * 5,
    ),
    "einsum": (
        Call(lambda x, w: torch.einsum("bchw, dhk -> bcdwk", x, w), (6, 4, 5)),
        (2, 4, 7),
        2 * 6 * 4 * 7 * 5,
    ),
    "einsum, summed alone": (
        Call(lambda x, w: torch.einsum("bchw,cd->bdw", x, w), (2, 5)),
        (2, 4, 7),
        2 * 5 * 7,
    ),
    "einsum, elementwise": (Call(lambda x, w: torch.einsum("bchw,hw->bchw", x, w), (4, 7)), (2, 4, 7), 0),
    "attention with a mask": (
        Call(
            lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m),
            (1, 2, 9, 8),
            (1, 2, 9, 6),
            (1, 1, 5, 9),
        ),
        (2, 5, 8),
        2 * 5 * 9 * (8 + 6),
    ),
    "along the channels": (
        Call(lambda x, w: F.conv1d(x[:, 0], w, padding=2), (6, 4, 5)),
        (1, 4, 7),
        7 * 6 * 4 * 5,
    ),
    "attention": (
        Call(lambda q, k, v: F.scaled_dot_product_attention(q, k, v), (1, 2, 9, 8), (1, 2, 9, 6)),
        (2, 5, 8),
        2 * 5 * 9 * (8 + 6),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_closed_form(case):
    network, image_shape, expected = CASES[case]
    count = count_macs(network, image_shape)
    assert count.total == expected
    assert sum(count.by_module.values()) == sum(count.by_operator.values()) == expected


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_multihead_attention_counts_wherever_it_runs(mode, fused):
    tokens, width = 10, 64

    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(width, 4, batch_first=True)

        def forward(self, x):
            x = x[:, 0]  # one tensor three times: what the fast path of eval mode asks for
            return self.attention(x, x, x, need_weights=not fused)[0]

    network = getattr(Attend(), mode)()
    count = count_macs(network, (1, tokens, width))
    assert count.total == tokens * width * (3 * width) + tokens * width * width + 2 * tokens * tokens * width
    assert count.attention == count.total
    assert torch.backends.mha.get_fastpath_enabled()
    assert network.training is (mode == "train")


def test_attention_is_counted_where_the_fast_path_would_run_it_as_one_operator():
    """196 tokens of width 256 in evaluation: 71.05 M."""

    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(256, 8, batch_first=True)

        def forward(self, x):
            return self.attention(x[:, 0], x[:, 0], x[:, 0], need_weights=False)[0]

    network = Attend().eval()
    assert torch.backends.mha.get_fastpath_enabled()
    assert count_macs(network, (1, 196, 256)).total == 4 * 196 * 256**2 + 2 * 196**2 * 256 == 71_049_216


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (2, 2)])
def test_deformable_convolution(groups, stride):
    ops = pytest.importorskip("torchvision.ops")

    def call(x, weight, offset):
        return ops.deform_conv2d(x, offset, weight, stride=stride, padding=1)

    side = 6 // stride
    network = Call(call, (8, 4 // groups, 3, 3), (1, 18, side, side))
    assert count_macs(network, (4, 6, 6)).total == side**2 * 8 * (4 // groups) * 9


def test_an_einsum_that_is_not_understood_is_an_error():
    three = Call(lambda x, a, b: torch.einsum("bchw,hk,kl->bcwl", x, a, b), (4, 5), (5, 6))
    with pytest.raises(MeasureError, match=r"only two operands with all indices written out are counted"):
        count_macs(three, (2, 4, 7))


def test_the_two_tables_do_not_overlap():
    assert not set(COUNTED) & FREE
    assert is_free("aten::relu_")
    assert not is_free("aten::linear")
    assert not is_free("mylib::relu")
