"""`report.json`: the contract's keys, in full precision, and more. What is unknown or unbounded is null."""

from __future__ import annotations

import json
import math
from typing import Any

from ablate.report import claim_text, controls, cost_text, looks, missing, pace, pretraining, tuning
from ablate.report.effects import points_per_percent
from ablate.report.headline import headline
from ablate.report.rows import Against, EffectRow, Report, SweepRows, TrialRow, VariantRow
from ablate.stats import Estimate, Judgement


def render_json(report: Report) -> str:
    return json.dumps(finite(document(report)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(report: Report) -> dict[str, Any]:
    procedure = report.procedure
    return {
        "study": report.study,
        "title": report.title,
        **({"scope": report.scope} if report.scope else {}),
        "baseline": report.baseline,
        "metric": report.metric,
        "seeds": list(report.seeds),
        "analysis": {
            "test": procedure.test,
            "correction": procedure.correction,
            "margin": procedure.margin,
            "level": procedure.level,
        },
        "headline": list(headline(report)),
        "variants": [
            {
                **_variant(row, report.baseline_row),
                "hours_to_decide": pace.hours_or_none(report, pace.seeds_for_comparison(report, row)),
            }
            for row in report.variants
        ],
        "claims": [
            {
                **claim_text.document(row),
                "hours_to_decide": pace.hours_or_none(report, pace.seeds_for_claim(report, row)),
            }
            for row in report.claims
        ],
        "looks": looks.document(report.looks),
        "pace": pace.document(report),
        "effects": [_effect(row, report.baseline_row, procedure.level) for row in report.effects],
        "sweeps": [_sweep(sweep) for sweep in report.sweeps],
        "controls": [
            {
                **controls.document(row, report),
                **against_document(row.against),
                "verdict": row.against.judgement.verdict,
            }
            for row in report.controls
        ],
        "identical": [
            {"variants": [row.twin_of, row.variant], "seeds": list(row.seeds), "settings": list(row.settings)}
            for row in report.twins
        ],
        "pretraining": [pretraining.document(row) for row in report.pretraining],
        "incomplete": [_incomplete(row) for row in report.incomplete],
        "tuning": tuning.document(report.tuning),
        "costs": cost_text.document(report),
        "data": dict(report.data),
        "recipe": dict(report.recipe),
        "environments": [
            {"trials": trials, **environment.model_dump()} for environment, trials in report.environments
        ],
        "trials": [_trial(trial) for trial in report.trials],
        "planned_at": report.planned_at,
    }


def _variant(row: VariantRow, baseline: VariantRow) -> dict[str, Any]:
    accuracy, against = row.accuracy, row.against
    return {
        "name": row.name,
        "aliases": list(row.aliases),
        "origin": row.origin,
        "switches": dict(row.switches),
        "settings": dict(row.settings),
        "n": row.n,
        "planned": row.planned,
        "failed": row.failed,
        "did_not_learn": list(row.did_not_learn),
        "accuracy_mean": accuracy.mean if accuracy else None,
        "accuracy_std": accuracy.std if accuracy else None,
        "accuracy_ci": [accuracy.low, accuracy.high] if accuracy else None,
        "accuracy_by_seed": {str(seed): score for seed, score in row.scores.items()},
        **(against_document(against) if against else _AGAINST_NOTHING),
        "verdict": against.judgement.verdict if against else "baseline",
        "param_count": row.param_count,
        "param_delta": _difference(row.param_count, baseline.param_count),
        "param_percent_of_baseline": _percent(row.param_count, baseline.param_count),
        "macs": row.macs,
        "macs_delta": _difference(row.macs, baseline.macs),
        "macs_percent_of_baseline": _percent(row.macs, baseline.macs),
        "attention_param_count": row.attention_param_count,
        "attention_macs": row.attention_macs,
        "latency_ms": row.latency_ms,
        "peak_memory_bytes": row.peak_memory_bytes,
        "accuracy_best_epoch_mean": row.mean("accuracy_best"),
        "validation_accuracy_mean": row.mean("validation_accuracy"),
        "train_accuracy_mean": row.mean("train_accuracy"),
        "mixed": list(row.mixed),
        "warnings": list(row.warnings),
    }


def _judgement(judgement: Judgement) -> dict[str, Any]:
    return {
        "delta": judgement.evidence.estimate.value,
        "delta_ci": [judgement.low, judgement.high],
        "ci_level": 1 - judgement.level,
        "deciding_ci": list(judgement.deciding),
        "deciding_ci_level": judgement.confidence,
        "se": judgement.evidence.estimate.se,
        "df": judgement.evidence.estimate.df,
        "p_value": judgement.p_value,
        "p_adjusted": judgement.p_adjusted,
        "p_equivalent": judgement.p_equivalent,
        "equivalence_ci": list(judgement.inner),
        "minimum_detectable_effect": judgement.mde,
        "seeds_needed": judgement.seeds,
        "seeds_to_decide": judgement.seeds_to_decide,
        "std_assumed": judgement.std if judgement.std_assumed else None,
    }


def against_document(against: Against) -> dict[str, Any]:
    level = against.judgement.level
    return {
        **_judgement(against.judgement),
        "family": against.family,
        "reason": against.reason,
        "paired": _estimate(against.paired, level),
        "on_new_images": _estimate(against.new_images, level) if against.new_images else None,
    }


def _estimate(estimate: Estimate, level: float) -> dict[str, Any]:
    return {
        "delta": estimate.value,
        "delta_ci": list(estimate.interval(level)),
        "p_value": estimate.p_value,
    }


_AGAINST_NOTHING: dict[str, Any] = dict.fromkeys(
    (
        "delta",
        "delta_ci",
        "ci_level",
        "deciding_ci",
        "deciding_ci_level",
        "se",
        "df",
        "p_value",
        "p_adjusted",
        "p_equivalent",
        "equivalence_ci",
        "minimum_detectable_effect",
        "seeds_needed",
        "seeds_to_decide",
        "std_assumed",
        "family",
        "reason",
        "paired",
        "on_new_images",
    )
)


def _effect(row: EffectRow, baseline: VariantRow, level: float) -> dict[str, Any]:
    evidence, quotient = row.judgement.evidence, points_per_percent(row, baseline)
    return {
        "design": row.design,
        "name": row.name,
        "kind": row.kind,
        "factors": list(row.factors),
        "within": list(row.within),
        "view": row.view,
        "n": evidence.n,
        "n_most": evidence.n_against,
        "planned": row.planned,
        **_judgement(row.judgement),
        "verdict": row.judgement.verdict,
        "reason": row.reason,
        "family": row.family,
        "missing": list(row.missing),
        "param_delta": row.param_delta,
        "macs_delta": row.macs_delta,
        "points_per_percent_macs": quotient[0] if quotient else None,
        "points_per_percent_macs_ci": list(quotient[1:]) if quotient else None,
        "latency_delta_ms": row.latency.value if row.latency else None,
        "latency_delta_ms_low": row.latency.interval(level)[0] if row.latency else None,
        "latency_delta_ms_high": row.latency.interval(level)[1] if row.latency else None,
    }


def _sweep(sweep: SweepRows) -> dict[str, Any]:
    return {
        "name": sweep.name,
        "setting": sweep.setting,
        "start": sweep.start,
        "numeric": sweep.numeric,
        "levels": [
            {
                "label": level.label,
                "value": level.value,
                "variant": level.variant.name,
                "n": level.variant.n,
                "accuracy_mean": level.variant.accuracy.mean if level.variant.accuracy else None,
                **(against_document(level.against) if level.against else _AGAINST_NOTHING),
                "verdict": level.against.judgement.verdict if level.against else "start",
            }
            for level in sweep.levels
        ],
    }


def _incomplete(row: VariantRow) -> dict[str, Any]:
    return {
        "variant": row.name,
        "n": row.n,
        "planned": row.planned,
        "failed": row.failed,
        "missing_seeds": [trial.seed for trial in row.trials if trial.status != "done"],
        "failures": [missing.document(trial) for trial in row.trials if trial.failure is not None],
    }


def _trial(trial: TrialRow) -> dict[str, Any]:
    return {
        "variant": trial.variant,
        "seed": trial.seed,
        "id": trial.id,
        "status": trial.status,
        "learned": trial.learned,
        **(trial.metrics.model_dump() if trial.metrics else {}),
        "started": trial.started,
        "wall_s": trial.wall_s,
        "images_per_s": trial.images_per_s,
    }


def _difference(value: int | None, base: int | None) -> int | None:
    return None if value is None or base is None else value - base


def _percent(value: int | None, base: int | None) -> float | None:
    return None if value is None or not base else 100 * (value - base) / base


def finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: an unbounded end or an unknown figure is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
