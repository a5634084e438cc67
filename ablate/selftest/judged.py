"""Synthetic results are judged: in memory by what a report calls, and through a results tree by the report.

Both end in the same functions, so a replicate that goes both ways must come out the same to the last bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablate.record import Environment, PlannedVariant, StudyPlan, TrialMetrics, TrialRecord
from ablate.report import TrialRow, VariantRow, build_report
from ablate.report.comparisons import Comparisons
from ablate.report.predictions import Predictions
from ablate.stats import Estimate, Judgement, Procedure
from ablate.store import Store

# By variant and seed, bool [images]: which images each run got right.
Correct = Mapping[str, Mapping[int, NDArray[np.bool_]]]
_BASELINE = "baseline"
_STUDY = "selftest"


def names(variants: int) -> list[str]:
    """The baseline first."""
    return [_BASELINE, *(f"variant-{number}" for number in range(1, variants + 1))]


class Judged:
    """A study in memory. scores: by variant and seed, accuracies in percent; the baseline comes first."""

    def __init__(
        self, scores: Mapping[str, Mapping[int, float]], procedure: Procedure, correct: Correct | None = None
    ) -> None:
        self.rows = {name: _row(name, by_seed) for name, by_seed in scores.items()}
        self._procedure = procedure
        found = {name: _predictions(name, (correct or {}).get(name, {})) for name in scores}
        self._comparisons = Comparisons(found, {}, procedure)
        baseline, *others = self.rows.values()
        self._pairs = [(row, baseline) for row in others]

    def judgements(self) -> list[Judgement]:
        return self._comparisons.judge(self._pairs, self._procedure)

    def on_new_images(self) -> list[Estimate | None]:
        return [self._comparisons.on_new_images(*pair) for pair in self._pairs]


def judge_scores(scores: NDArray[np.float64], procedure: Procedure) -> list[Judgement]:
    """scores: [1 + variants, n], the baseline first."""
    return Judged(by_name(scores), procedure).judgements()


def by_name(scores: NDArray[np.float64]) -> dict[str, dict[int, float]]:
    lists = scores.tolist()
    return {name: dict(enumerate(arm)) for name, arm in zip(names(len(lists) - 1), lists, strict=True)}


def judge_on_disk(
    root: Path,
    scores: Mapping[str, Mapping[int, float]],
    procedure: Procedure,
    correct: Correct | None = None,
) -> list[tuple[Judgement, Estimate | None]]:
    """The same study written as records into a results tree, and read back by `build_report`."""
    store = Store(root)
    planned = []
    for name, by_seed in scores.items():
        trials = {seed: _digest(name, seed, length=16) for seed in by_seed}
        planned.append(
            PlannedVariant(
                name=name,
                id=_digest(name, length=12),
                settings={} if name == _BASELINE else {"model.attention": name},
                cost_id=_digest("cost", name, length=16),
                trials=trials,
            )
        )
        for seed, score in by_seed.items():
            right = (correct or {}).get(name, {}).get(seed)
            _write_trial(store, name, seed, trials[seed], score, right)
    store.write_plan(_plan(tuple(planned), procedure))
    report = build_report(store, _STUDY)
    compared = [row.against for row in report.variants if row.against is not None]
    return [(against.judgement, against.new_images) for against in compared]


def _row(name: str, by_seed: Mapping[int, float]) -> VariantRow:
    trials = tuple(
        TrialRow(name, seed, f"{name}/{seed}", "done", _metrics(score)) for seed, score in by_seed.items()
    )
    return VariantRow(
        name=name,
        aliases=(),
        origin="variant",
        switches={},
        settings={},
        trials=trials,
        accuracy=None,
        against=None,
        mixed=(),
        param_count=None,
        macs=None,
        attention_param_count=None,
        attention_macs=None,
        latency_ms=None,
        peak_memory_bytes=None,
    )


def _predictions(name: str, correct: Mapping[int, NDArray[np.bool_]]) -> dict[int, Predictions]:
    return {seed: Predictions(right, "images", f"{name}/{seed}", 0.5) for seed, right in correct.items()}


@lru_cache(maxsize=8192)  # scores are counts, so they come again, and a record checks itself every time
def _metrics(score: float) -> TrialMetrics:
    return TrialMetrics(
        accuracy=score,
        accuracy_best=score,
        best_epoch=1,
        test_loss=0.5,
        validation_accuracy=score,
        validation_loss=0.5,
        train_accuracy=score,
        train_loss=0.5,
    )


def _write_trial(
    store: Store, name: str, seed: int, trial: str, score: float, correct: NDArray[np.bool_] | None
) -> None:
    environment = Environment(
        ablate="0",
        python="3",
        torch="none",
        numpy=np.__version__,
        platform="none",
        machine="none",
        cpu="none",
        cpu_count=1,
        threads=1,
        device="cpu",
        device_name="none",
    )
    store.write_trial(
        TrialRecord(
            id=trial,
            variant_id=_digest(name, length=12),
            seed=seed,
            status="done",
            identity={},
            classes=2,
            test_count=None if correct is None else len(correct),
            metrics=_metrics(score),
            environment=environment,
            started="2000-01-01T00:00:00Z",
            wall_s=1.0,
        )
    )
    if correct is not None:
        label = np.arange(len(correct)) % 2
        predicted = np.where(correct, label, 1 - label)
        # A probability of its own, or two runs with the same answers would be one network.
        probability = np.random.default_rng(int(trial, 16)).uniform(0.5, 1, len(correct)).astype(np.float32)
        np.savez(
            store.trial(trial).predictions,
            label=label,
            predicted=predicted,
            predicted_best=predicted,
            probability=probability,
            index=np.arange(len(correct)),
        )


def _plan(variants: tuple[PlannedVariant, ...], procedure: Procedure) -> StudyPlan:
    return StudyPlan(
        study=_STUDY,
        baseline=_BASELINE,
        seeds=tuple(variants[0].trials),
        variants=variants,
        analysis={
            "test": procedure.test,
            "correction": procedure.correction,
            "margin": procedure.margin,
            "level": procedure.level,
        },
        analysis_hash="none",
        planned="2000-01-01T00:00:00Z",
        data={},
        recipe={},
    )


def _digest(*parts: object, length: int) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:length]
