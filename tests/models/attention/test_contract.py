"""What every attention mechanism must do, whatever it computes. A mechanism without a row fails the suite."""

import contextlib
import copy
import shutil

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from ablate.models.attention import MECHANISMS, build_attention
from ablate.models.gates import GATES
from ablate.spec.catalogue import ATTENTION


def none_dead(shape, args):
    return set()


def looks_at_nothing(prefix, length, args):
    """A softmax over one position is 1 whatever the weights."""
    dead = {f"{prefix}query.weight", f"{prefix}key.weight"}
    if args.get("position") == "relative":
        dead.add(f"{prefix}position.table")
    return dead if length == 1 else set()


def self_attention_dead(shape, args):
    return looks_at_nothing("attend.", shape[1] * shape[2], args)


def axial_dead(shape, args):
    columns = looks_at_nothing("columns.", shape[1], args)
    return columns | looks_at_nothing("rows.", shape[2], args)


def linear_dead(shape, args):
    dim = args.get("dim", shape[0])
    heads = next(n for n in range(min(args.get("heads", 4), dim), 0, -1) if dim % n == 0)
    one_position = {"key.weight"} if shape[1] * shape[2] == 1 else set()
    return one_position | ({"query.weight"} if dim == heads else set())


def grouped_dead(shape, args):
    return {"gate.scale"} if shape[1] * shape[2] == 1 else set()


# name: (arguments under which it must hold the contract, the first also goes through the compiler;
#        the parameters that by the formula can have no gradient on a map of (C, H, W))
ROWS = {
    "axial": ([{}, {"position": "relative", "heads": 2}, {"position": "learned", "dim": 6}], axial_dead),
    "cbam": ([{}, {"reduction": 4, "kernel": 3}, {"channel": False}, {"spatial": False}], none_dead),
    "coordinate": ([{}, {"reduction": 2}], none_dead),
    "eca": ([{}, {"kernel": 5}, {"gamma": 1.0, "beta": 0.0}], none_dead),
    "grouped": ([{}, {"groups": 64}], grouped_dead),
    "linear": ([{}, {"heads": 2, "dim": 6}], linear_dead),
    "msa": (
        [
            {"reduction": 16},
            {"multi_scale": False},
            {"channel": False, "reduction": 4},
            {"spatial": False},
            {"multi_scale": False, "channel": False},
            {"deformable": True, "reduction": 4},
        ],
        none_dead,
    ),
    "se": ([{"reduction": 16}, {"reduction": 1}], none_dead),
    "selective-kernel": ([{}, {"branches": 3, "groups": 1}], none_dead),
    "self-attention": (
        [{}, {"position": "none"}, {"position": "learned"}, {"position": "relative", "dim": 6, "heads": 2}],
        self_attention_dead,
    ),
}
SHAPES = [(32, 8, 8), (33, 7, 5), (5, 9, 1), (8, 1, 1), (1, 4, 4)]  # (C, H, W): odd, 1×1, one channel, C < r
ALL = [(name, args) for name, (rows, _) in ROWS.items() for args in rows]
CASES = [(name, args, shape) for name, args in ALL for shape in SHAPES]
GATING = [name for name, mechanism in MECHANISMS.items() if hasattr(mechanism, "gates")]


def test_every_mechanism_has_a_row():
    assert set(ROWS) == set(MECHANISMS) == set(ATTENTION)


@pytest.fixture(autouse=True)
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def build(name, shape, args, seed=0, gate="own"):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_attention(name, shape[0], args, gate, map_shape=shape[1:])


def batch(shape, channels_last=False):
    x = 2 * torch.randn((8, *shape), generator=torch.Generator().manual_seed(1))
    return x.to(memory_format=torch.channels_last) if channels_last else x


def gradients(module, x, precision="fp32"):
    """(output, gradient of x, gradients by parameter) of a loss without symmetry."""
    x = x.clone().requires_grad_()
    module.zero_grad(set_to_none=True)
    cast = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    with cast:
        y = module(x)
    weight = torch.linspace(-1, 2, y.numel()).reshape(y.shape)
    (y.float() * weight).sum().backward()
    return y.detach(), x.grad, {key: parameter.grad for key, parameter in module.named_parameters()}


def untouched(name, args, x, precision, gate, grads):
    """Parameters without a gradient at any of eight starts: at one, a lone ReLU unit may well be dead."""
    left = {key for key, grad in grads.items() if grad.abs().max() == 0}
    for seed in range(1, 8):
        if not left:
            break
        grads = gradients(build(name, x.shape[1:], args, seed, gate), x, precision)[2]
        left = {key for key in left if grads[key].abs().max() == 0}
    return left


