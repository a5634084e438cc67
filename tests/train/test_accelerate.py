"""A way to the gradients is taken only if it gives the same and is faster; the probe leaves no trace."""

import copy
import shutil
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from ablate.train import Recipe, RecipeError, Stage, accelerate, check_recipe, fit
from ablate.train.accelerate import Graphed, choose, compiled
from ablate.train.state import prepare
from ablate.train.step import add_gradients, in_training_mode, plain_gradients, train_step


def recipe(**changes):
    return Recipe(**{"epochs": 2, "batch_size": 8, "lr": 0.01, **changes})


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def plain_way(network, state, x, y, recipe):
    return plain_gradients(network, state, recipe)


def scaled_way(factor):
    """Gradients that are wrong by this much."""

    def way(network, state, x, y, recipe):
        plain = plain_gradients(network, state, recipe)

        def gradients(x, y):
            figures = plain(x, y)
            for parameter in network.parameters():
                parameter.grad *= factor
            return figures

        return gradients

    return way


@pytest.fixture
def way(monkeypatch):
    """Puts a way in the place of torch.compile's, and says how much faster than plain it will seem."""

    def put(found, times=2.0):
        monkeypatch.setitem(accelerate.WAYS, "compile", found)
        monkeypatch.setattr(accelerate, "_times_as_fast", lambda plain, fast: times)

    return put


@pytest.fixture
def chosen(attended, train):
    """The choice for a small network, with the network and its state."""

    def make(start=None, **changes):
        network, asked = attended(), recipe(**changes)
        state = prepare(network, asked, len(train), torch.device("cpu"))
        if start is not None:
            start(network, state)
        return choose(network, state, asked, lambda: next(iter(train.epoch(0)))), network, state

    return make


def never():
    raise AssertionError("no batch was to be drawn")


@pytest.mark.parametrize("asked", ["auto", "off"])
def test_by_itself_nothing_is_tried_on_a_cpu(attended, train, asked):
    network, chosen = attended(), recipe(accelerate=asked)
    state = prepare(network, chosen, len(train), torch.device("cpu"))
    choice = choose(network, state, chosen, never)
    assert (choice.said, choice.fell_back) == ("", False)


def test_a_graph_that_cannot_be_is_said(attended, train, validation):
    said, weights = [], []
    for asked in ("graphs", "off"):
        network = attended()
        found = fit(
            network,
            train,
            validation,
            recipe(accelerate=asked),
            device="cpu",
            dropout_seed=0,
            say=said.append,
        )
        weights.append(network.state_dict())
        expected = ("plain steps: CUDA graphs need a CUDA device, this is cpu",) if asked == "graphs" else ()
        assert found.fell_back == expected
    assert said == ["train.accelerate: graphs: plain steps: CUDA graphs need a CUDA device, this is cpu"]
    assert same(*weights)


def test_a_way_that_fails_is_said_with_its_reason(chosen, way):
    def fails(network, state, x, y, recipe):
        raise RuntimeError("\noperation not permitted\nmore of it")

    way(fails)
    choice, _, _ = chosen(accelerate="compile")
    assert choice.said == "plain steps: torch.compile failed here: RuntimeError: operation not permitted"
    assert choice.fell_back


def test_a_slower_way_is_not_taken(chosen, way):
    way(plain_way, times=1.01)
    choice, _, _ = chosen(accelerate="compile")
    assert choice.said == "plain steps: torch.compile is no faster (1.01 times as fast)"
    assert choice.fell_back


def test_a_faster_way_that_gives_the_same_is_taken(chosen, way):
    way(plain_way, times=1.5)
    choice, _, _ = chosen(accelerate="compile")
    assert choice.said == "torch.compile takes each step: 1.50 times as fast as plain, equal bit for bit"
    assert not choice.fell_back


@pytest.mark.parametrize(("factor", "taken"), [(1 + 2e-5, True), (1 + 2e-3, False), (float("nan"), False)])
def test_a_way_is_held_to_the_tolerance(chosen, way, factor, taken):
    way(scaled_way(factor))
    choice, _, _ = chosen(accelerate="compile")
    assert choice.fell_back is not taken
    assert ("equal within 0.0001 of the gradient" if taken else "gives another gradient") in choice.said


def test_what_must_be_exact_is_held_to_the_bit(chosen, monkeypatch):
    one = accelerate._Trace(*(torch.ones(3) for _ in range(3)))
    other = accelerate._Trace(torch.ones(3), torch.ones(3) + 1e-6, torch.ones(3))
    exactly = accelerate._differs(one, other, one, recipe(), exactly=True)
    assert exactly == "does not give the same bits"
    assert accelerate._differs(one, other, one, recipe(), exactly=False) is None
    # Where plain steps themselves do not repeat, no more than the tolerance can be asked for …
    assert accelerate._differs(one, other, other, recipe(), exactly=True) is None
    # … but under train.deterministic.
    assert accelerate._differs(one, other, other, recipe(deterministic=True), exactly=True) == exactly
    assert "rules out" in accelerate._differs(one, one, one, recipe(deterministic=True), exactly=False)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_the_probe_leaves_no_trace(chosen, way, train, factor):
    before = {}

    def start(network, state):
        """After a step, so that the optimiser remembers something."""
        in_training_mode(network, state)
        train_step(network, state, *next(iter(train.epoch(1))), recipe())
        before.update(
            copy.deepcopy({"network": network.state_dict(), "optimizer": state.optimizer.state_dict()})
        )

    way(scaled_way(factor))
    _, network, state = chosen(start, accelerate="compile")
    assert same(network.state_dict(), before["network"])
    now = state.optimizer.state_dict()
    assert now["param_groups"] == before["optimizer"]["param_groups"]
    assert now["state"].keys() == before["optimizer"]["state"].keys()
    assert all(same(now["state"][key], before["optimizer"]["state"][key]) for key in now["state"])


