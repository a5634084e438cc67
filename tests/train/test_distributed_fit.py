"""Two real processes against one: losses, gradients, parameters, statistics, evaluation, resuming.

One launch serves all tests: both ranks run every scenario, and what rank 0 found comes back.
"""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from ablate.errors import AblateError
from ablate.train import Recipe, Stage, evaluate, fit
from ablate.train.distributed import SharedGradients, positions
from ablate.train.state import prepare
from ablate.train.step import in_training_mode, plain_gradients, train_step
from ablate.trial.launch import in_ranks

# 20 steps an epoch of 8 images, the last of 3: every one of the two is divided unevenly somewhere.
COUNT, BATCH = 155, 8
STAGES = (
    Stage(epochs=1, train=("conv2", "norm2", "out"), optimizer="sgd", lr=0.05),
    Stage(epochs=1, train=("*",), optimizer="sgd", lr=0.05),
)
RECIPES = {
    "plain": {},
    "accumulated": {"accumulate": 2},
    "clipped": {"clip_norm": 0.05},
    "smoothed, channels last": {"label_smoothing": 0.1, "channels_last": True},
    "cosine": {"schedule": "cosine", "weight_decay": 0.01},
    "in stages": {"stages": STAGES},
}
DROPPING = {"dropout": {}, "dropout, accumulated": {"accumulate": 2}}
RECOMPUTED = {"recomputed": {"gradient_checkpointing": True}}


class Images:
    """Clusters in batches, shuffled by the epoch; with `share` the rows of one process."""

    def __init__(self, count, batch_size, seed, share=None):
        generator = torch.Generator().manual_seed(seed)
        self.y = torch.arange(count) % 3
        centres = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(99))
        self.x = centres[self.y] + torch.randn(count, 2, 6, 6, generator=generator)
        self.batch_size, self.share = batch_size, share
        self.count = count

    def __len__(self):
        return -(-self.count // self.batch_size)

    def epoch(self, epoch, first=0):
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(self.batch_size)[first:]:
            mine = rows if self.share is None else rows[torch.from_numpy(self.share(len(rows)))]
            yield self.x[mine], self.y[mine]


def network(dropout=0.0):
    torch.manual_seed(0)
    layers = OrderedDict(
        conv1=nn.Conv2d(2, 6, 3, padding=1, bias=False),
        norm1=nn.BatchNorm2d(6),
        relu1=nn.ReLU(),
        drop1=nn.Dropout2d(dropout),
        conv2=nn.Conv2d(6, 6, 3, padding=1, bias=False),
        norm2=nn.BatchNorm2d(6),
        relu2=nn.ReLU(),
        flat=nn.Flatten(),
        drop2=nn.Dropout(dropout),
        out=nn.Linear(216, 3),
    )
    return nn.Sequential(layers)


def recipe_of(**changes):
    return Recipe(epochs=1, batch_size=BATCH, **{"optimizer": "sgd", "lr": 0.05, **changes})


def images_for(recipe, ranks):
    def share(count):
        shape = {"batch_size": BATCH, "accumulate": recipe.accumulate}
        return positions(count, **shape, rank=ranks.rank, size=ranks.size)

    return Images(COUNT, BATCH, 1, None if ranks is None else share)


def trained(recipe, ranks=None, dropout=0.0, **how):
    module = network(dropout)
    train, validation = images_for(recipe, ranks), Images(21, BATCH, 2)
    result = fit(module, train, validation, recipe, device="cpu", dropout_seed=3, ranks=ranks, **how)
    test = evaluate(module, Images(21, BATCH, 7), device="cpu", ranks=ranks)
    return {
        "state": module.state_dict(),
        "steps": result.state.steps,
        "history": result.history,
        "test": test,
        "waited": result.waited_share,
    }


def first_gradient(ranks=None, count=BATCH):
    """Of one step on `count` images, with the running statistics after it."""
    module, recipe = network(), recipe_of()
    state = prepare(module, recipe, 20, torch.device("cpu"))
    train = images_for(recipe, ranks)
    train.count = count
    if ranks is None:
        gradients = plain_gradients(module, state, recipe)
    else:
        gradients = SharedGradients(module, state, recipe, ranks, train, 3)
        gradients.begin_epoch()
        assert gradients.begin(0) == count
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))[:count]
    rows = order if ranks is None else order[torch.from_numpy(train.share(count))]
    in_training_mode(module, state)
    loss, hits = train_step(module, state, train.x[rows], train.y[rows], recipe, gradients)
    figures = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    figures |= {name: buffer.clone() for name, buffer in module.named_buffers()}
    return figures, float(loss), int(hits)


class Interrupted(Exception):
    """The process ends here, as far as the fit can tell."""


class StopAfter:
    """A saver that keeps the state after so many steps of the first epoch, and ends the fit."""

    def __init__(self, steps):
        self.steps, self.state = steps, None

    def due(self, *, epoch_ended):
        self.steps -= 1
        return self.steps == 0

    def save(self, state):
        self.state = copy.deepcopy(state.state_dict())
        raise Interrupted


def resumed(ranks=None):
    """Trained in two runs, the second from what the first saved amid its epoch."""
    saver = StopAfter(7)
    with pytest.raises(Interrupted):
        trained(recipe_of(), ranks, dropout=0.3, saver=saver)
    return trained(recipe_of(), ranks, dropout=0.3, start=saver.state)


