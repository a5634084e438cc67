"""A results tree as the runner leaves it, with made-up scores: the study msa.yaml, 15 variants × 5 seeds."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablate.record import (
    CostRecord,
    Environment,
    Failure,
    PlannedDesign,
    PlannedSweep,
    PlannedVariant,
    StudyPlan,
    TrialMetrics,
    TrialRecord,
)
from ablate.store import Store

TEST_COUNT = 2000
FACTORS = ("multi-scale", "channel", "spatial")
# What each part is worth in the made-up world, in points.
WORTH = {"multi-scale": 1.2, "channel": 0.1, "spatial": 0.0}


def environment(**changes: Any) -> Environment:
    fields = {
        "ablate": "0.1.0",
        "python": "3.11.9",
        "torch": "2.6.0",
        "torchvision": "0.21.0",
        "numpy": "2.1.0",
        "platform": "Linux-6.1-x86_64",
        "machine": "box-cpu",
        "cpu": "A CPU",
        "cpu_count": 2,
        "threads": 1,
        "device": "cpu",
        "device_name": "A CPU",
    }
    return Environment(**(fields | changes))


def digest(*parts: Any, length: int = 16) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:length]


@dataclass
class Tree:
    """Builds a plan and its records under `root`. scores: variant -> seed -> accuracy in percent."""

    root: Path
    study: str = "msa"
    title: str = "What does each part of multi-scale attention buy?"
    baseline: str = "baseline"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    analysis: dict[str, Any] = field(
        default_factory=lambda: {"test": "welch", "correction": "holm", "margin": 0.5, "level": 0.05}
    )
    variants: list[PlannedVariant] = field(default_factory=list)
    sweeps: list[PlannedSweep] = field(default_factory=list)
    designs: list[PlannedDesign] = field(default_factory=list)
    claims: tuple[dict[str, Any], ...] = ()
    split: str = "fixed"

    environment = staticmethod(environment)

    @property
    def store(self) -> Store:
        return Store(self.root)

    def add_variant(
        self,
        name: str,
        scores: Mapping[int, float | None],
        *,
        params: int = 280_000,
        macs: int = 1_500_000,
        predictions: bool = True,
        twin_of: str | None = None,
        wall_s: float = 9.5,
        environment: Environment | None = None,
        **planned: Any,
    ) -> None:
        """A score of None: the trial failed; no score: still to run. twin_of: predict as that variant."""
        environment = environment or self.environment()
        trials = {seed: digest(name, seed) for seed in self.seeds}
        self.variants.append(
            PlannedVariant(
                name=name,
                id=digest(name, length=12),
                settings=planned.pop("settings", {}),
                cost_id=digest("cost", name),
                trials=trials,
                **planned,
            )
        )
        self.store.write_cost(
            CostRecord(
                id=digest("cost", name),
                machine="box-cpu",
                settings={},
                input_shape=(1, 28, 28),
                param_count=params,
                attention_param_count=max(0, params - 280_000),
                macs=macs,
                environment=environment,
                measured="2025-01-01T00:00:00Z",
            )
        )
        for seed, score in scores.items():
            self._write_trial(name, seed, score, trials[seed], environment, wall_s)
            if score is not None and predictions:
                self._write_predictions(twin_of or name, seed, score, trials[seed])
                self._write_epochs(seed, score, trials[seed])

    def _write_trial(
        self, name: str, seed: int, score: float | None, trial: str, environment: Environment, wall_s: float
    ) -> None:
        metrics = (
            None
            if score is None
            else TrialMetrics(
                accuracy=score,
                accuracy_best=score - 0.05,
                best_epoch=4,
                test_loss=0.4,
                validation_accuracy=score + 1,
                validation_loss=0.35,
                train_accuracy=score + 2,
                train_loss=0.3,
            )
        )
        self.store.write_trial(
            TrialRecord(
                id=trial,
                variant_id=digest(name, length=12),
                seed=seed,
                status="failed" if metrics is None else "done",
                identity={},
                classes=10,
                train_count=5400,
                validation_count=600,
                test_count=TEST_COUNT,
                metrics=metrics,
                failure=None
                if metrics
                else Failure(kind="non-finite", message="the loss became NaN | in epoch 2"),
                environment=environment,
                started=f"2025-01-01T00:0{seed}:00Z",
                wall_s=wall_s,
                images_per_s=2500.0,
            )
        )

    def _write_predictions(self, name: str, seed: int, score: float, trial: str) -> None:
        label = np.arange(TEST_COUNT) % 10
        # Which images are hard is shared by all; which of them a trial misses is its own.
        difficulty = np.random.default_rng(0).normal(size=TEST_COUNT)
        own = np.random.default_rng(int(digest(name, seed, length=8), 16))
        order = np.argsort(difficulty + own.normal(scale=0.4, size=TEST_COUNT))
        wrong = order[round(TEST_COUNT * score / 100) :]
        predicted = label.copy()
        predicted[wrong] = (label[wrong] + 1) % 10
        np.savez(
            self.store.trial(trial).predictions,
            label=label,
            predicted=predicted,
            predicted_best=predicted,
            probability=own.uniform(0.2, 1, TEST_COUNT).astype(np.float32),
            index=np.arange(TEST_COUNT),
        )

    def _write_epochs(self, seed: int, score: float, trial: str) -> None:
        lines = [
            "epoch,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds,images_per_s"
        ]
        for epoch in range(1, 5):
            reached = score - 12 * 0.5**epoch + 0.3 * np.sin(seed + epoch)
            lines.append(f"{epoch},0.002,0.5,{reached:.2f},0.5,{reached:.2f},2.0,2500")
        self.store.trial(trial).epochs.write_text("\n".join(lines) + "\n")

    def plan(self) -> StudyPlan:
        plan = StudyPlan(
            study=self.study,
            title=self.title,
            baseline=self.baseline,
            seeds=self.seeds,
            variants=tuple(self.variants),
            sweeps=tuple(self.sweeps),
            designs=tuple(self.designs),
            claims=self.claims,
            analysis=self.analysis,
            analysis_hash=digest("analysis"),
            planned="2025-01-01T00:00:00Z",
            data={
                "source": "fashion-mini",
                "fingerprint": digest("data"),
                "classes": 10,
                "test_count": TEST_COUNT,
            },
            recipe={
                "data": {"source": "fashion-mini", "split": self.split, "augment": {"crop": 2, "flip": True}},
                "train": {
                    "epochs": 4,
                    "batch_size": 64,
                    "optimizer": {"name": "adam", "lr": 0.002, "weight_decay": 0.0},
                    "schedule": {"name": "cosine"},
                    "precision": "auto",
                },
            },
        )
        self.store.write_plan(plan)
        return plan


def quantised(accuracy: float) -> float:
    """As a count of right answers among the test images gives it."""
    return 100 * round(TEST_COUNT * accuracy / 100) / TEST_COUNT


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Nothing in it yet."""
    return Tree(tmp_path / "results")


