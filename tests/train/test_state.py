"""Recipes of several stages: what is frozen stays, each stage starts anew, a fit goes on from any epoch."""

import copy
import io
import math
from functools import partial

import pytest
import torch
from torch import nn

from ablate.errors import AblateError
from ablate.train import Recipe, Stage, evaluate, fit
from ablate.train.fit import in_training_mode
from ablate.train.state import prepare

SGD = {"optimizer": "sgd", "optimizer_args": {"momentum": 0.9}}
STEP = {"schedule": "step", "schedule_args": {"step_size": 1, "gamma": 0.1}}

# The fine-tuning in three stages: last layers, attention and head; more, each at its own rate; everything.
THREE_STAGES = (
    Stage(epochs=2, train=("attention", "head"), lr=1e-2, **SGD, **STEP),
    Stage(
        epochs=2,
        train=("block2", "attention", "head"),
        lr_by={"block2": 1e-4, "attention": 1e-3, "head": 1e-2},
        **SGD,
        **STEP,
    ),
    Stage(epochs=2, lr=1e-3, **SGD, **STEP),
)
# Progressive training: the backbone, then attention, then all.
PROGRESSIVE = (
    Stage(epochs=2, train=("block*", "head"), lr=1e-2),
    Stage(epochs=2, train=("attention",), lr=1e-2),
    Stage(epochs=1, lr=1e-3, schedule="cosine"),
)


def recipe(stages, **changes):
    return Recipe(epochs=99, batch_size=8, stages=stages, **changes)


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def of_part(network, *parts):
    """Names in the state dict that begin with one of the parts."""
    return {name for name in network.state_dict() if name.startswith(parts)}


class Snapshots:
    """An EpochLog that keeps weights and buffers at the end of every epoch."""

    def __init__(self, network):
        self.network, self.rows, self.states = network, [], [copy.deepcopy(network.state_dict())]

    def epoch(self, row, steps, state):
        self.rows.append(row)
        self.states.append(copy.deepcopy(self.network.state_dict()))


# What changes and what does not


def test_three_stage_fine_tuning_leaves_what_is_frozen_bit_for_bit(attended, train, validation):
    network = attended()
    log = Snapshots(network)
    fit(network, train, validation, recipe(THREE_STAGES), device="cpu", dropout_seed=1, log=log)
    first, second, third = (changed(log.states[2 * n], log.states[2 * n + 2]) for n in range(3))
    everything = set(network.state_dict())
    # Buffers are among these names: batch norm's statistics of a frozen block have not moved either.
    assert first == of_part(network, "attention", "backbone.head")
    assert second == of_part(network, "attention", "backbone.head", "backbone.block2")
    assert third == everything
    assert any("running_mean" in name for name in everything - second)
    assert [row.stage for row in log.rows] == [1, 1, 2, 2, 3, 3]
    assert [row.epoch for row in log.rows] == [1, 2, 3, 4, 5, 6]
    # The highest rate, which StepLR drops after each epoch, and which begins anew in every stage.
    assert [row.lr for row in log.rows] == pytest.approx([1e-2, 1e-3, 1e-2, 1e-3, 1e-3, 1e-4])


def test_progressive_training_brings_in_attention_after_the_backbone(attended, train, validation):
    network = attended()
    log = Snapshots(network)
    fit(network, train, validation, recipe(PROGRESSIVE), device="cpu", dropout_seed=1, log=log)
    backbone, attention = of_part(network, "backbone"), of_part(network, "attention")
    assert changed(log.states[0], log.states[2]) == backbone
    assert changed(log.states[2], log.states[4]) == attention
    assert changed(log.states[4], log.states[5]) == backbone | attention


def test_after_a_fit_the_same_parameters_take_gradients_as_before(attended, train, validation):
    network = attended()
    network.backbone.block1.conv.weight.requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    stages = (Stage(epochs=1), Stage(epochs=1, train=("head",)))
    fit(network, train, validation, recipe(stages), device="cpu", dropout_seed=1)
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == before


def test_a_stage_equals_a_fit_of_a_network_whose_other_parts_are_constants(
    attended, train, validation, batches_of, clusters
):
    """By hand: fixed parameters, fixed modules in eval mode, torch's own Adam over the head alone."""
    network, reference = attended(dropout=0.0), attended(dropout=0.0)
    stage = Stage(epochs=1, train=("head",), lr=0.01)
    fit(network, train, validation, recipe((stage,)), device="cpu", dropout_seed=1)
    reference.eval()
    optimizer = torch.optim.Adam(reference.backbone.head.parameters(), lr=0.01)
    for x, y in train.epoch(0):
        optimizer.zero_grad()
        nn.functional.cross_entropy(reference(x), y).backward()
        optimizer.step()
    assert changed(network.state_dict(), reference.state_dict()) == set()


def test_no_backward_is_computed_for_what_is_frozen(attended):
    network = attended()
    state = prepare(network, recipe((Stage(epochs=1, train=("head",)),)), 7, torch.device("cpu"))
    in_training_mode(network, state)
    seen = []
    network.backbone.block2.register_forward_hook(
        lambda _module, _inputs, out: seen.append(out.requires_grad)
    )
    assert network(torch.randn(4, 2, 4, 4)).requires_grad
    assert seen == [False]


