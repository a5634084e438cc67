"""What every attention mechanism must do, whatever it computes. A mechanism without a row fails the suite."""

import contextlib
import copy

import pytest
import torch

from ablate.models.attention import MECHANISMS, build_attention

# Arguments under which each mechanism must hold the contract; the first row also goes through the compiler.
ROWS = {
    "se": [{"reduction": 16}, {"reduction": 1}],
    "msa": [
        {"reduction": 16},
        {"multi_scale": False},
        {"channel": False, "reduction": 4},
        {"spatial": False},
        {"multi_scale": False, "channel": False},
    ],
}
SHAPES = [(32, 8, 8), (33, 7, 5), (5, 9, 1), (8, 1, 1), (1, 4, 4)]  # (C, H, W): odd, 1×1, one channel, C < r
CASES = [(name, args, shape) for name, rows in ROWS.items() for args in rows for shape in SHAPES]


def test_every_mechanism_has_a_row():
    assert set(ROWS) == set(MECHANISMS)


@pytest.fixture(autouse=True)
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def build(name, channels, args, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_attention(name, channels, args)


def batch(shape, channels_last=False):
    x = 2 * torch.randn((8, *shape), generator=torch.Generator().manual_seed(1))
    return x.to(memory_format=torch.channels_last) if channels_last else x


def gradients(module, x, precision):
    """(output, gradient of x, gradients by parameter) of a loss without symmetry."""
    x = x.clone().requires_grad_()
    module.zero_grad(set_to_none=True)
    cast = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    with cast:
        y = module(x)
    weight = torch.linspace(-1, 2, y.numel()).reshape(y.shape)
    (y.float() * weight).sum().backward()
    return y.detach(), x.grad, {key: parameter.grad for key, parameter in module.named_parameters()}


def untouched(name, args, x, precision):
    """Parameters without a gradient at any of eight starts: at one, a lone ReLU unit may well be dead."""
    left = None
    for seed in range(8):
        grads = gradients(build(name, x.shape[1], args, seed), x, precision)[2]
        dead = {key for key, grad in grads.items() if grad.abs().max() == 0}
        left = dead if left is None else left & dead
        if not left:
            break
    return left


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "args", "shape"), CASES, ids=str)
def test_contract(name, args, shape, precision, channels_last):
    module, x = build(name, shape[0], args), batch(shape, channels_last)
    y, x_grad, grads = gradients(module, x, precision)

    assert y.shape == x.shape
    assert y.isfinite().all()
    assert x_grad.isfinite().all()
    assert not torch.equal(y, x)
    assert grads
    for key, grad in grads.items():
        assert grad is not None, key
        assert grad.isfinite().all(), key
    assert not untouched(name, args, x, precision)

    for other in (module, copy.deepcopy(module)):
        again, again_x_grad, again_grads = gradients(other, x, precision)
        assert torch.equal(again, y)
        assert torch.equal(again_x_grad, x_grad)
        assert all(torch.equal(again_grads[key], grads[key]) for key in grads)

    restored = build(name, shape[0], args, seed=5)
    restored.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(gradients(restored, x, precision)[0], y)


@pytest.mark.parametrize("value", [0.0, 0.1])
@pytest.mark.parametrize(
    ("name", "args"), [(name, args) for name, rows in ROWS.items() for args in rows], ids=str
)
def test_gradients_are_finite_where_all_channels_agree(name, args, value):
    module = build(name, 32, args)
    y, x_grad, grads = gradients(module, torch.full((2, 32, 5, 5), value), "fp32")
    assert y.isfinite().all()
    assert x_grad.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads.values())


@pytest.mark.parametrize("name", MECHANISMS)
def test_training_and_evaluation_agree_on_the_shape_and_the_batch_of_one(name):
    module = build(name, 32, ROWS[name][0]).eval()
    x = batch((32, 6, 6))
    with torch.no_grad():
        whole, first = module(x), module(x[:1])
    assert torch.allclose(whole[:1], first, atol=1e-6)  # no image leaks into another


@pytest.mark.parametrize("name", MECHANISMS)
def test_the_compiler_takes_it_whole(name):
    module, x = build(name, 32, ROWS[name][0]), batch((32, 6, 6))
    torch._dynamo.reset()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    y, x_grad, _ = gradients(module, x, "fp32")
    compiled_y, compiled_x_grad, _ = gradients(compiled, x, "fp32")
    assert torch.allclose(compiled_y, y, atol=1e-6)
    assert torch.allclose(compiled_x_grad, x_grad, atol=1e-5)


@pytest.mark.parametrize("name", MECHANISMS)
def test_on_the_meta_device(name):
    with torch.device("meta"):
        module = build_attention(name, 32, ROWS[name][0])
        assert module(torch.zeros(2, 32, 7, 5)).shape == (2, 32, 7, 5)


@pytest.mark.parametrize("bad", [0, -4, True, 2.0, "16"])
@pytest.mark.parametrize("name", ["se", "msa"])
def test_a_ratio_that_is_no_positive_number_is_refused(name, bad):
    with pytest.raises(ValueError, match=rf"reduction must be a whole number of at least 1, not {bad!r}"):
        MECHANISMS[name](32, reduction=bad)


@pytest.mark.parametrize("name", ["se", "msa"])
@pytest.mark.parametrize(
    ("channels", "reduction", "notes"),
    [
        (64, 16, ()),
        (100, 16, ("100 channels / reduction=16 = 6.25: the bottleneck is rounded down to 6",)),
        (8, 16, ("reduction=16 is larger than the 8 channels: the bottleneck has 1 channel",)),
    ],
)
def test_a_ratio_that_does_not_divide_the_channels_is_said(name, channels, reduction, notes):
    module = MECHANISMS[name](channels, reduction=reduction)
    assert module.notes == notes
    narrow = module.squeeze.out_features if name == "se" else module.multi_scale.conv1.out_channels
    assert narrow == max(1, channels // reduction)
