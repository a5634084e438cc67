"""Which parameters a glob of a recipe names: what a stage trains and what it freezes, and parameter groups.

A parameter goes by its dotted path. In a network that holds `backbone` and `attention` apart, as ablate's
own does, the backbone's parameters go by their path in the backbone (``features.0.weight``) and those of
attention by ``attention.``, the place where it sits, and their own path
(``attention.features.4.fuse.weight``). A glob names a parameter when it matches the path of the parameter or
of anything that holds it: ``attention``, ``head``, ``features.2*``, ``*``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import nn

from ablate.errors import AblateError, Problem
from ablate.spec.names import glob_regex
from ablate.train.recipe import Recipe


class RecipeError(AblateError):
    """Parts of a recipe that do not fit the network; `faults` has one Problem for each."""

    def __init__(self, faults: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[Any, ...]:  # an exception is pickled by its message, which is no Problem
        return RecipeError, (self.faults,)


def names_in_study(paths: Iterable[str]) -> dict[str, str]:
    """{path of a parameter, buffer or module in the network: its path in a study file}."""
    paths = list(paths)
    tops = {path.partition(".")[0] for path in paths if path}
    if not {"backbone"} <= tops <= {"backbone", "attention"}:
        return {path: path for path in paths}
    return {path: _name_in_study(path) for path in paths}


def _name_in_study(path: str) -> str:
    top, _, rest = path.partition(".")
    if top == "backbone":
        return rest
    place, dot, inner = rest.partition(".")
    return ".".join(part for part in (top, place.replace("/", "."), inner if dot else "") if part)


class Names:
    """The names of one network's parameters, buffers and modules, as a study file says them.

    What is reachable on two paths goes by both.
    """

    def __init__(self, network: nn.Module) -> None:
        self.modules = [(path, module) for path, module in network.named_modules(remove_duplicate=False)]
        own = {
            f"{path}.{name}".lstrip(".")
            for path, module in self.modules
            for name in (*module._parameters, *module._buffers)
        }
        self.of = names_in_study([*(path for path, _ in self.modules), *sorted(own)])
        self.parameters: dict[nn.Parameter, list[str]] = {}
        for path, parameter in network.named_parameters(remove_duplicate=False):
            self.parameters.setdefault(parameter, []).append(self.of[path])
        self.paths = [path for names in self.parameters.values() for path in names]
        separate = "backbone" in dict(network.named_children()) and self.of.get("backbone") == ""
        self.without_attention = separate and not any(path.startswith("attention.") for path in self.paths)

    def named_by(self, pattern: str) -> list[nn.Parameter]:
        return [one for one, paths in self.parameters.items() if any(_names(pattern, p) for p in paths)]

    def last_of(self, patterns: Iterable[str], parameter: nn.Parameter) -> str | None:
        """The last pattern that names a parameter."""
        paths = self.parameters[parameter]
        return next((one for one in reversed(list(patterns)) if any(_names(one, p) for p in paths)), None)


@cache
def _regex(pattern: str) -> Any:
    return glob_regex(pattern)


def _names(pattern: str, path: str) -> bool:
    """Whether a glob matches a path or the path of anything that holds it."""
    ends = [index for index, character in enumerate(path) if character == "."] + [len(path)]
    return bool(path) and any(_regex(pattern).fullmatch(path, 0, end) for end in ends)


def check_recipe(network: nn.Module, recipe: Recipe) -> None:
    """Hold every glob of the recipe against the network, which may lie on the meta device.

    A glob that begins with ``attention`` may name nothing in a network that has none: variants with and
    without it share a recipe. Raises RecipeError with every fault: a glob that names no parameter or, as a
    rate, none that its stage trains; a stage that trains nothing; settings that exclude each other.
    """
    names, faults = Names(network), []
    learnable = set(trainable(network))
    if not learnable:
        raise AblateError("the network has no parameter to train")
    for index, stage in enumerate(recipe.of_stages()):
        place = f"train.stages[{index}]" if recipe.stages else "train"
        faults += _faults(names, stage.train, f"{place}.train")
        faults += _faults(names, stage.lr_by, f"{place}.lr")
        trained = {one for one in learnable if names.last_of(stage.train, one) is not None}
        if not trained:
            faults.append(_trains_nothing(names, stage, place))
            continue
        for pattern in stage.lr_by:
            named = names.named_by(pattern)
            if named and trained.isdisjoint(named):
                message = f"{pattern!r} names only parameters that are frozen, so its rate has no effect"
                faults.append(Problem(message, field=f"{place}.lr", hint="take it out, or train them"))
    if recipe.gradient_checkpointing and recipe.compile:
        hint = "set one of them to false: a compiled backward pass chooses itself what it computes again"
        faults.append(Problem("does not go with train.compile", "", "train.gradient_checkpointing", (), hint))
    faults += _ways_that_clash(recipe)
    if faults:
        raise RecipeError(faults)


def _ways_that_clash(recipe: Recipe) -> Iterator[Problem]:
    asked = recipe.accelerate
    if asked in ("graphs", "compile") and recipe.compile:
        hint = "set train.compile: false, and a probe decides; or leave train.accelerate out"
        yield Problem(f"{asked!r} does not go with train.compile", "", "train.accelerate", (), hint)
    elif asked == "compile" and recipe.gradient_checkpointing:
        hint = "leave one of them out: a compiled backward pass chooses itself what it computes again"
        yield Problem(
            "'compile' does not go with train.gradient_checkpointing", "", "train.accelerate", (), hint
        )


def _faults(names: Names, patterns: Iterable[str], field: str) -> Iterator[Problem]:
    for pattern in patterns:
        expected = names.without_attention and pattern.partition(".")[0] == "attention"
        if not expected and not names.named_by(pattern):
            yield Problem(_nothing_named(names, pattern), field=field, hint=_nearest(names, pattern))


def _nothing_named(names: Names, pattern: str) -> str:
    modules = [names.of[path] for path, _ in names.modules]
    hit = next((path for path in modules if _names(pattern, path)), None)
    if hit is None:
        return f"{pattern!r} names no parameter of the network"
    return f"{pattern!r} names no parameter: {hit!r} has none"


def _nearest(names: Names, pattern: str) -> str:
    held = {path[:end] for path in names.paths for end, letter in enumerate(path) if letter == "."}
    nearest = difflib.get_close_matches(pattern, [*sorted(held), *names.paths], n=3, cutoff=0.6)
    if nearest:
        return f"did you mean {', '.join(map(repr, nearest))}?"
    top = list(dict.fromkeys(path.partition(".")[0] for path in names.paths))
    return f"names at the top: {', '.join(top[:12])}{', …' if len(top) > 12 else ''}"


def _trains_nothing(names: Names, stage: Recipe, place: str) -> Problem:
    said = ", ".join(map(repr, stage.train))
    if names.without_attention:
        hint = "this network has no attention: give this variant train.stages of its own"
    else:
        hint = "name something that learns"
    return Problem(f"trains nothing: {said} names no parameter that learns", "", place, (), hint)


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that take gradients."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Groups for the optimiser: one for every different pair of learning rate and weight decay.

    Parameters without gradient are in none; in a group they keep the network's order.
    """
    names = Names(network)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for parameter in names.parameters:
        if not parameter.requires_grad:
            continue
        pattern = names.last_of(recipe.lr_by, parameter)
        lr = recipe.lr if pattern is None else recipe.lr_by[pattern]
        spared = recipe.decay_on == "weights" and parameter.ndim < 2
        decay = 0.0 if spared else recipe.weight_decay
        group = groups.setdefault((lr, decay), {"params": [], "lr": lr})
        group["params"].append(parameter)
        if decay != recipe.weight_decay:
            group["weight_decay"] = decay
    return list(groups.values())