def hold_the_contract(name, args, shape, precision, channels_last, gate, dead):
    """dead: the parameters that by the formula have no gradient, but for rounding."""
    module, x = build(name, shape, args, gate=gate), batch(shape, channels_last)
    y, x_grad, grads = gradients(module, x, precision)

    assert y.shape == x.shape
    assert y.isfinite().all()
    assert x_grad.isfinite().all()
    assert not torch.equal(y, x)
    assert grads
    for key, grad in grads.items():
        assert grad is not None, key
        assert grad.isfinite().all(), key
    assert untouched(name, args, x, precision, gate, grads) <= dead
    largest = max(grad.abs().max() for grad in grads.values())
    for key in dead:
        assert grads[key].abs().max() <= {"fp32": 1e-6, "bf16": 1e-2}[precision] * largest, key

    for other in (module, copy.deepcopy(module)):
        again, again_x_grad, again_grads = gradients(other, x, precision)
        assert torch.equal(again, y)
        assert torch.equal(again_x_grad, x_grad)
        assert all(torch.equal(again_grads[key], grads[key]) for key in grads)

    restored = build(name, shape, args, seed=5, gate=gate)
    restored.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(gradients(restored, x, precision)[0], y)
    module.eval(), restored.load_state_dict(module.state_dict()), restored.eval()
    assert torch.equal(gradients(restored, x, precision)[0], gradients(module, x, precision)[0])


# every combination for the first arguments of a row; for the others each of both once
WAYS = [("fp32", False), ("bf16", True), ("bf16", False), ("fp32", True)]
IN_ALL_WAYS = [
    (*case, *way) for case in CASES for way in (WAYS if case[1] == ROWS[case[0]][0][0] else WAYS[:2])
]


@pytest.mark.parametrize(("name", "args", "shape", "precision", "channels_last"), IN_ALL_WAYS, ids=str)
def test_contract(name, args, shape, precision, channels_last):
    hold_the_contract(name, args, shape, precision, channels_last, "own", ROWS[name][1](shape, args))


@pytest.mark.parametrize("gate", GATES[1:])
@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [case for case in CASES if case[1] == ROWS[case[0]][0][0] and case[0] in GATING],
)
def test_contract_with_other_gates(name, args, shape, gate):
    own = ROWS[name][1](shape, args)
    dead = set() if gate == "static" else {key.replace("gate.", "gate.gate.") for key in own}
    hold_the_contract(name, args, shape, "fp32", False, gate, dead)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "args"), ALL, ids=str)
def test_what_gets_no_gradient_is_said(name, args, shape):
    module = build(name, shape, args)
    said = " ".join(
        (
            *getattr(module, "notes", ()),
            *(module.map_notes(*shape[1:]) if hasattr(module, "map_notes") else ()),
        )
    )
    dead = ROWS[name][1](shape, args)
    if name != "msa":  # whose note counts weights within a kernel
        assert bool(dead) == ("no gradient" in said)
    for key in dead:
        part = key.removesuffix(".weight").removesuffix(".table").rpartition(".")[2]
        assert part in said or part in ("position", "scale")


@pytest.mark.parametrize("value", [0.0, 0.1])
@pytest.mark.parametrize(("name", "args"), ALL, ids=str)
def test_gradients_are_finite_where_all_channels_agree(name, args, value):
    module = build(name, (32, 5, 5), args)
    y, x_grad, grads = gradients(module, torch.full((2, 32, 5, 5), value))
    assert y.isfinite().all()
    assert x_grad.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads.values())


@pytest.mark.parametrize(("name", "args"), ALL, ids=str)
def test_training_and_evaluation_agree_on_the_shape_and_the_batch_of_one(name, args):
    module = build(name, (32, 6, 6), args).eval()
    x = batch((32, 6, 6))
    with torch.no_grad():
        whole, first = module(x), module(x[:1])
    assert torch.allclose(whole[:1], first, atol=1e-6)  # no image leaks into another


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("name", MECHANISMS)
def test_a_batch_of_one_image_can_be_trained_on(name, gate):
    if gate != "own" and name not in GATING:
        return
    module = build(name, (8, 1, 1), ROWS[name][0][0], gate=gate)
    y, x_grad, grads = gradients(module, batch((8, 1, 1))[:1])
    assert y.isfinite().all() and x_grad.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads.values())


