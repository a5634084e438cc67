"""Gates that do not look at their image: static ones, and those of another image."""

import pytest
import torch
from torch import nn

from ablate.measure import count_macs
from ablate.models import ModelError, build_attention, build_network
from ablate.models.attention import MECHANISMS

GATING = [name for name, mechanism in MECHANISMS.items() if getattr(mechanism, "gates", ())]
# Parameters of a static gate on a map of C×H×W, by hand
STATIC = {
    "cbam": lambda c, h, w: c + h * w,
    "coordinate": lambda c, h, w: c * (h + w),
    "eca": lambda c, h, w: c,
    "grouped": lambda c, h, w: 8 * h * w,
    "msa": lambda c, h, w: c + h * w,
    "se": lambda c, h, w: c,
    "selective-kernel": lambda c, h, w: 2 * c,
}


def build(name, gate, args=None, map_shape=(5, 4), seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_attention(name, 16, args or {}, gate, map_shape)


def images(count=6):
    return torch.randn(count, 16, 5, 4, generator=torch.Generator().manual_seed(2))


def gates_of(module):
    return [getattr(module, name) for name in module.gates if getattr(module, name) is not None]


def test_every_mechanism_that_gates_is_listed():
    assert sorted(STATIC) == sorted(GATING)


@pytest.mark.parametrize("name", GATING)
def test_a_static_gate_is_the_same_for_every_image_and_starts_without_a_preference(name):
    module = build(name, "static")
    own, new = gates_of(build(name, "own")), gates_of(module)
    for before, after in zip(own, new, strict=True):
        theirs, ours = before(images()), after(images())
        pairs = zip(theirs, ours, strict=True) if isinstance(theirs, tuple) else [(theirs, ours)]
        for one, other in pairs:
            assert other.shape == (1, *one.shape[1:])
            assert torch.equal(other, torch.full_like(other, 0.5))  # of two branches, too
    expected = STATIC[name](16, 5, 4)
    assert sum(p.numel() for gate in new for p in gate.parameters()) == expected


@pytest.mark.parametrize("name", GATING)
def test_what_a_static_gate_does_to_one_image_does_not_depend_on_the_others(name):
    module, x = build(name, "static").eval(), images()
    with torch.no_grad():
        for gate in gates_of(module):
            for logits in gate.logits:
                logits.normal_()
        assert torch.allclose(module(x)[:1], module(x[:1]), atol=1e-6)


@pytest.mark.parametrize("name", ["se", "msa"])
def test_a_static_gate_can_be_the_modules_own_at_any_one_image(name):
    """Set to the logits of the own gates for one image, it gives that image what the module itself gives."""
    own, static, x = build(name, "own"), build(name, "static"), images(1)
    with torch.no_grad():
        for before, after in zip(gates_of(own), gates_of(static), strict=True):
            after.logits[0].copy_(torch.logit(before(x)).flatten())
        torch.testing.assert_close(static(x), own(x))


@pytest.mark.parametrize("gate", ["static", "shuffled"])
@pytest.mark.parametrize("name", GATING)
def test_all_but_the_gates_keeps_the_weights_it_was_drawn_with(name, gate):
    own, other = build(name, "own"), build(name, gate)
    expected = {
        key: value
        for key, value in own.state_dict().items()
        if gate == "shuffled" or key.split(".")[0] not in own.gates
    }
    prefix = {key: f"{key.split('.')[0]}.gate.{key.partition('.')[2]}" for key in expected}
    state = other.state_dict()
    for key, value in expected.items():
        renamed = prefix[key] if key.split(".")[0] in own.gates else key
        assert torch.equal(state[renamed], value)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", [name for name in GATING if name != "cbam"])
def test_a_shuffled_gate_is_that_of_the_image_before(name, mode):
    """What an image gets is what the module gives when only the gates see the other image."""
    own, shuffled = getattr(build(name, "own"), mode)(), getattr(build(name, "shuffled"), mode)()
    x = images()

    class Elsewhere(nn.Module):
        def __init__(self, gate):
            super().__init__()
            self.gate = gate

        def forward(self, seen):
            gates = self.gate(seen)
            order = [5, 0, 1, 2, 3, 4]
            return tuple(gate[order] for gate in gates) if isinstance(gates, tuple) else gates[order]

    for gate in own.gates:
        setattr(own, gate, Elsewhere(getattr(own, gate)))
    with torch.no_grad():
        y = shuffled(x)
        assert torch.equal(y, own(x))
        if name != "grouped":  # whose gates are all alike at the start
            assert not torch.allclose(y, getattr(build(name, "own"), mode)()(x))


@pytest.mark.parametrize("name", GATING)
def test_no_image_keeps_its_own_gate_unless_it_is_alone(name):
    wide = {"reduction": 1} if name in ("se", "cbam", "msa") else {}  # a lone ReLU may be dead for two images
    shuffled, own = build(name, "shuffled", wide).eval(), build(name, "own", wide).eval()
    with torch.no_grad():
        if name == "grouped":
            for module in (shuffled.gate.gate, own.gate):
                module.scale.fill_(1)
        for count in (2, 3, 6):
            x = images(count)
            mine, others = own(x), shuffled(x)
            assert all(not torch.allclose(a, b) for a, b in zip(mine, others, strict=True))
        assert torch.equal(own(images(1)), shuffled(images(1)))


@pytest.mark.parametrize("name", GATING)
def test_macs_of_other_gates(name):
    counts = {}
    for gate in ("own", "static", "shuffled"):
        with torch.device("meta"):
            counts[gate] = count_macs(build(name, gate), (16, 5, 4)).total
    assert counts["own"] == counts["shuffled"]
    assert counts["static"] < counts["own"] or counts["own"] == 0


def message(*args, **kwargs):
    with pytest.raises(ModelError) as caught:
        build_attention(*args, **kwargs)
    return str(caught.value)


def test_a_mechanism_without_gates_is_refused_with_those_that_have_some():
    assert message("linear", 16, {}, gate="static") == (
        "gate: static needs a mechanism that gates, and 'linear' names no `gates`; use gate: own"
        "\n    those that gate: cbam, coordinate, eca, grouped, msa, se, selective-kernel"
    )
    off = {"channel": False, "spatial": False}
    assert message("msa", 16, off, gate="shuffled") == (
        "gate: shuffled has nothing to act on: 'msa' has channel and spatial off"
    )
    assert message("se", 16, {}, gate="statick") == (
        "gate must be one of own, static, shuffled, not 'statick'"
    )


def test_a_static_gate_with_rows_and_columns_belongs_to_one_size_of_map():
    assert message("cbam", 16, {}, gate="static") == (
        "'cbam', spatial: a static gate with rows or columns needs the map's size, map_shape=(H, W)"
    )
    assert build_attention("se", 16, {}, "static")(torch.zeros(2, 16, 9, 9)).shape == (2, 16, 9, 9)
    with pytest.raises(ModelError) as caught:
        build("cbam", "static")(torch.zeros(2, 16, 6, 4))
    assert str(caught.value) == "the static gate was learned for maps of 5×4, but one of 6×4 came"


def test_notes_of_a_gate_go_with_it():
    assert build("se", "own", {"reduction": 32}).notes
    assert build("se", "static", {"reduction": 32}).notes == ()
    assert build("msa", "static", {"reduction": 32}).notes  # the branches have a bottleneck as well
    assert len(build("msa", "own").map_notes(1, 1)) == 3
    assert len(build("msa", "static", map_shape=(1, 1)).map_notes(1, 1)) == 2


OWN = """
import torch
from torch import nn

class Signed(nn.Module):
    squash = staticmethod(torch.tanh)
    def __init__(self, channels):
        super().__init__()
        self.linear = nn.Linear(channels, channels)
    def forward(self, x):
        return self.squash(self.linear(x.mean((2, 3))))[:, :, None, None]

class Scale(nn.Module):
    gates = ("signed",)
    def __init__(self, channels):
        super().__init__()
        self.signed = Signed(channels)
    def forward(self, x):
        return x * self.signed(x)
"""


def test_a_users_own_gates_are_replaced_through_their_own_squashing(tmp_path, monkeypatch):
    (tmp_path / "own_gates_of_a_user.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    static = build("own_gates_of_a_user:Scale", "static")
    assert torch.equal(static(images()), torch.zeros(6, 16, 5, 4))  # tanh(0)
    with torch.no_grad():
        static.signed.logits[0].fill_(-30)
    assert torch.equal(static(images()), -images())


def test_in_a_network():
    def network(gate):
        return build_network(
            backbone="cnn",
            args={"width": 0.25},
            attention=("cbam", {}, ["block1", "block3"]),
            classes=4,
            image_shape=(3, 16, 16),
            backbone_seed=1,
            attention_seed=2,
            gate=gate,
        )

    own, static = network("own"), network("static")
    assert [module.param_count for module in static.attached] == [8 + 8 * 8, 32 + 2 * 2]
    same = zip(own.backbone.parameters(), static.backbone.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in same)


@pytest.mark.parametrize("name", ["se", "eca", "cbam", "msa", "coordinate", "grouped", "selective-kernel"])
@pytest.mark.parametrize("gate", ["own", "static", "shuffled"])
def test_gates_take_a_memory_format_and_leave_no_weight_that_decay_is_for(name: str, gate: str) -> None:
    """A parameter of five dimensions refuses channels-last; one of two or more is decayed as a weight."""
    module = build_attention(name, 8, {}, gate, map_shape=(5, 4))
    module.to(memory_format=torch.channels_last)
    x = torch.randn(3, 8, 5, 4).contiguous(memory_format=torch.channels_last)
    assert module(x).shape == x.shape
    if gate == "static":
        replaced = [part for part in module.modules() if type(part).__name__ == "StaticGate"]
        assert replaced
        assert all(logits.ndim == 1 for part in replaced for logits in part.logits)
