"""What a glob names, the groups that follow, and what is wrong with a recipe before any training."""

import pickle

import pytest
import torch
from torch import nn

from ablate.errors import AblateError
from ablate.models import build_network
from ablate.train import Recipe, RecipeError, Stage, check_recipe, make_optimizer
from ablate.train.groups import freeze_all_but, names_in_study, parameter_groups, trainable


def recipe(**changes):
    return Recipe(**{"epochs": 1, "batch_size": 8, "optimizer": "sgd", "lr": 0.1, **changes})


def named(network, groups):
    """Names in the network of the parameters of each group."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    return [[names[parameter] for parameter in group["params"]] for group in groups]


def rates(network, **changes):
    groups = parameter_groups(network, recipe(**changes))
    return {
        name: group["lr"]
        for names, group in zip(named(network, groups), groups, strict=True)
        for name in names
    }


# Names


def test_names_in_a_study_are_the_backbones_own_and_attention_goes_by_its_place():
    assert names_in_study(
        ["", "backbone.features.0.weight", "attention.features/4.fuse.weight", "attention.stem.gamma"]
    ) == {
        "": "",
        "backbone.features.0.weight": "features.0.weight",
        "attention.features/4.fuse.weight": "attention.features.4.fuse.weight",
        "attention.stem.gamma": "attention.stem.gamma",
    }
    plain = ["backbone.0.weight", "head.weight"]
    assert names_in_study(plain) == {name: name for name in plain}


def test_the_names_hold_for_ablates_own_network():
    network = build_network(
        backbone="cnn",
        args={"width": 0.25},
        attention=("se", {}, ["block1.relu", "block3"]),
        classes=3,
        image_shape=(1, 8, 8),
        backbone_seed=0,
        attention_seed=0,
    )
    slow = rates(network, lr_by={"attention": 0.5, "attention.block1": 0.25, "head.output.bias": 2.0})
    for name, rate in slow.items():
        if name.startswith("attention.block1"):
            assert rate == 0.25
        elif name.startswith("attention"):
            assert rate == 0.5 and "block3" in name
        else:
            assert rate == (2.0 if name == "backbone.head.output.bias" else 0.1)
    assert 0.25 in slow.values() and 0.5 in slow.values()


def test_every_parameter_has_the_rate_of_the_last_glob_that_names_it(attended):
    found = rates(attended(), lr_by={"*": 1.0, "block?": 2.0, "**.norm": 3.0, "block2.norm.bias": 4.0})
    expected = {
        "backbone.block1.conv.weight": 2.0,
        "backbone.block1.norm.weight": 3.0,
        "backbone.block2.conv.weight": 2.0,
        "backbone.block2.norm.weight": 3.0,
        "backbone.block2.norm.bias": 4.0,
        "backbone.head.output.weight": 1.0,
        "attention.block1.fc.weight": 1.0,
        "attention.block2/relu.norm.weight": 3.0,
    }
    assert {name: found[name] for name in expected} == expected
    assert found.keys() == {name for name, _ in attended().named_parameters()}


def test_a_glob_stops_at_a_dot_but_names_all_that_a_module_holds(attended):
    found = rates(attended(), lr_by={"*.norm": 3.0})
    assert {name for name, rate in found.items() if rate == 3.0} == {
        f"backbone.block{number}.norm.{what}" for number in (1, 2) for what in ("weight", "bias")
    }


def test_a_parameter_with_two_names_goes_by_both():
    network = nn.ModuleDict({"one": nn.Linear(2, 2), "two": nn.Linear(2, 2)})
    network["two"].weight = network["one"].weight
    groups = parameter_groups(network, recipe(lr_by={"two": 0.5}))
    assert [group["lr"] for group in groups] == [0.5, 0.1]
    assert named(network, groups) == [["one.weight", "two.bias"], ["one.bias"]]


# Groups


def test_without_rates_there_is_one_group_in_the_networks_order(attended):
    network = attended()
    (group,) = parameter_groups(network, recipe(weight_decay=0.1))
    assert group == {"params": list(network.parameters()), "lr": 0.1}


def test_decay_on_weights_spares_biases_and_norms_in_two_groups(attended):
    network = attended()
    groups = parameter_groups(network, recipe(weight_decay=0.1, decay_on="weights"))
    assert len(groups) == 2
    decayed, spared = named(network, groups)
    assert groups[1]["weight_decay"] == 0.0 and "weight_decay" not in groups[0]
    assert set(decayed) == {
        "backbone.block1.conv.weight",
        "backbone.block2.conv.weight",
        "backbone.head.output.weight",
        "attention.block1.fc.weight",
        "attention.block2/relu.fc.weight",
    }
    assert len(decayed) + len(spared) == len(list(network.parameters()))
    assert len(parameter_groups(network, recipe(decay_on="weights"))) == 1, "there is no decay to be spared"


def test_groups_are_as_few_as_the_pairs_of_rate_and_decay(attended):
    chosen = recipe(
        weight_decay=0.1, decay_on="weights", lr_by={"attention": 1.0, "head": 2.0, "block1": 1.0}
    )
    groups = parameter_groups(attended(), chosen)
    pairs = {(group["lr"], group.get("weight_decay", 0.1)) for group in groups}
    assert len(groups) == len(pairs) == 6


def test_weight_decay_spares_what_it_should_by_torchs_own_rule():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = {name: value.clone() for name, value in network.named_parameters()}
    with torch.no_grad():
        network[0].bias.fill_(3.0)
        before["0.bias"].fill_(3.0)
    chosen = recipe(weight_decay=0.5, decay_on="weights")
    optimizer = make_optimizer(parameter_groups(network, chosen), chosen)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in network.named_parameters():
        factor = 1 - 0.1 * 0.5 if name == "0.weight" else 1.0
        torch.testing.assert_close(value.detach(), factor * before[name].detach())


# Freezing


def training_after(network, patterns):
    frozen = set(freeze_all_but(network, patterns, trainable(network)))
    return {name for name, module in network.named_modules() if module not in frozen}


def test_a_frozen_part_takes_no_gradient_and_its_modules_are_in_eval_mode(attended):
    network = attended()
    awake = training_after(network, ("block2", "attention.block2"))
    assert {name for name, parameter in network.named_parameters() if parameter.requires_grad} == {
        "backbone.block2.conv.weight",
        "backbone.block2.norm.weight",
        "backbone.block2.norm.bias",
        "attention.block2/relu.fc.weight",
        "attention.block2/relu.norm.weight",
        "attention.block2/relu.norm.bias",
    }
    assert awake == {
        "",
        "backbone",
        "backbone.block2",
        "backbone.block2.conv",
        "backbone.block2.norm",
        "backbone.block2.relu",
        "attention",
        "attention.block2/relu",
        "attention.block2/relu.fc",
        "attention.block2/relu.norm",
    }


def test_a_module_of_which_one_parameter_is_named_is_awake_and_its_neighbours_are_not(attended):
    awake = training_after(attended(), ("block1.norm.bias",))
    assert "backbone.block1.norm" in awake and "backbone.block1.conv" not in awake


def test_everything_is_awake_by_default_even_what_has_a_buffer_at_the_top(attended):
    network = attended()
    network.backbone.register_buffer("mean", torch.zeros(3))
    assert freeze_all_but(network, ("*",), trainable(network)) == []
    partly = freeze_all_but(network, ("head",), trainable(network))
    assert network.backbone in partly, "its own buffer is not named; its children have their own modes"


def test_constants_of_the_network_are_never_trained(attended):
    network = attended()
    network.backbone.block1.conv.weight.requires_grad_(False)
    learnable = trainable(network)
    freeze_all_but(network, ("head",), learnable)
    freeze_all_but(network, ("*",), learnable)
    assert set(trainable(network)) == set(learnable)


# Faults


def faults(network, **changes):
    with pytest.raises(RecipeError) as caught:
        check_recipe(network, recipe(**changes))
    return [str(fault) for fault in caught.value.faults]


def test_every_faulty_glob_is_named_with_the_nearest_names(attended):
    stages = (
        Stage(epochs=1, train=("blok1", "head")),
        Stage(epochs=1, lr_by={"attention.block3": 0.1, "zzz": 1.0, "head.dropout": 1.0}),
    )
    found = faults(attended(), stages=stages)
    assert found[0].startswith(
        "train.stages[0].train: 'blok1' names no parameter of the network\n"
        "    did you mean 'block1', 'block2'"
    )
    assert found[1].startswith(
        "train.stages[1].lr: 'attention.block3' names no parameter of the network\n"
        "    did you mean 'attention.block"
    )
    assert found[2] == (
        "train.stages[1].lr: 'zzz' names no parameter of the network\n"
        "    names at the top: block1, block2, head, attention"
    )
    assert found[3].startswith(
        "train.stages[1].lr: 'head.dropout' names no parameter: 'head.dropout' has none"
    )
    assert len(found) == 4


def test_a_recipe_without_stages_is_checked_too_and_on_the_meta_device():
    with torch.device("meta"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    check_recipe(network, recipe(lr_by={"1": 0.1}))
    assert faults(network, lr_by={"2": 0.1}) == [
        "train.lr: '2' names no parameter of the network\n    names at the top: 1"
    ]


def test_a_rate_for_what_its_stage_freezes_is_an_error(attended):
    stages = (Stage(epochs=1, train=("head",), lr_by={"block1": 0.1, "*": 0.2}),)
    assert faults(attended(), stages=stages) == [
        "train.stages[0].lr: 'block1' names only parameters that are frozen, so its rate has no effect\n"
        "    take it out, or train them"
    ]


def test_variants_with_and_without_attention_share_a_recipe(attended):
    bare = attended(attention=False)
    check_recipe(bare, recipe(lr_by={"attention": 0.1, "attention.block1": 0.2}))
    check_recipe(bare, recipe(stages=(Stage(epochs=1, train=("head", "attention")),)))
    assert faults(bare, stages=(Stage(epochs=1), Stage(epochs=1, train=("attention",)))) == [
        "train.stages[1]: trains nothing: 'attention' names no parameter that learns\n"
        "    this network has no attention: give this variant train.stages of its own"
    ]
    plain = nn.Sequential(nn.Linear(2, 2))
    assert faults(plain, lr_by={"attention": 0.1})[0].startswith("train.lr: 'attention' names no parameter")


def test_what_learns_nothing_is_an_error():
    with pytest.raises(AblateError, match="no parameter to train"):
        check_recipe(nn.Flatten(), recipe())
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    assert faults(network, train=("0",)) == [
        "train: trains nothing: '0' names no parameter that learns\n    name something that learns"
    ]


def test_checkpointing_does_not_go_with_compiling(attended):
    (fault,) = faults(attended(), gradient_checkpointing=True, compile=True)
    assert fault.startswith(
        "train.gradient_checkpointing: does not go with train.compile\n    set one of them"
    )


def test_the_faults_survive_the_way_back_from_a_worker(attended):
    with pytest.raises(RecipeError) as caught:
        check_recipe(attended(), recipe(lr_by={"nothing": 0.1}))
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (str(again), again.faults) == (str(caught.value), caught.value.faults)
