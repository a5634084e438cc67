"""Variants that are one network are found and the idle setting named; those that differ are left alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from ablate.controls import find_no_ops
from ablate.controls.networks import behaviour_digest, graph_digest
from ablate.models import build_network
from ablate.seeds import derive_seed
from ablate.spec import Settings

SHAPE, CLASSES = (1, 16, 16), ("one", "two", "three")

IDLE = """\
from torch import nn

class Idle(nn.Module):
    def __init__(self, channels, strength=1.0, **kwargs):
        super().__init__()
        self.gate = nn.Linear(channels, channels)

    def forward(self, x):
        return x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]

class Starting(nn.Module):
    '''The identity at the start, whatever its arguments.'''
    def __init__(self, channels, power=1, scale=1.0, detach=False):
        super().__init__()
        self.power, self.detach = power, detach
        self.register_buffer("scale", __import__("torch").full((channels, 1, 1), scale))
        self.gamma = nn.Parameter(__import__("torch").zeros(()))

    def forward(self, x):
        inner = (x * self.scale) ** self.power
        return x + self.gamma * (inner.detach() if self.detach else inner)
"""


def build(settings: Settings, image_shape: Any, classes: int, seed: int) -> nn.Module:
    attention = settings.model.attention
    assert settings.model.weights is None
    return build_network(
        backbone=settings.model.backbone,
        args=settings.model.args,
        attention=None if attention is None else (attention.name, attention.args, attention.at),
        classes=classes,
        image_shape=image_shape,
        backbone_seed=derive_seed(seed, "backbone"),
        attention_seed=derive_seed(seed, "attention"),
        place="after" if attention is None else attention.place,
        gate="own" if attention is None else attention.gate,
    )


def inspect(settings: Settings) -> Any:
    with torch.device("meta"):
        network = build(
            settings.model_copy(update={"model": settings.model.model_copy(update={"weights": None})}),
            SHAPE, len(CLASSES), 0,
        )  # fmt: skip
    count = sum(parameter.numel() for parameter in network.parameters())
    return SimpleNamespace(param_count=count, attention_param_count=0, macs=0, attention_macs=0)


@pytest.fixture
def no_ops(planned: Callable[..., Any], own_module: Callable[[str, str], None]) -> Callable[..., Any]:
    """More variants -> what is found among them, and the settings of which a real network was built."""
    own_module("idle_modules", IDLE)

    def find(more: str) -> Any:
        variants = planned(more).expansion.variants
        inspections = {variant.name: inspect(variant.settings) for variant in variants}
        images = {variant.name: SimpleNamespace(shape=SHAPE, classes=CLASSES) for variant in variants}
        real: list[str] = []

        def building(settings: Settings, *how: Any) -> nn.Module:
            if not torch.empty(0).is_meta:
                real.append(next(v.name for v in variants if v.settings.model.args == settings.model.args
                                 and v.settings.model.attention == settings.model.attention))  # fmt: skip
            return build(settings, *how)

        return SimpleNamespace(found=find_no_ops(variants, inspections, images, building), real=real)

    return find


@pytest.mark.parametrize(
    ("more", "pair", "setting"),
    [
        (
            "  idle: {model.attention: {name: 'idle_modules:Idle', at: block1}}\n"
            "  stronger: {extends: idle, model.attention.args.strength: 2.0}\n",
            ("stronger", "idle"),
            "model.attention.args.strength (not set -> 2.0)",
        ),
        (
            "  idle: {model.attention: {name: 'idle_modules:Idle', at: block1, args: {reduction: 4}}}\n"
            "  swallowed: {extends: idle, model.attention.args.reduction: 8}\n",
            ("swallowed", "idle"),
            "model.attention.args.reduction (4 -> 8)",
        ),
        (
            "  m1: {model.attention.at: block2, model.attention.args.reduction: 16}\n"
            "  m0: {model.attention.at: block2, model.attention.args.reduction: 32}\n",
            ("m0", "m1"),
            "model.attention.args.reduction (16 -> 32)",
        ),
        (
            "  globbed: {model.attention.at: 'block*'}\n",
            ("globbed", "msa"),
            "model.attention.at (['block1', 'block2', 'block3'] -> ['block*'])",
        ),
    ],
    ids=["ignored", "swallowed", "floor", "glob"],
)
def test_a_setting_without_effect_is_found_and_named(
    no_ops: Callable[..., Any], more: str, pair: tuple[str, str], setting: str
) -> None:
    (found,) = no_ops(more).found
    assert (found.variant, found.against) == pair
    place, sentence = str(found).split("s.yaml:")[1].split(": ", 1)
    line = next(
        i for i, text in enumerate(("\n" * 10 + more).split("\n"), 1) if text.startswith(f"  {pair[0]}:")
    )
    assert int(place) == line + 1
    assert sentence == (
        f"{pair[0]} and {pair[1]} are one network: {setting} has no effect on parameters, operators or the "
        "first batch"
    )


@pytest.mark.parametrize(
    "more",
    [
        "  se: {model.attention: {name: se, args: {reduction: 4}, at: block1}}\n"
        "  idle: {model.attention: {name: 'idle_modules:Idle', at: block1}}\n",
        "  narrower: {model.attention.args.reduction: 8}\n  elsewhere: {model.attention.at: block1}\n",
        "  dropping: {model.args.dropout: 0.1}\n  dropping more: {model.args.dropout: 0.2}\n",
        "  first: {model.attention: {name: 'idle_modules:Starting', at: block1}}\n"
        "  power: {extends: first, model.attention.args.power: 2}\n",
        "  shuffled: {model.attention.gate: shuffled}\n  static: {model.attention.gate: static}\n",
        "  longer: {train.epochs: 9}\n  fewer: {data.fraction: 0.5}\n",
        "  pretrained: {model.weights: default}\n",
    ],
    ids=["mechanisms", "arguments", "dropout", "operators", "gates", "training and data", "weights"],
)
def test_what_differs_is_not_flagged_and_not_even_built(no_ops: Callable[..., Any], more: str) -> None:
    outcome = no_ops(more)
    assert outcome.found == () and outcome.real == []


@pytest.mark.parametrize("change", ["scale: 2.0", "detach: true"])
def test_what_starts_as_the_identity_is_told_apart_by_buffers_and_gradients(
    no_ops: Callable[..., Any], change: str
) -> None:
    key, value = change.split(": ")
    outcome = no_ops(
        "  first: {model.attention: {name: 'idle_modules:Starting', at: block1}}\n"
        f"  second: {{extends: first, model.attention.args.{key}: {value}}}\n"
    )
    assert outcome.found == ()


def test_three_alike_are_two_findings_and_only_they_are_built(no_ops: Callable[..., Any]) -> None:
    outcome = no_ops(
        "  a: {model.attention: {name: 'idle_modules:Idle', at: block1, args: {x: 1}}}\n"
        "  b: {extends: a, model.attention.args.x: 2}\n"
        "  c: {extends: a, model.attention.args.y: 3}\n"
    )
    assert [(one.variant, one.against) for one in outcome.found] == [("b", "a"), ("c", "a")]
    assert outcome.found[1].settings == {"model.attention.args.y": ("not set", "3")}
    assert sorted(outcome.real) == ["a", "b", "c"]


def test_shapes_tell_apart_what_has_as_many_parameters() -> None:
    def chain(*sizes: int) -> Callable[[], nn.Module]:
        layers = [nn.Linear(i, o, bias=False) for i, o in itertools.pairwise(sizes)]
        return lambda: nn.Sequential(nn.Flatten(), *layers)

    assert graph_digest(chain(4, 6, 2), (1, 2, 2)) != graph_digest(chain(4, 2, 14), (1, 2, 2))
    assert graph_digest(chain(4, 6, 2), (1, 2, 2)) == graph_digest(chain(4, 6, 2), (1, 2, 2))


def test_a_network_that_looks_at_values_is_judged_by_its_behaviour() -> None:
    class Looking(nn.Module):
        def __init__(self, times: float) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.linear, self.times = nn.Linear(4, 2), times

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.linear(x.flatten(1))
            return x * self.times if x.abs().max().item() > 0 else x

    shape = (1, 2, 2)
    assert graph_digest(lambda: Looking(1.0), shape) == graph_digest(lambda: Looking(2.0), shape)
    assert behaviour_digest(lambda: Looking(1.0), shape) != behaviour_digest(lambda: Looking(2.0), shape)
    assert behaviour_digest(lambda: Looking(2.0), shape) == behaviour_digest(lambda: Looking(2.0), shape)


def test_the_random_state_is_left_alone_and_what_cannot_run_is_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert behaviour_digest(lambda: nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(4, 2)), (1, 2, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert behaviour_digest(lambda: nn.Linear(3, 2), (1, 2, 2)) is None
