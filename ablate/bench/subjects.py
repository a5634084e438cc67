"""What is measured, and under which conditions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablate.errors import AblateError
from ablate.spec.settings import Settings
from ablate.variants import Variant

if TYPE_CHECKING:
    from torch import nn

    from ablate.data import Images

DTYPES = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Conditions:
    """device: as `resolve_device` gives it. batch: of the throughput; None to find one that all can take.

    train_batch: images of a training step, where no recipe says how many. limit_s: seconds that a network may
    take, roughly: fewer calls and rounds, a smaller batch of the throughput, no energy, and no memory of a
    training step that would take longer; None to take whatever it takes.
    """

    device: str = "cpu"
    dtype: str = "fp32"
    threads: int = 1
    rounds: int = 10
    batch: int | None = None
    train_batch: int = 8
    limit_s: float | None = None


@dataclass(frozen=True)
class Subject:
    """A network to be measured. image_shape: (C, H, W). settings, cost_id: of a variant, None of another."""

    name: str
    build: Callable[[], nn.Module]
    image_shape: tuple[int, int, int]
    classes: int
    settings: Settings | None = None
    cost_id: str | None = None


def network_subjects(
    names: Sequence[str], image_shape: tuple[int, int, int], classes: int
) -> tuple[Subject, ...]:
    """Backbones as studies name them, with their default arguments and fresh weights.

    A name given again gets a number, so that a network can be timed against itself.
    """
    from ablate.models import build_network

    def builder(name: str) -> Callable[[], nn.Module]:
        return lambda: build_network(
            backbone=name,
            args={},
            attention=None,
            classes=classes,
            image_shape=image_shape,
            backbone_seed=0,
            attention_seed=0,
        )

    subjects = []
    for index, name in enumerate(names):
        again = names[: index + 1].count(name)
        shown = name if again == 1 else f"{name} ({again})"
        subjects.append(Subject(shown, builder(name), image_shape, classes))
    return tuple(subjects)


def variant_subject(
    name: str, settings: Settings, *, image_shape: tuple[int, int, int], classes: int, cost_id: str
) -> Subject:
    """A variant with fresh weights: what it costs does not hang on them."""
    from ablate.trial import build_for

    def build() -> nn.Module:
        return build_for(settings, image_shape, classes, seed=0)

    return Subject(name, build, image_shape, classes, settings, cost_id)


def study_subjects(
    variants: Iterable[Variant], images: Mapping[str, Images], cost_ids: Mapping[str, str]
) -> tuple[Subject, ...]:
    """Variants of a study, each cost record once: those that differ in training alone cost the same.

    images, cost_ids: by the variant's name.
    """
    found: dict[str, Subject] = {}
    for variant in variants:
        shown, cost_id = images[variant.name], cost_ids[variant.name]
        how = {"image_shape": shown.shape, "classes": len(shown.classes), "cost_id": cost_id}
        found.setdefault(cost_id, variant_subject(variant.name, variant.settings, **how))
    return tuple(found.values())


def beside_baseline(
    variants: Iterable[Variant], chosen: Collection[str], baseline: str | None
) -> list[Variant]:
    """The baseline first, chosen or not; others that cost the same go by its name. baseline: or None."""
    found = [variant for variant in variants if variant.name in chosen or variant.name == baseline]
    return sorted(found, key=lambda variant: variant.name != baseline)


def with_baseline(
    subjects: Sequence[Subject], baseline: str, pairs: Sequence[tuple[str, str]] = ()
) -> tuple[tuple[str, str], ...]:
    """`pairs`, and everyone against the baseline, where that is among them."""
    names = [subject.name for subject in subjects]
    against = [(name, baseline) for name in names if name != baseline and baseline in names]
    return tuple(dict.fromkeys((*pairs, *against)))


def check(subjects: Sequence[Subject], conditions: Conditions, pairs: Sequence[tuple[str, str]]) -> None:
    """Raises AblateError for a dtype that is none, and for a pair that names what is not measured."""
    names = [subject.name for subject in subjects]
    if conditions.dtype not in DTYPES:
        raise AblateError(f"unknown dtype {conditions.dtype!r}; allowed: {', '.join(DTYPES)}")
    for name in (name for pair in pairs for name in pair):
        if name not in names:
            raise AblateError(f"--compare: nothing here is called {name!r}; there is: {', '.join(names)}")
