"""A second opinion: scipy on the raw records recomputes every mean, interval, p-value and verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablate.report import render_study


def recompute(root: Path) -> dict[str, dict[str, Any]]:
    plan = json.loads((root / "msa/plan.json").read_text())
    scores = {}
    for variant in plan["variants"]:
        files = [root / "trials" / trial / "record.json" for trial in variant["trials"].values()]
        records = [json.loads(file.read_text()) for file in files if file.is_file()]
        scores[variant["name"]] = [r["metrics"]["accuracy"] for r in records if r["status"] == "done"]
    families: dict[str, list[str]] = {}
    of_sweep = {name: sweep["name"] for sweep in reversed(plan["sweeps"]) for _, name in sweep["levels"]}
    for variant in plan["variants"]:
        family = of_sweep[variant["name"]] if variant["origin"] == "sweep" else "variants"
        families.setdefault(family, []).append(variant["name"])
    base, margin, found = scores[plan["baseline"]], plan["analysis"]["margin"], {}
    for members in families.values():
        members = [name for name in members if name != plan["baseline"]]
        tests = [stats.ttest_ind(scores[name], base, equal_var=False) for name in members]
        p = [float(test.pvalue) for test in tests]
        equivalent = [
            max(
                stats.ttest_ind(
                    np.add(scores[name], margin), base, equal_var=False, alternative="greater"
                ).pvalue,
                stats.ttest_ind(
                    np.subtract(scores[name], margin), base, equal_var=False, alternative="less"
                ).pvalue,
            )
            for name in members
        ]
        # The family is what was planned: what cannot be tested yet counts as the least significant.
        reject, adjusted, _, _ = multipletests(np.nan_to_num(p, nan=1.0), 0.05, "holm")
        same = multipletests(np.nan_to_num(equivalent, nan=1.0), 0.05, "holm")[0]
        steps = {
            index: len(p) - step
            for step, index in enumerate(np.argsort(np.nan_to_num(p, nan=1.0), kind="stable"))
        }
        for i, name in enumerate(members):
            divisor = steps[i] if reject[i] else len(p) - reject.sum()
            difference, n = float(np.mean(scores[name]) - np.mean(base)), min(len(scores[name]), len(base))
            side = "better" if difference > 0 else "worse"
            verdict = f"{side} but within the margin" if same[i] else side
            if n < 5:
                verdict = "undecidable" if n < 2 else "exploratory"
            elif not reject[i]:
                verdict = "equivalent" if same[i] else "undecided"
            ci = tests[i].confidence_interval(1 - 0.05 / divisor) if n > 1 else (None, None)
            found[name] = {
                "accuracy_mean": np.mean(scores[name]),
                "accuracy_ci": stats.t.interval(0.95, n - 1, np.mean(scores[name]), stats.sem(scores[name]))
                if n > 1
                else None,
                "delta": difference,
                "delta_ci": tuple(ci),
                "p_value": p[i],
                "p_adjusted": adjusted[i],
                "verdict": verdict,
            }
    return found


@pytest.mark.parametrize("std", [0.1, 0.3, 1.0])
def test_the_report_says_what_the_records_say(tree: Any, build_msa: Callable[..., Any], std: float) -> None:
    build_msa(tree, std=std, seed=round(10 * std))
    expected = recompute(tree.root)
    rows = {row["name"]: row for row in json.loads(render_study(tree.store, "msa", "json"))["variants"]}
    assert len(expected) == 14
    for name, figures in expected.items():
        assert rows[name]["verdict"] == figures.pop("verdict"), name
        for key, value in figures.items():
            assert rows[name][key] == pytest.approx(value, rel=1e-9, abs=1e-9), (name, key)


def test_it_does_so_for_an_unfinished_study(msa: Any) -> None:
    plan = {variant.name: variant for variant in msa.plan().variants}
    for name, left in (("channel", 1), ("spatial", 3)):
        for trial in list(plan[name].trials.values())[left:]:
            msa.store.trial(trial).record.unlink()
    expected = recompute(msa.root)
    rows = {row["name"]: row for row in json.loads(render_study(msa.store, "msa", "json"))["variants"]}
    assert {name: rows[name]["verdict"] for name in expected} == {
        n: f["verdict"] for n, f in expected.items()
    }
    assert rows["channel"]["verdict"] == "undecidable" and rows["spatial"]["verdict"] == "exploratory"
    assert rows["msa"]["p_adjusted"] == pytest.approx(expected["msa"]["p_adjusted"], rel=1e-9)
    assert rows["channel"]["p_value"] is None and rows["channel"]["delta_ci"] == [None, None]