# Each stage anew


def test_optimiser_and_schedule_are_new_in_every_stage(attended, keeper, train, validation):
    log = keeper()
    stages = (Stage(epochs=2, **STEP), Stage(epochs=2, optimizer="sgd", schedule="cosine", lr=0.1))
    fit(attended(), train, validation, recipe(stages), device="cpu", dropout_seed=0, log=log)
    counts = [
        {int(one["step"]) for one in state["optimizer"]["state"].values() if "step" in one}
        for state in log.states
    ]
    assert counts == [{7}, {14}, set(), set()], "Adam's count, and none in SGD"
    half = 0.1 * (1 + math.cos(math.pi * 7 / 14)) / 2
    assert [row.lr for row in log.rows] == pytest.approx([1e-3, 1e-4, 0.1, half])


def test_plateau_forgets_the_stage_before(attended, keeper, train, validation):
    log = keeper()
    plateau = {"schedule": "plateau", "schedule_args": {"factor": 0.5, "patience": 0}}
    # At this rate nothing improves by 0.01 %, so that the rate is halved after the second epoch of a stage.
    stages = (Stage(epochs=3, train=("head",), lr=1e-7, **plateau),) * 2
    fit(attended(), train, validation, recipe(stages), device="cpu", dropout_seed=0, log=log)
    assert [row.lr for row in log.rows] == pytest.approx([1e-7, 1e-7, 5e-8] * 2)


def test_the_best_epoch_is_chosen_over_all_stages(attended, train, validation):
    network = attended()
    # The second stage ruins what the first has learnt.
    stages = (Stage(epochs=3, lr=0.01), Stage(epochs=2, optimizer="sgd", lr=30.0))
    result = fit(network, train, validation, recipe(stages), device="cpu", dropout_seed=1)
    accuracies = [row.validation_accuracy for row in result.history]
    assert result.state.best_epoch <= 3 and max(accuracies[:3]) > max(accuracies[3:])
    network.load_state_dict(result.state.best_weights)
    assert evaluate(network, validation, device="cpu").accuracy == max(accuracies)


def test_whatever_is_wrong_with_a_later_stage_is_found_before_the_first_step(attended, train, validation):
    network = attended()
    before = copy.deepcopy(network.state_dict())
    late = Stage(epochs=2, schedule="cosine", schedule_args={"warmup": 2.0})
    for wrong in (late, Stage(epochs=1, optimizer="adm"), Stage(epochs=1, train=("hed",))):
        with pytest.raises(AblateError, match=r"warmup|adm|'hed'"):
            fit(network, train, validation, recipe((Stage(epochs=1), wrong)), device="cpu", dropout_seed=0)
    assert changed(before, network.state_dict()) == set()


def test_stages_pass_through_the_compiler(monkeypatch, train, validation):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def network():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.Dropout(0.5), nn.Linear(8, 3))

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    stages = tuple(Stage(epochs=1, train=(part,)) for part in ("1", "3", "*", "1", "3"))
    compiled, plain = network(), network()
    for one, compiling in ((compiled, True), (plain, False)):
        chosen = recipe(stages, compile=compiling)
        fit(one, train, validation, chosen, device="cpu", dropout_seed=0)
    assert len(graphs) >= 2 * len(stages), "one to train and one to validate for each stage: none is given up"
    assert changed(compiled.state_dict(), plain.state_dict()) == set()


# Going on


@pytest.mark.parametrize("stop", range(1, 6))
@pytest.mark.parametrize("stages", [THREE_STAGES, PROGRESSIVE], ids=["three-stage", "progressive"])
def test_a_fit_goes_on_within_a_stage_and_between_two(attended, keeper, train, validation, stages, stop):
    goes_on(attended, keeper, train, validation, recipe(stages), stop)


def test_a_fit_of_so_many_steps_goes_on_into_its_cut_epoch(attended, keeper, train, validation):
    chosen = Recipe(epochs=1, batch_size=8, steps=18, schedule="cosine", accumulate=2)
    goes_on(attended, keeper, train, validation, chosen, stop=2)


def goes_on(attended, keeper, train, validation, chosen, stop):
    whole, log = attended(), keeper()
    uninterrupted = fit(whole, train, validation, chosen, device="cpu", dropout_seed=9, log=log)
    file = io.BytesIO()
    torch.save(log.states[stop - 1], file)
    file.seek(0)
    start = torch.load(file, weights_only=True)  # nothing but tensors and plain values
    second, rest = attended(seed=5), keeper()
    resumed = fit(second, train, validation, chosen, device="cpu", dropout_seed=9, log=rest, start=start)
    assert changed(whole.state_dict(), second.state_dict()) == set()
    assert rest.steps == log.steps[7 * stop :]
    assert [row[:6] + row[8:] for row in resumed.history] == [
        row[:6] + row[8:] for row in uninterrupted.history
    ]
    assert resumed.state.best_epoch == uninterrupted.state.best_epoch
    assert changed(resumed.state.best_weights, uninterrupted.state.best_weights) == set()
