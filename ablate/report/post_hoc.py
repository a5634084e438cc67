"""What was settled with the results in view, and so proves less than its level says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ablate.record import StudyPlan
from ablate.store.first_written import analysis_key, claim_key, first_written, seeds_key


def post_hoc(plan: StudyPlan, claim: Mapping[str, Any] | None = None) -> str | None:
    """Why what the plan says cannot have been settled before the results were seen; None if it was.

    claim: as it stands in the plan; None: of the analysis and the number of seeds alone, which bind them all.
    """
    reasons = []
    metric = "accuracy" if claim is None else claim.get("metric", "accuracy")
    if claim is not None and (said := _claim_post_hoc(plan, claim)):
        reasons.append(said)
    # Costs are no sample of seeds, and only accuracy and latency are judged at a level, by a test.
    if metric in ("accuracy", "latency_ms") and _after_a_look(plan, analysis_key(plan)):
        reasons.append("the analysis was changed after the results had been read")
    if metric == "accuracy":
        reasons += _seeds_post_hoc(plan)
    return "; ".join(reasons) or None


def _claim_post_hoc(plan: StudyPlan, claim: Mapping[str, Any]) -> str | None:
    if _after_a_look(plan, claim_key(dict(claim))):
        return "the claim was first written after the results had been read"
    kind = f"claim:{claim.get('metric', 'accuracy')}:"
    at_first = sum(key.startswith(kind) and not _after_a_look(plan, key) for key in first_written(plan))
    now = len({key for each in plan.claims if (key := claim_key(each)).startswith(kind)})
    if kind == "claim:accuracy:" and now < at_first:
        return (
            f"{at_first - now} of the claims that it shares the level with were taken away after the results "
            "had been read"
        )
    return None


def _seeds_post_hoc(plan: StudyPlan) -> list[str]:
    if plan.until_decided is not None:
        if _after_a_look(plan, seeds_key(plan)):
            return ["whom --until-decided judges, or its seeds, was settled after the results had been read"]
        return []
    before = sorted({look.seeds for look in plan.looks} - {len(plan.seeds)})
    if not before:
        return []
    counts = " and ".join(map(str, before))
    return [f"the number of seeds was changed, to {len(plan.seeds)}, after a look at results of {counts}"]


def _after_a_look(plan: StudyPlan, key: str) -> bool:
    written = first_written(plan).get(key, plan.planned)
    return any(_moment(written) > _moment(look.date) for look in plan.looks)


def _moment(date: str) -> datetime:
    return datetime.fromisoformat(date)
