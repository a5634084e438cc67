"""Variants that differ in the file and not in the network: a setting that nobody reads.

Three looks, each only at what the one before could not tell apart: the counts of the inspection; the names
and shapes of all tensors and the operators of a training forward, on the meta device; at last the weights,
output and gradients of one batch on the CPU. Settings of data, training and weights are out of its sight:
only variants that share them are compared.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from ablate.spec import Settings
from ablate.spec.words import show
from ablate.variants import Variant, canonical
from ablate.variants.identity import ABSENT, differences

SEED = 0

Build = Callable[[Settings, tuple[int, int, int], int, int], Any]
"""(settings, image_shape, classes, seed) -> the network, on torch's default device of the moment."""


Remember = Callable[[str, Settings, tuple[int, int, int], int, Callable[[], str | None]], str | None]
"""(kind of digest, settings, image_shape, classes, what takes it) -> the digest, taken or known."""


class Inspected(Protocol):
    """What is counted of every variant anyway; `ablate.trial.Inspection` is one."""

    @property
    def param_count(self) -> int: ...
    @property
    def attention_param_count(self) -> int: ...
    @property
    def macs(self) -> int: ...
    @property
    def attention_macs(self) -> int: ...


class Shown(Protocol):
    """Images as a network sees them; `ablate.data.Images` is one. shape: (C, H, W)."""

    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class NoOp:
    """Two variants that are one network. settings: dotted key -> (of `against`, of `variant`), as written.

    where: the line of `variant`.
    """

    variant: str
    against: str
    settings: Mapping[str, tuple[str, str]]
    where: str

    def __str__(self) -> str:
        changes = [f"{key} ({before} -> {after})" for key, (before, after) in self.settings.items()]
        idle = f"{changes[0]} has no" if len(changes) == 1 else f"none of {', '.join(changes)} has an"
        place = f"{self.where}: " if self.where else ""
        return (
            f"{place}{self.variant} and {self.against} are one network: {idle} effect on parameters, "
            "operators or the first batch"
        )


def find_no_ops(
    variants: Sequence[Variant],
    inspections: Mapping[str, Inspected],
    images: Mapping[str, Shown],
    build: Build,
    remember: Remember = lambda *asked: asked[-1](),
) -> tuple[NoOp, ...]:
    """Every variant that is the same network as an earlier one, in the order of the study.

    inspections, images: by variant name. build: makes a network from settings whose weights are null, every
    random stream derived from the seed. Nothing is built where the inspections differ, nor where `remember`
    knows the digest.
    """
    found = []
    for alike in _grouped(variants, lambda variant: _count(variant, inspections[variant.name])):
        data = images[alike[0].name]

        def make(variant: Variant, data: Shown = data) -> Any:
            return build(_from_scratch(variant.settings), data.shape, len(data.classes), SEED)

        def digest(kind: str, variant: Variant, make: Any = make, data: Shown = data) -> str | None:
            def ask() -> str | None:
                from ablate.controls.networks import behaviour_digest, graph_digest

                take = {"graph": graph_digest, "behaviour": behaviour_digest}[kind]
                return take(partial(make, variant), data.shape)

            return remember(kind, _from_scratch(variant.settings), data.shape, len(data.classes), ask)

        for same_graph in _grouped(alike, partial(digest, "graph")):
            for first, *others in _grouped(same_graph, partial(digest, "behaviour")):
                found += [_no_op(variant, first) for variant in others]
    order = {variant.name: position for position, variant in enumerate(variants)}
    return tuple(sorted(found, key=lambda no_op: order[no_op.variant]))


def _grouped(
    variants: Iterable[Variant], key: Callable[[Variant], Hashable | None]
) -> list[tuple[Variant, ...]]:
    """Two or more variants of one key; those whose key is None are alone."""
    groups: dict[Hashable, list[Variant]] = defaultdict(list)
    for variant in variants:
        if (found := key(variant)) is not None:
            groups[found].append(variant)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _count(variant: Variant, inspected: Inspected) -> Hashable:
    plain = canonical(variant.settings)
    shared = {"data": plain["data"], "train": plain["train"], "weights": plain["model"]["weights"]}
    return (
        json.dumps(shared, sort_keys=True),
        inspected.param_count,
        inspected.attention_param_count,
        inspected.macs,
        inspected.attention_macs,
    )


def _from_scratch(settings: Settings) -> Settings:
    """Those compared share their weights, and they need not be there yet."""
    model = settings.model.model_copy(update={"weights": None})
    return settings.model_copy(update={"model": model})


def _no_op(variant: Variant, against: Variant) -> NoOp:
    changed = differences(canonical(against.settings), canonical(variant.settings))
    settings = {key: (_shown(before), _shown(after)) for key, (before, after) in sorted(changed.items())}
    return NoOp(variant.name, against.name, settings, variant.where)


def _shown(value: Any) -> str:
    return "not set" if value is ABSENT else show(value)