def freeze_all_but(
    network: nn.Module, patterns: Sequence[str], learnable: Iterable[nn.Parameter]
) -> list[nn.Module]:
    """Let those of `learnable` take gradients that a pattern names, and no other; give the frozen modules.

    A frozen module is to run in eval mode, each by itself and not with its children: its statistics stay,
    dropout is off. A module is not frozen when a pattern names it or a parameter or buffer of its own. One
    that owns neither but holds others is frozen with the last of them.
    """
    names, free = Names(network), set(learnable)
    for parameter in names.parameters:
        parameter.requires_grad_(parameter in free and names.last_of(patterns, parameter) is not None)
        parameter.grad = None
    awake = {module for path, module in names.modules if _is_named(names, path, module, patterns)}
    return [
        module
        for module in network.modules()
        if module not in awake and (_owned(module) or not any(inner in awake for inner in module.modules()))
    ]


def _owned(module: nn.Module) -> list[str]:
    return [name for name, one in (*module._parameters.items(), *module._buffers.items()) if one is not None]


def _is_named(names: Names, path: str, module: nn.Module, patterns: Sequence[str]) -> bool:
    own = [names.of[f"{path}.{name}".lstrip(".")] for name in _owned(module)]
    return any(_names(pattern, one) for pattern in patterns for one in (names.of[path], *own))


@contextmanager
def gradients_kept(network: nn.Module) -> Iterator[None]:
    """Which parameters take gradients is afterwards as it was before."""
    before: Mapping[nn.Parameter, bool] = {one: one.requires_grad for one in network.parameters()}
    try:
        yield
    finally:
        for parameter, requires_grad in before.items():
            parameter.requires_grad_(requires_grad)
