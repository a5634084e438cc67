"""How long more seeds would take."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ablate.report import MEASURED_PREFIX, build_report, render_json, render_markdown
from ablate.report.pace import (
    hours,
    in_words,
    open_sentence,
    seeds_for_claim,
    seeds_for_comparison,
    time_to_decide,
)

HELPS = {
    "id": "C1",
    "say": "it helps",
    "kind": "difference",
    "metric": "accuracy",
    "of": "se",
    "against": ["baseline"],
    "at_least": 0.0,
}


def report(tree: Any, of: dict[int, float | None], against: dict[int, float | None]) -> Any:
    tree.claims = (HELPS,)
    tree.add_variant("baseline", against, wall_s=600.0)
    tree.add_variant("se", of, wall_s=1200.0)
    tree.store.write_plan(tree.plan().model_copy(update={"workers": 2}))
    return build_report(tree.store, "msa")


def test_more_seeds_take_what_trials_took_over_the_workers(tree: Any) -> None:
    found = report(tree, {0: 85.38}, {0: 84.68})
    # Nine more of the baseline at ten minutes, nine of se at twenty, two at a time.
    assert hours(found, {"baseline": 10, "se": 10}) == pytest.approx((9 * 600 + 9 * 1200) / 2 / 3600)
    assert hours(found, {"baseline": 1}) == 0.0


def test_the_published_single_runs_say_what_would_decide_and_how_long(tree: Any) -> None:
    found = report(tree, {0: 85.38}, {0: 84.68})
    (row,) = found.claims
    assert seeds_for_claim(found, row) == {"se": 7, "baseline": 7}
    assert seeds_for_comparison(found, found.variants[1]) == {"se": 7, "baseline": 7}
    # Six more on either side: 6 * 30 minutes over two workers.
    assert time_to_decide(found, seeds_for_claim(found, row)) == "about 1.5 hours with 2 workers on box-cpu"
    lines = render_markdown(found).splitlines()
    timed = [line for line in lines if "1.5 hours" in line]
    assert timed and all(line.startswith(MEASURED_PREFIX) for line in timed), "two equal runs differ in it"
    said = json.loads(render_json(found))
    assert said["claims"][0]["hours_to_decide"] == pytest.approx(1.5)
    (se,) = [row for row in said["variants"] if row["name"] == "se"]
    assert (se["verdict"], se["seeds_to_decide"], se["hours_to_decide"]) == (
        "undecidable",
        7,
        pytest.approx(1.5),
    )
    assert "a gap of 0.70 arises by chance 9.9 % of the time" in se["reason"]


def test_what_is_decided_takes_no_time(tree: Any) -> None:
    even = {seed: 0.1 * seed for seed in range(5)}
    found = report(
        tree, {seed: 88 + x for seed, x in even.items()}, {seed: 84 + x for seed, x in even.items()}
    )
    assert open_sentence(found) is None
    assert seeds_for_claim(found, found.claims[0]) == {}


def test_a_variant_without_a_run_is_asked_for_no_seeds(tree: Any) -> None:
    found = report(tree, {}, {0: 84.68})
    assert found.variants[1].against.reason == "no finished run of se"
    page = render_markdown(found)
    assert "no finished run" in page
    row = next(line for line in page.splitlines() if line.startswith("| se |") and "0 : 1" in line)
    assert not any(cell.strip(" *\\").isdigit() for cell in row.split("|")), "no seeds are made up"


@pytest.mark.parametrize(
    ("time", "said"),
    [(20 / 3600, "20 s"), (0.5, "30 minutes"), (2.25, "2.2 hours"), (30, "30 hours"), (240, "10 days")],
)
def test_times_are_rounded_to_what_they_are_worth(tree: Any, time: float, said: str) -> None:
    found = report(tree, {0: 85.0}, {0: 84.0})
    assert in_words(found.pace, time) == f"about {said} with 2 workers on box-cpu"