@pytest.fixture
def build_msa() -> Callable[..., Tree]:
    """Fill a tree with the study msa; std: between seeds, in points."""
    return fill_msa


def fill_msa(tree: Tree, *, std: float = 0.3, seed: int = 1, wall_s: float = 9.5) -> Tree:
    rng = np.random.default_rng(seed)

    def scores(mean: float) -> dict[int, float]:
        return {number: quantised(mean + rng.normal(scale=std)) for number in tree.seeds}

    cells = []
    for on in itertools.product((False, True), repeat=3):
        switches = dict(zip(FACTORS, on, strict=True))
        active = tuple(factor for factor in FACTORS if switches[factor])
        name = "baseline" if not active else "msa" if len(active) == 3 else "+".join(active)
        tree.add_variant(
            name,
            wall_s=wall_s,
            scores=scores(86 + sum(WORTH[factor] for factor in active)),
            params=280_000
            + 5_000 * switches["multi-scale"]
            + 300 * switches["channel"]
            + 147 * switches["spatial"],
            macs=1_500_000
            + 700_000 * switches["multi-scale"]
            + 600 * switches["channel"]
            + 9_000 * switches["spatial"],
            switches=switches,
            aliases=("multi-scale+channel+spatial",) if name == "msa" else (),
            settings={"model.attention": {"name": "msa", "args": {"reduction": 16}}} if active else {},
        )
        cells.append((active, name))
    everything = dict.fromkeys(FACTORS, True)
    for ratio in (4, 8, 32):
        tree.add_variant(
            f"msa reduction={ratio}",
            scores(87.3),
            params=280_000 + 16 * 5_400 // ratio,
            macs=1_500_000 + 16 * 709_600 // ratio,
            switches=everything,
            origin="sweep",
            settings={"model.attention": {"name": "msa", "args": {"reduction": ratio}}},
        )
    for place, worth in (("early", 85.0), ("middle", 86.7), ("late", 86.6), ("all", 87.5)):
        tree.add_variant(
            f"msa at={place}",
            scores(worth),
            params=283_000,
            macs=2_000_000,
            switches=everything,
            origin="sweep",
        )
    # The start belongs to both sweeps: by its own ratio, and not among the named places.
    tree.sweeps = [
        PlannedSweep(
            name="reduction",
            setting="model.attention.args.reduction",
            start="msa",
            levels=(("4", "msa reduction=4"), ("8", "msa reduction=8"), ("32", "msa reduction=32")),
            numeric=True,
        ),
        PlannedSweep(
            name="at",
            setting="model.attention.at",
            start="msa",
            levels=tuple((place, f"msa at={place}") for place in ("early", "middle", "late", "all")),
            numeric=False,
        ),
    ]
    tree.designs = [PlannedDesign(kind="factorial", start="msa", factors=FACTORS, cells=tuple(cells))]
    tree.plan()
    return tree


@pytest.fixture
def msa(tree: Tree) -> Tree:
    return fill_msa(tree)
