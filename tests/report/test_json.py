from __future__ import annotations

import json
from typing import Any

from ablate.report import build_report, render_json, render_study

CONTRACT = {"study", "baseline", "metric", "variants", "claims", "effects", "incomplete"}
OF_A_VARIANT = {
    "name",
    "n",
    "planned",
    "failed",
    "accuracy_mean",
    "accuracy_std",
    "accuracy_ci",
    "delta",
    "delta_ci",
    "p_value",
    "p_adjusted",
    "verdict",
    "param_count",
    "macs",
    "latency_ms",
    "peak_memory_bytes",
}


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_the_contract_s_keys_are_all_there_for_every_variant(msa: Any) -> None:
    document = json.loads(render_study(msa.store, "msa", "json"))
    assert document.keys() >= CONTRACT
    keys = {frozenset(row) for row in document["variants"]}
    assert len(keys) == 1 and next(iter(keys)) >= OF_A_VARIANT


def test_accuracy_is_in_full_precision(msa: Any) -> None:
    row = build_report(msa.store, "msa").variants[3]
    document = json.loads(render_study(msa.store, "msa", "json"))
    assert row.accuracy and document["variants"][3]["accuracy_std"] == row.accuracy.std


def test_unbounded_and_unknown_figures_are_null(tree: Any) -> None:
    tree.add_variant("baseline", {0: 84.68})
    tree.add_variant("se", {0: 85.38})
    tree.add_variant("later", {})
    tree.plan()
    text = render_json(build_report(tree.store, "msa"))
    rows = {row["name"]: row for row in json.loads(text, parse_constant=refuse)["variants"]}
    assert rows["se"]["accuracy_ci"] == [None, None] and rows["se"]["delta_ci"] == [None, None]
    assert rows["se"]["accuracy_std"] is None and rows["se"]["p_value"] is None
    assert rows["later"]["accuracy_mean"] is None and rows["later"]["delta"] is None


def test_incomplete_variants_are_listed_with_what_failed(tree: Any) -> None:
    tree.add_variant("baseline", dict.fromkeys(range(5), 84.0))
    tree.add_variant("se", {0: 85.0, 2: None})
    tree.plan()
    [entry] = json.loads(render_study(tree.store, "msa", "json"))["incomplete"]
    assert (entry["variant"], entry["n"], entry["planned"], entry["missing_seeds"]) == (
        "se",
        1,
        5,
        [1, 2, 3, 4],
    )
    assert [(f["seed"], f["kind"]) for f in entry["failures"]] == [(2, "non-finite")]
