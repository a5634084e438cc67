"""A results tree of any size with made-up scores, written through the store's own functions: what a report of
a very large study has to read. Every file is what a real trial leaves, but for weights and log.

The study: a factorial of four switches, five sweeps of a number, and as many further variants as are asked
for. Costs are of one machine.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ablate.record import (
    CostRecord,
    Environment,
    PlannedDesign,
    PlannedSweep,
    PlannedVariant,
    StudyPlan,
    TrialMetrics,
    TrialRecord,
)
from ablate.spec import Settings
from ablate.store import Store

STUDY = "made-up"
FACTORS = ("multi-scale", "channel", "spatial", "residual")
WORTH = (0.8, 0.3, 0.1, 0.0)  # points of accuracy that each factor buys
SWEEPS, LEVELS = 5, 12
EPOCHS = 20
TEST_COUNT = 2000  # as in fashion-mini
DATE = "2025-01-01T00:00:00+00:00"
ENVIRONMENT = Environment(
    ablate="0.1.0",
    python="3.11.9",
    torch="2.6.0",
    torchvision="0.21.0",
    numpy="2.1.0",
    platform="Linux-6.1-x86_64",
    machine="box-cpu",
    cpu="A CPU",
    cpu_count=2,
    threads=1,
    device="cpu",
    device_name="A CPU",
)


def write_tree(root: Path, variants: int, seeds: int) -> None:
    """A finished study under `root`: at least the four variants of two switches."""
    store, rng = Store(root), np.random.default_rng(0)
    planned, sweeps, cells = _design(variants, seeds)
    # How hard an image is is shared by all; which of them a trial misses is its own.
    difficulty = rng.normal(size=TEST_COUNT)
    with mock.patch("os.fsync", _leave_to_the_system):  # a tree that is measured and thrown away
        for number, variant in enumerate(planned):
            on = sum(WORTH[FACTORS.index(name)] for name, is_on in variant.switches.items() if is_on)
            worth = 84 + on + (0.2 * (number % 7) if variant.origin != "design" else 0)
            _write_cost(store, variant, 280_000 + 997 * number)
            for seed, trial_id in variant.trials.items():
                _write_trial(store, variant, seed, trial_id, worth + rng.normal(scale=0.3), difficulty, rng)
        store.write_plan(_plan(tuple(planned), sweeps, cells, seeds))


def _leave_to_the_system(handle: int) -> None:
    del handle


def _design(variants: int, seeds: int) -> tuple[list[PlannedVariant], list[PlannedSweep], PlannedDesign]:
    """The factorial first, of as many factors as there is room for; then the sweeps, then what is left."""
    factors = FACTORS[: min(len(FACTORS), max(2, variants.bit_length() - 2))]
    found, cells = [], []
    for on in itertools.product((False, True), repeat=len(factors)):
        active = tuple(itertools.compress(factors, on))
        name = "msa" if len(active) == len(factors) else "+".join(active) or "baseline"
        switches = dict(zip(factors, on, strict=True))
        found.append(_variant(name, seeds, "design" if active else "variant", switches))
        cells.append((active, name))
    full, sweeps = found[-1], []
    for number in range(1, SWEEPS + 1):
        if len(found) + LEVELS > variants:
            break
        key, levels = f"factor-{number}", []
        for value in range(LEVELS):
            name = f"{full.name} {key}={2**value}"
            levels.append((str(2**value), name))
            found.append(_variant(name, seeds, "sweep", full.switches, {f"model.args.{key}": 2**value}))
        sweeps.append(
            PlannedSweep(
                name=key, setting=f"model.args.{key}", start=full.name, levels=tuple(levels), numeric=True
            )
        )
    for number in range(len(found), variants):
        settings = {"train.optimizer.lr": 1e-3 * (1 + number)}
        found.append(_variant(f"change {number}", seeds, "variant", full.switches, settings))
    design = PlannedDesign(kind="factorial", start=full.name, factors=factors, cells=tuple(cells))
    return found, sweeps, design


def _variant(
    name: str, seeds: int, origin: Any, switches: dict[str, bool], settings: dict[str, Any] | None = None
) -> PlannedVariant:
    attention = {"model.attention": {"name": "msa", "args": switches}} if name != "baseline" else {}
    return PlannedVariant(
        name=name,
        id=_digest(name)[:12],
        origin=origin,
        settings=attention | (settings or {}),
        switches=switches,
        cost_id=_digest("cost", name),
        trials={seed: _digest(name, seed) for seed in range(seeds)},
    )


def _digest(*parts: Any) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:16]


def _write_trial(
    store: Store,
    variant: PlannedVariant,
    seed: int,
    trial_id: str,
    worth: float,
    difficulty: np.ndarray,
    rng: np.random.Generator,
) -> None:
    label = np.arange(TEST_COUNT) % 10
    order = np.argsort(difficulty + rng.normal(scale=0.4, size=TEST_COUNT))
    wrong = order[round(TEST_COUNT * worth / 100) :]
    predicted = label.copy()
    predicted[wrong] = (label[wrong] + 1) % 10
    accuracy = 100 * float((predicted == label).mean())
    paths = store.trial(trial_id)
    paths.folder.mkdir(parents=True)
    content = io.BytesIO()
    np.savez_compressed(
        content,
        label=label,
        predicted=predicted,
        predicted_best=predicted,
        probability=rng.uniform(0.2, 1, TEST_COUNT).astype(np.float32),
        index=np.arange(TEST_COUNT),
    )
    paths.predictions.write_bytes(content.getvalue())
    paths.epochs.write_text("\n".join(_epochs(accuracy, rng)) + "\n", encoding="utf-8")
    paths.settings.write_text(f"# {variant.name}, seed {seed}\n", encoding="utf-8")
    store.write_trial(
        TrialRecord(
            id=trial_id,
            variant_id=variant.id,
            seed=seed,
            status="done",
            identity={
                "settings": Settings().model_dump(mode="json"),
                "seed": seed,
                "data_fingerprint": "0" * 64,
            },
            classes=10,
            train_count=5400,
            validation_count=600,
            test_count=TEST_COUNT,
            param_count=280_000,
            metrics=TrialMetrics(
                accuracy=accuracy,
                accuracy_best=accuracy,
                best_epoch=EPOCHS,
                test_loss=0.4,
                validation_accuracy=accuracy + 1,
                validation_loss=0.35,
                train_accuracy=accuracy + 2,
                train_loss=0.3,
            ),
            environment=ENVIRONMENT,
            started=DATE,
            wall_s=30.0,
            images_per_s=2500.0,
        )
    )


def _epochs(accuracy: float, rng: np.random.Generator) -> Iterator[str]:
    yield "epoch,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds,images_per_s,stage"
    for epoch in range(1, EPOCHS + 1):
        reached = accuracy - 12 * 0.7**epoch + rng.normal(scale=0.2)
        loss = 2.0 * 0.8**epoch + rng.uniform(0, 0.05)
        yield f"{epoch},0.001,{loss!r},{reached + 1!r},{loss + 0.1!r},{reached!r},1.5,3600.0,1"


def _write_cost(store: Store, variant: PlannedVariant, param_count: int) -> None:
    store.write_cost(
        CostRecord(
            id=variant.cost_id,
            machine=ENVIRONMENT.machine,
            settings={},
            input_shape=(1, 28, 28),
            param_count=param_count,
            attention_param_count=param_count - 280_000,
            macs=5 * param_count,
            environment=ENVIRONMENT,
            measured=DATE,
        )
    )


def _plan(
    variants: tuple[PlannedVariant, ...], sweeps: list[PlannedSweep], design: PlannedDesign, seeds: int
) -> StudyPlan:
    full = design.cells[-1][1]
    return StudyPlan(
        study=STUDY,
        title="A study with made-up scores",
        baseline="baseline",
        seeds=tuple(range(seeds)),
        variants=variants,
        sweeps=tuple(sweeps),
        designs=(design,),
        claims=(
            {
                "id": "C1",
                "say": "the whole helps",
                "kind": "difference",
                "metric": "accuracy",
                "of": full,
                "against": ("baseline",),
                "at_least": 0,
            },
        ),
        analysis={"test": "welch", "correction": "holm", "margin": 0.5, "level": 0.05},
        analysis_hash=_digest("analysis"),
        planned=DATE,
        data={"source": "fashion-mini", "fingerprint": "0" * 64, "classes": 10, "test_count": TEST_COUNT},
        recipe=Settings().model_dump(mode="json", include={"data", "train"}),
    )