@pytest.mark.parametrize("times", [2.0, 0.5])
def test_a_fit_with_an_equal_way_gives_the_same_bits(attended, train, validation, way, times):
    stages = (Stage(epochs=1, train=("block2", "head", "attention")), Stage(epochs=2))
    way(plain_way, times)
    said, weights, histories = [], [], []
    for asked in ("compile", "auto"):
        network, options = attended(), recipe(accelerate=asked, stages=stages)
        found = fit(network, train, validation, options, device="cpu", dropout_seed=0, say=said.append)
        weights.append(network.state_dict())
        histories.append([row._replace(seconds=0, images_per_s=0) for row in found.history])
    assert len(said) == 2, "one probe a stage"
    assert same(*weights)
    assert histories[0] == histories[1]


def test_ways_that_exclude_each_other_are_faults(attended):
    for changes in ({"compile": True}, {"gradient_checkpointing": True}):
        with pytest.raises(RecipeError, match=r"train\.accelerate: 'compile' does not go with train\."):
            check_recipe(attended(), recipe(accelerate="compile", **changes))


class FakeGraph:
    """Computes again what a graph would replay, into the same tensors."""

    def attach(self, graphed, network, state, options):
        self.graphed, self.again = graphed, lambda x, y: add_gradients(network, state, x, y, options)

    def replay(self):
        kept = [(parameter, parameter.grad) for parameter, _ in self.graphed._gradients]
        assert all(now is static for (_, now), (_, static) in zip(kept, self.graphed._gradients, strict=True))
        for parameter, _ in kept:
            parameter.grad = None
        loss, hits = self.again(self.graphed._x, self.graphed._y)
        self.graphed._loss.copy_(loss)
        self.graphed._hits.copy_(hits)
        for parameter, static in kept:
            static.copy_(parameter.grad)
            parameter.grad = static


def test_a_graph_takes_whole_batches_and_leaves_the_last_one_to_plain_steps(monkeypatch, attended, train):
    """With CUDA's part played by a stand-in: batches are copied in, figures out, gradients found again."""
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda *given, **options: nullcontext())

    class Nothing:
        def wait_stream(self, other):
            pass

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Nothing())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Nothing())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    weights, figures = [], []
    for graphed in (True, False):
        network, options = attended(dropout=0.0), recipe(optimizer="sgd", clip_norm=0.5)
        state = prepare(network, options, len(train), torch.device("cpu"))
        in_training_mode(network, state)
        gradients = None
        if graphed:
            start = copy.deepcopy(network.state_dict())
            gradients = Graphed(network, state, *next(iter(train.epoch(0))), options)
            gradients._graph.attach(gradients, network, state, options)
            network.load_state_dict(start)
        passed = [
            train_step(network, state, x, y, options, gradients) for e in (0, 1) for x, y in train.epoch(e)
        ]
        weights.append(network.state_dict())
        figures.append(torch.stack([torch.stack(pair) for pair in passed]))
    assert same(*weights)
    assert torch.equal(*figures), "each step's figures are its own, not those of the last replay"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_the_compiler_gives_the_same_within_the_tolerance(attended, train, monkeypatch):
    monkeypatch.setattr(accelerate, "_times_as_fast", lambda plain, fast: 2.0)
    network, options = attended(), recipe(accelerate="compile")
    state = prepare(network, options, len(train), torch.device("cpu"))
    choice = choose(network, state, options, lambda: next(iter(train.epoch(0))))
    assert choice.said.startswith("torch.compile takes each step: 2.00 times as fast as plain, equal")


def test_the_compiler_is_left_out_for_other_shapes(monkeypatch, attended, train):
    taken = []

    def compile_(network, **options):
        assert options["options"] == {"fallback_random": True}, "or dropout would draw other masks"

        def model(x):
            taken.append(len(x))
            return network(x)

        return model

    monkeypatch.setattr(torch, "compile", compile_)
    network, options = attended(), recipe()
    state = prepare(network, options, len(train), torch.device("cpu"))
    batches = list(train.epoch(0))
    gradients = compiled(network, state, *batches[0], options)
    for x, y in batches:
        gradients(x, y)
    assert taken == [8] * 6  # of 50 images the last two are a batch of their own


class Own(nn.Module):
    def forward(self, x):
        return x


def test_the_users_own_modules_are_no_matter_for_auto():
    """What they do in Python, a graph would do once."""
    network = nn.Sequential(nn.Linear(2, 2), Own())
    state = prepare(network, recipe(), 5000, torch.device("cpu"))
    cuda = torch.device("cuda")
    said = accelerate._not_by_itself(network, state, recipe(), cuda)
    assert "test_accelerate does in Python" in said and "train.accelerate: graphs" in said
    assert accelerate._not_by_itself(network[:1], state, recipe(), cuda) is None
    short = prepare(network[:1], recipe(), 100, torch.device("cpu"))
    assert (
        accelerate._not_by_itself(network[:1], short, recipe(), cuda)
        == "plain steps: 200 are too few for a probe to pay"
    )
