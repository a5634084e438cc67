"""What was promised when: a date for each claim, the analysis and the number of seeds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ablate.record import Look, PlannedLooks, StudyPlan
from ablate.store import Store
from ablate.store.first_written import analysis_key, claim_key, first_written, seeds_key

CLAIM = {"id": "C1", "say": "SE helps", "kind": "difference", "metric": "accuracy", "at_least": 0}
OTHER = CLAIM | {"id": "C2", "at_least": 0.5}


def plan(day: int, *claims: dict[str, Any], seeds: int = 5, **keys: Any) -> StudyPlan:
    return StudyPlan(
        **{
            "study": "tiny",
            "baseline": "baseline",
            "seeds": tuple(range(seeds)),
            "variants": (),
            "claims": claims,
            "analysis": {"margin": 0.5},
            "analysis_hash": str((claims, keys)),
            "planned": f"2025-01-{day:02}T00:00:00.000+00:00",
            "data": {},
            "recipe": {},
        }
        | keys
    )


def look(day: int, seeds: int = 5) -> Look:
    return Look(date=f"2025-01-{day:02}T12:00:00.000+00:00", finished=2 * seeds, seeds=seeds)


def day_of(store: Store, key: str) -> int:
    return int(first_written(store.read_plan("tiny"))[key][8:10])


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store(tmp_path)


def test_each_claim_keeps_its_own_date(store: Store) -> None:
    store.write_plan(plan(1, CLAIM))
    store.add_look("tiny", look(2))
    store.write_plan(plan(3, CLAIM, OTHER))
    assert (day_of(store, claim_key(CLAIM)), day_of(store, claim_key(OTHER))) == (1, 3)
    assert day_of(store, analysis_key(plan(3))) == day_of(store, seeds_key(plan(3))) == 1


def test_only_what_is_judged_binds(store: Store) -> None:
    assert claim_key(CLAIM) == claim_key(CLAIM | {"id": "C9", "say": "It helps, somewhat"})
    assert claim_key(CLAIM) != claim_key(OTHER)
    assert claim_key(CLAIM) != claim_key(CLAIM | {"metric": "macs"})


def test_of_many_promises_before_a_look_the_last_counts(store: Store) -> None:
    """Else one could write down all that might come out, and keep what did."""
    store.write_plan(plan(1, CLAIM))
    store.write_plan(plan(2, OTHER))
    store.add_look("tiny", look(3))
    store.write_plan(plan(4, CLAIM))
    assert day_of(store, claim_key(CLAIM)) == 4


def test_after_a_look_nothing_is_forgotten(store: Store) -> None:
    store.write_plan(plan(1, CLAIM, OTHER))
    store.add_look("tiny", look(2))
    store.write_plan(plan(3, CLAIM))
    store.write_plan(plan(4, CLAIM, OTHER))
    assert day_of(store, claim_key(OTHER)) == 1


def test_a_plan_of_before_these_dates_were_kept_is_read(store: Store) -> None:
    path = store.study("tiny").plan
    store.write_plan(plan(1, CLAIM, looks=(look(2),)))
    old = json.loads(path.read_text())
    for key in ("first_written", "until_decided", "workers"):
        del old[key]
    path.write_text(json.dumps(old))
    assert day_of(store, claim_key(CLAIM)) == 1
    store.write_plan(plan(3, CLAIM, OTHER))
    assert (day_of(store, claim_key(CLAIM)), day_of(store, claim_key(OTHER))) == (1, 3)


def test_the_rule_is_a_promise_in_place_of_a_number_of_seeds(store: Store) -> None:
    rule = PlannedLooks(seeds=tuple(range(10)), family=("se",))
    store.write_plan(plan(1, until_decided=rule, seeds=3))
    store.add_look("tiny", look(2, 3))
    store.write_plan(plan(3, until_decided=rule, seeds=5))
    assert day_of(store, seeds_key(store.read_plan("tiny"))) == 1
    wider = rule.model_copy(update={"family": ("se", "eca")})
    store.write_plan(plan(4, until_decided=wider, seeds=5))
    assert day_of(store, seeds_key(store.read_plan("tiny"))) == 4
