"""What a study promised before its results were seen: dates of its claims, analysis and number of seeds.

A key names the kind of a promise and the SHA-256 of what it binds: `claim:accuracy:…`, `analysis:…`,
`seeds:…`, or `until-decided:…` where a rule gives the seeds out. Of a claim that is what is judged, bounds
and variants; its id and the sentence it goes by may be reworded at any time.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ablate.record import StudyPlan

_WORDS = ("id", "say")


def claim_key(claim: dict[str, Any]) -> str:
    judged = {key: value for key, value in claim.items() if key not in _WORDS}
    return f"claim:{claim.get('metric', 'accuracy')}:{_sha256(judged)}"


def analysis_key(plan: StudyPlan) -> str:
    return f"analysis:{_sha256(plan.analysis)}"


def seeds_key(plan: StudyPlan) -> str:
    """How many seeds; under the rule of `--until-decided`, whom it judges and which seeds it gives out."""
    if plan.until_decided is not None:
        return f"until-decided:{_sha256(plan.until_decided.model_dump(mode='json'))}"
    return f"seeds:{_sha256(len(plan.seeds))}"


def keys(plan: StudyPlan) -> tuple[str, ...]:
    """Of all that the plan promises now."""
    return (*map(claim_key, plan.claims), analysis_key(plan), seeds_key(plan))


def first_written(plan: StudyPlan) -> dict[str, str]:
    """Date by key. A plan that kept none has one date for all of it: later than the truth, never earlier."""
    return plan.first_written or dict.fromkeys(keys(plan), plan.planned)


def merged(plan: StudyPlan, before: StudyPlan | None) -> dict[str, str]:
    """The dates of a plan that follows another.

    Before anybody looked, only what stood last counts: one of several promises must not be picked afterwards.
    From then on nothing is forgotten, so that what was taken away shows as well.
    """
    now = {key: plan.first_written.get(key, plan.planned) for key in keys(plan)}
    if before is None:
        return now
    known = first_written(before)
    kept = known if before.looks else {key: date for key, date in known.items() if key in now}
    return now | kept


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
