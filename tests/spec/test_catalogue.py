"""The catalogue says what the classes and functions behind it say."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from ablate.models.attention import MECHANISMS
from ablate.models.attention.positions import ENCODINGS
from ablate.models.backbones import BACKBONES as BUILDERS
from ablate.spec.catalogue import (
    ATTENTION,
    BACKBONES,
    METRICS,
    OPTIMIZERS,
    SCHEDULES,
    SOURCES,
    Argument,
    describe,
    schedule_arguments,
    with_defaults,
)
from ablate.spec.checks import check_settings
from ablate.spec.settings import ScheduleSettings

# How torch computes a step, not what the step is; or, for maximize, always wrong here.
TECHNICAL = {"params", "foreach", "maximize", "capturable", "differentiable", "fused"}
# Only in newer versions of torch; `adamw` is that optimiser.
NEWER = {("adam", "decoupled_weight_decay")}
TYPES = {"int": int, "float": float, "bool": bool, "str": str}


def parameters_of(factory: Callable[..., Any], given: set[str]) -> dict[str, inspect.Parameter]:
    return {name: p for name, p in inspect.signature(factory).parameters.items() if name not in given}


def assert_same(catalogued: Mapping[str, Argument], parameters: Mapping[str, inspect.Parameter]) -> None:
    assert set(catalogued) == set(parameters)
    for name, argument in catalogued.items():
        assert argument.default == parameters[name].default, name
        if argument.length is None and argument.default is not None:
            assert isinstance(argument.default, TYPES[argument.kind])


@pytest.mark.parametrize("name", sorted(ATTENTION | MECHANISMS))
def test_mechanisms(name: str) -> None:
    assert_same(ATTENTION[name].args, parameters_of(MECHANISMS[name], {"channels", "map_shape"}))
    assert ATTENTION[name].switches == tuple(getattr(MECHANISMS[name], "switches", ()))
    assert ATTENTION[name].gates == bool(getattr(MECHANISMS[name], "gates", ()))
    assert all(ATTENTION[name].args[switch].kind == "bool" for switch in ATTENTION[name].switches)


def test_the_choices_are_those_of_the_mechanism() -> None:
    assert ATTENTION["self-attention"].args["position"].choices == ENCODINGS
    assert {entry.args["position"].choices for entry in ATTENTION.values() if "position" in entry.args} == {
        ENCODINGS
    }


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        ({"name": "cbam", "args": {"kernel": 4}}, "must be an odd whole number of at least 1, got 4"),
        (
            {"name": "eca", "args": {"kernel": 0}},
            "must be an odd whole number of at least 1, or null, got 0",
        ),
        ({"name": "axial", "args": {"position": "rotary"}}, "'rotary' is no position"),
        (
            {"name": "axial", "args": {"position": 3}},
            "must be one of none, learned, sinusoidal, relative, got 3",
        ),
        ({"name": "linear", "gate": "static"}, "the attention 'linear' has no gates, got 'static'"),
        ({"name": "se", "args": {"map_shape": [4, 4]}}, "the attention 'se' has no argument 'map_shape'"),
    ],
)
def test_arguments_that_a_mechanism_would_refuse(attention: dict[str, Any], message: str) -> None:
    found = check_settings({"model": {"attention": {"at": ["block1"], **attention}}})
    assert [fault.message for fault in found] == [message]


@pytest.mark.parametrize(
    "attention",
    [
        {"name": "eca", "args": {"kernel": None}},
        {"name": "cbam", "args": {"kernel": 3}, "gate": "static"},
        {"name": "timm:eca", "gate": "shuffled"},
        {"name": "self-attention", "args": {"position": "relative", "dim": None}},
    ],
)
def test_arguments_that_a_mechanism_takes(attention: dict[str, Any]) -> None:
    assert not check_settings({"model": {"attention": {"at": ["block1"], **attention}}})


@pytest.mark.parametrize("name", sorted(BACKBONES | BUILDERS))
def test_backbones(name: str) -> None:
    assert_same(BACKBONES[name].args, parameters_of(BUILDERS[name], {"classes", "image_shape"}))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_optimizers(name: str) -> None:
    entry = OPTIMIZERS[name]
    torch_class = getattr(torch.optim, entry.torch_name)
    assert entry.torch_name.lower() == name
    parameters = parameters_of(torch_class, TECHNICAL | {"lr", "weight_decay"})
    parameters = {key: p for key, p in parameters.items() if (name, key) not in NEWER}
    assert_same(entry.args, parameters)
    assert entry.weight_decay == ("weight_decay" in inspect.signature(torch_class).parameters)
    weight = nn.Parameter(torch.ones(2, 2))
    decay = {"weight_decay": 0.01} if entry.weight_decay else {}
    args = {key: tuple(v) if isinstance(v, list) else v for key, v in with_defaults({}, entry.args).items()}
    optimizer = torch_class([weight], lr=0.1, **decay, **args)
    weight.sum().backward()
    optimizer.step()
    assert (weight < 1).all()


def test_no_optimizer_of_torch_is_forgotten() -> None:
    known = {entry.torch_name for entry in OPTIMIZERS.values()}
    classes = {name for name, item in vars(torch.optim).items() if inspect.isclass(item)}
    assert classes - known <= {"Optimizer", "LBFGS", "SparseAdam", "Muon"}


def faults(**train: Any) -> list[str]:
    return [fault.message for fault in check_settings({"train": train})]


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"name": "sgd", "args": {"momentum": -0.1}}, "must be a number of at least 0, got -0.1"),
        (
            {"name": "sgd", "args": {"nesterov": True}},
            "true needs a momentum greater than 0 and a dampening of 0",
        ),
        (
            {"name": "adam", "args": {"betas": [0.9]}},
            "must be a list of 2 numbers of at least 0 and less than 1, got [0.9]",
        ),
        (
            {"name": "adam", "args": {"betas": [0.9, 1]}},
            "must be a list of 2 numbers of at least 0 and less than 1, got [0.9, 1]",
        ),
        ({"name": "adam", "args": {"amsgrad": 1}}, "must be true or false, got 1"),
        ({"name": "adam", "args": {"eps": True}}, "must be a number of at least 0, got true"),
        ({"name": "rprop", "weight_decay": 0.1}, "the optimizer 'rprop' has no weight decay, got 0.1"),
        (
            {"name": "rprop", "args": {"etas": [1.1, 1.2]}},
            "must be two numbers around 1: the first below, the second above, got [1.1, 1.2]",
        ),
        (
            {"name": "adafactor", "args": {"eps": [None, None]}},
            "must be a list of 2 numbers of at least 0, got [null, null]",
        ),
    ],
)
def test_arguments_that_torch_would_refuse_in_the_middle_of_a_run(
    optimizer: dict[str, Any], message: str
) -> None:
    assert faults(optimizer=optimizer) == [message]


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "args": {"momentum": 0.9, "nesterov": True}},
        {"name": "adam", "args": {"betas": [0, 0.9]}},
        {"name": "adafactor", "args": {"eps": [None, 1e-3]}},
        {"name": "adafactor", "args": {"eps": [1e-30, 1e-3]}},
        {"lr": 1},
    ],
)
def test_arguments_that_torch_takes(optimizer: dict[str, Any]) -> None:
    assert faults(optimizer=optimizer) == []


def test_schedules_fill_in_their_own_keys_only() -> None:
    assert schedule_arguments(ScheduleSettings(name="plateau", patience=1)) == {"factor": 0.1, "patience": 1}
    assert schedule_arguments(ScheduleSettings(name="cosine", warmup=1)) == {"warmup": 1.0, "floor": 0.0}
    assert schedule_arguments(ScheduleSettings()) == {}
    assert {key for keys in SCHEDULES.values() for key in keys} == set(ScheduleSettings.model_fields) - {
        "name"
    }
    for name, keys in SCHEDULES.items():
        filled = {key: argument.default for key, argument in keys.items()}
        assert ScheduleSettings.model_validate({"name": name, **filled}), "defaults lie in their own ranges"


def test_a_warm_up_ends_before_the_training_does() -> None:
    cosine = {"name": "cosine", "warmup": 4}
    assert faults(epochs=4, schedule=cosine) == ["must be less than the 4 epochs of training, got 4"]
    assert faults(epochs=5, schedule=cosine) == []


def test_the_metrics_of_claims_are_those_of_the_catalogue() -> None:
    from typing import get_args

    from ablate.spec.claims import Metric

    assert get_args(Metric) == tuple(METRICS)


def test_a_list_of_all_names_for_the_command_line() -> None:
    text = describe(ATTENTION)
    assert "se                squeeze-and-excitation" in text
    assert "(none, learned, sinusoidal, relative)\n" in text
    assert "reduction: 16" in text and "spatial: true" in text
    assert all(name in describe(SOURCES) for name in SOURCES)
    assert "hidden: null" in describe(BACKBONES)