def disagreeing(ranks):
    """Rank 1 has nothing to resume from."""
    saver = StopAfter(7)
    with pytest.raises(Interrupted):
        trained(recipe_of(), ranks, saver=saver)
    with pytest.raises(AblateError) as caught:
        trained(recipe_of(), ranks, start=saver.state if ranks.is_first else None)
    return str(caught.value)


def compiled(ranks):
    with pytest.raises(AblateError) as caught:
        trained(recipe_of(compile=True), ranks)
    return str(caught.value)


def unused(ranks):
    """A parameter that no loss reaches keeps its value, as in one process."""
    module = network()
    module.add_module("out", Spare(module.out))
    fit(
        module,
        images_for(recipe_of(), ranks),
        Images(21, BATCH, 2),
        recipe_of(weight_decay=0.1),
        device="cpu",
        dropout_seed=3,
        ranks=ranks,
    )
    return module.state_dict()


class Spare(nn.Module):
    def __init__(self, used):
        super().__init__()
        self.used, self.spare = used, nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x)


def scenarios(_, ranks, device):
    torch.set_num_threads(1)
    found = {
        name: trained(recipe_of(**changes), ranks) for name, changes in {**RECIPES, **RECOMPUTED}.items()
    }
    found |= {name: trained(recipe_of(**changes), ranks, dropout=0.3) for name, changes in DROPPING.items()}
    found["gradients"] = [first_gradient(ranks, count) for count in (BATCH, 3, 1)]
    found["resumed"], found["disagreeing"] = resumed(ranks), disagreeing(ranks)
    found["compiled"], found["unused"] = compiled(ranks), unused(ranks)
    found["every rank"] = [
        torch.equal(found["plain"]["state"][name], other)
        for state in ranks.objects(found["plain"]["state"])
        for name, other in state.items()
    ]
    return found


@pytest.fixture(scope="module")
def two():
    return in_ranks(scenarios, None, 2, "cpu")


def apart(one, other):
    """The largest ‖a - b‖ / ‖a‖ of two state dicts, and whose it is."""
    pairs = [(name, value.double(), other[name].double()) for name, value in one.items()]
    return max((float((a - b).norm() / a.norm()), name) for name, a, b in pairs if a.norm())


@pytest.mark.parametrize("name", [*RECIPES, *RECOMPUTED, *DROPPING])
def test_twenty_steps_of_two_processes_end_where_those_of_one_do(two, name):
    recipe = recipe_of(**{**RECIPES, **RECOMPUTED, **DROPPING}[name])
    one, both = trained(recipe, dropout=0.3 if name in DROPPING else 0.0), two[name]
    difference, where = apart(one["state"], both["state"])
    assert difference < 1e-5, where
    assert [row.accuracy for row in both["steps"]] == [row.accuracy for row in one["steps"]]
    assert [row.loss for row in both["steps"]] == pytest.approx([row.loss for row in one["steps"]], rel=1e-5)
    for row, wanted in zip(both["history"], one["history"], strict=True):
        assert row.train_loss == pytest.approx(wanted.train_loss, rel=1e-5)
        assert row.validation_accuracy == wanted.validation_accuracy
    assert both["test"].predicted.tolist() == one["test"].predicted.tolist()
    assert both["test"].labels.tolist() == one["test"].labels.tolist()
    assert 0 < both["waited"] < 1 and one["waited"] is None


@pytest.mark.parametrize(("place", "count"), list(enumerate((BATCH, 3, 1))))
def test_one_step_has_the_gradient_and_the_statistics_of_the_whole_batch(two, place, count):
    """Of eight images, of three (two and one), and of one alone, which goes through both processes."""
    figures, loss, hits = two["gradients"][place]
    wanted, wanted_loss, wanted_hits = first_gradient(count=count)
    assert (loss, hits) == (pytest.approx(wanted_loss, rel=1e-6), wanted_hits)
    for name, value in wanted.items():
        torch.testing.assert_close(figures[name], value, rtol=1e-5, atol=1e-6)


def test_evaluation_gives_the_same_figures_to_the_last_bit_on_the_same_weights(two):
    module = network()
    module.load_state_dict(two["plain"]["state"])
    alone, shared = evaluate(module, Images(21, BATCH, 7), device="cpu"), two["plain"]["test"]
    assert (shared.loss, shared.accuracy) == (alone.loss, alone.accuracy)
    assert shared.probability.tobytes() == alone.probability.tobytes()
    assert shared.predicted.tobytes() == alone.predicted.tobytes()


def test_a_fit_goes_on_amid_an_epoch_as_if_it_had_never_stopped(two):
    for name, value in two["dropout"]["state"].items():
        assert torch.equal(two["resumed"]["state"][name], value), name
    assert two["resumed"]["steps"] == two["dropout"]["steps"]


def test_all_ranks_hold_the_same_network(two):
    assert len(two["every rank"]) == 2 * len(two["plain"]["state"])
    assert all(two["every rank"])


def test_a_parameter_without_gradient_is_left_as_it_is_in_one_process(two):
    wanted = unused(None)
    assert torch.equal(two["unused"]["out.spare.weight"], wanted["out.spare.weight"])
    assert apart(wanted, two["unused"])[0] < 1e-5


def test_ranks_that_stand_at_different_steps_do_not_go_on(two):
    assert two["disagreeing"] == (
        "the processes of this trial do not agree on how far it came: rank 0: (0, 7), rank 1: (0, 0)\n"
        "    run it again"
    )


def test_a_compiled_network_is_refused(two):
    assert two["compiled"] == (
        "train.compile: a compiled network is trained by one process\n"
        "    set train.compile: false, or leave out --gpus-per-trial"
    )