@pytest.mark.parametrize(("name", "args"), ALL, ids=str)
def test_activations_can_be_computed_again_instead_of_kept(name, args):
    module, x = build(name, (16, 6, 5), args), batch((16, 6, 5))
    y, x_grad, grads = gradients(module, x)

    class Again(torch.nn.Module):
        def forward(self, x):
            return checkpoint(module, x, use_reentrant=False)

    module.zero_grad(set_to_none=True)
    again, again_x_grad, _ = gradients(Again(), x)
    assert torch.equal(again, y)
    assert torch.equal(again_x_grad, x_grad)
    assert all(torch.equal(parameter.grad, grads[key]) for key, parameter in module.named_parameters())


def compiles_whole(name, args, gate, **options):
    module, x = build(name, (32, 6, 6), args, gate=gate), batch((32, 6, 6))
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, **options)
    y, x_grad, grads = gradients(module, x)
    compiled_y, compiled_x_grad, compiled_grads = gradients(compiled, x)
    assert torch.allclose(compiled_y, y, atol=1e-5)
    assert torch.allclose(compiled_x_grad, x_grad, atol=1e-4)
    for key, grad in grads.items():
        torch.testing.assert_close(compiled_grads[f"_orig_mod.{key}"], grad, atol=1e-2, rtol=1e-3)


QUICK = ["se", "self-attention"]  # tracing takes seconds


@pytest.mark.parametrize("name", QUICK)
def test_the_compiler_takes_it_whole(name):
    compiles_whole(name, ROWS[name][0][0], "own", backend="aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MECHANISMS if name not in QUICK])
def test_the_compiler_takes_the_others_whole(name):
    compiles_whole(name, ROWS[name][0][0], "own", backend="aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("gate", GATES[1:])
@pytest.mark.parametrize("name", GATING)
def test_the_compiler_takes_other_gates_whole(name, gate):
    compiles_whole(name, {}, gate, backend="aot_eager")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
@pytest.mark.parametrize(("name", "args"), ALL, ids=str)
def test_inductor(name, args):
    compiles_whole(name, args, "own")


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("name", "args"), ALL, ids=str)
def test_on_the_meta_device(name, args, gate):
    if gate != "own" and (name not in GATING or args == {"spatial": False, "channel": False}):
        return
    with torch.device("meta"):
        module = build_attention(name, 32, args, gate, map_shape=(7, 5))
        assert module(torch.zeros(2, 32, 7, 5)).shape == (2, 32, 7, 5)
    assert all(tensor.is_meta for tensor in module.state_dict().values())
    real = build(name, (32, 7, 5), args, gate=gate)
    assert {k: v.shape for k, v in module.state_dict().items()} == {
        k: v.shape for k, v in real.state_dict().items()
    }


@pytest.mark.parametrize("bad", [0, -4, True, 2.0, "16"])
@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("axial", "heads"),
        ("axial", "dim"),
        ("cbam", "reduction"),
        ("cbam", "kernel"),
        ("coordinate", "reduction"),
        ("eca", "kernel"),
        ("grouped", "groups"),
        ("linear", "heads"),
        ("linear", "dim"),
        ("msa", "reduction"),
        ("se", "reduction"),
        ("selective-kernel", "reduction"),
        ("selective-kernel", "branches"),
        ("selective-kernel", "groups"),
        ("self-attention", "heads"),
        ("self-attention", "dim"),
    ],
)
def test_a_number_that_is_no_positive_whole_one_is_refused(name, argument, bad):
    with pytest.raises(ValueError, match=rf"{argument} must be a whole number of at least 1, not {bad!r}"):
        MECHANISMS[name](32, **{argument: bad})


@pytest.mark.parametrize("name", ["se", "msa", "cbam"])
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
    narrow = {
        "se": lambda: module.gate.squeeze.out_features,
        "msa": lambda: module.multi_scale.conv1.out_channels,
        "cbam": lambda: module.channel.reduce.out_channels,
    }
    assert narrow[name]() == max(1, channels // reduction)


@pytest.mark.parametrize(
    ("name", "channels", "args", "note"),
    [
        (
            "coordinate",
            64,
            {"reduction": 32},
            "64 channels / reduction=32 = 2: the bottleneck has 8 channels",
        ),
        ("self-attention", 33, {}, "33 channels do not fall into heads=4: 3 are used"),
        ("linear", 1, {}, "1 channel does not fall into heads=4: 1 are used"),
        ("selective-kernel", 48, {"reduction": 1}, "48 channels do not fall into groups=32: 24 are used"),
    ],
)
def test_what_cannot_be_had_for_so_many_channels_is_said(name, channels, args, note):
    assert MECHANISMS[name](channels, **args).notes[0] == note
