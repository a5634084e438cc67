"""A second opinion: scipy on the raw records recomputes every mean, interval, p-value and verdict.

Equal means equal but for the last bits: within 1e-12 of the figure, or 1e-9 for what is found by inverting a
distribution (ends of intervals, detectable effects), since scipy's `stats` and `special` invert in ways of
their own. The textbook's formulas are written out here once more; nothing of `ablate.stats` is imported.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats
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
            near = INVERTED if key.endswith("_ci") else EXACT
            assert rows[name][key] == pytest.approx(value, rel=near, abs=near), (name, key)


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


Weights = dict[str, float]
EXACT, INVERTED = 1e-12, 1e-9


def read_scores(root: Path, plan: dict[str, Any]) -> dict[str, list[float]]:
    return {
        variant["name"]: [
            json.loads((root / "trials" / trial / "record.json").read_text())["metrics"]["accuracy"]
            for trial in variant["trials"].values()
        ]
        for variant in plan["variants"]
    }


def contrast(weights: Weights, scores: dict[str, list[float]]) -> tuple[float, float, float]:
    """The weighted sum of means, its error, and Satterthwaite's degrees of freedom."""
    value = sum(w * np.mean(scores[name]) for name, w in weights.items())
    parts = [
        (w**2 * np.var(scores[name], ddof=1) / len(scores[name]), len(scores[name]))
        for name, w in weights.items()
    ]
    total = sum(part for part, _ in parts)
    return float(value), float(np.sqrt(total)), float(total**2 / sum(part**2 / (n - 1) for part, n in parts))


def holm_levels(p: list[float], level: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Adjusted p-values, and the level at which each interval stands."""
    reject, adjusted, _, _ = multipletests(p, level, "holm")
    order = list(np.argsort(p, kind="stable"))
    first_failing = len(p) - int(reject.sum())
    return adjusted, np.array(
        [level / ((len(p) - order.index(i)) if reject[i] else first_failing) for i in range(len(p))]
    )


def judge(
    family: dict[Any, Weights], scores: dict[str, list[float]], margin: float
) -> dict[Any, dict[str, Any]]:
    """All that the report says of a family of contrasts, from the scores alone."""
    found = {key: contrast(weights, scores) for key, weights in family.items()}
    two_sided = [2 * stats.t.sf(abs(v) / se, df) for v, se, df in found.values()]
    tost = [
        max(stats.t.sf((v + margin) / se, df), stats.t.cdf((v - margin) / se, df))
        for v, se, df in found.values()
    ]
    (adjusted, levels), (equivalent, inner) = holm_levels(two_sided), holm_levels(tost)
    told = {}
    for i, (key, (v, se, df)) in enumerate(found.items()):
        critical, half = (stats.t.isf(levels[i] / 2, df), stats.t.isf(inner[i], df) * se)
        power = lambda effect, c=critical, d=df, s=se: stats.nct.sf(c, d, effect / s) - 0.8  # noqa: E731
        significant, same = adjusted[i] <= 0.05, equivalent[i] <= 0.05
        verdict = ("better" if v > 0 else "worse") + (" but within the margin" if same else "")
        told[key] = {
            "delta": v,
            "p_value": two_sided[i],
            "p_adjusted": adjusted[i],
            "p_equivalent": equivalent[i],
            "delta_ci": [v - critical * se, v + critical * se],
            "equivalence_ci": [v - half, v + half],
            "minimum_detectable_effect": optimize.brentq(power, 0.0, 100.0, xtol=1e-13, rtol=1e-14),
            "verdict": verdict if significant else "equivalent" if same else "undecided",
        }
    return told


def hold(row: dict[str, Any], expected: dict[str, Any], where: Any) -> None:
    assert row["verdict"] == expected["verdict"], where
    for key in ("delta", "p_value", "p_adjusted", "p_equivalent"):
        assert row[key] == pytest.approx(expected[key], rel=EXACT, abs=1e-12), (where, key)
    for key in ("delta_ci", "equivalence_ci"):
        assert row[key] == pytest.approx(expected[key], rel=INVERTED, abs=1e-9), (where, key)
    # The inverse of the noncentral t, by which the report finds it, stops searching at 1e-8.
    key = "minimum_detectable_effect"
    assert row[key] == pytest.approx(expected[key], rel=1e-7), (where, key)


@pytest.mark.parametrize("std", [0.1, 0.3, 1.0])
def test_effects_views_and_sweeps_are_what_the_records_say(
    tree: Any, build_msa: Callable[..., Any], std: float
) -> None:
    build_msa(tree, std=std, seed=round(10 * std))
    plan, report = tree.plan().model_dump(mode="json"), json.loads(render_study(tree.store, "msa", "json"))
    scores, margin = read_scores(tree.root, plan), plan["analysis"]["margin"]
    (design,) = plan["designs"]
    cells, factors = {frozenset(on): name for on, name in design["cells"]}, design["factors"]
    families: dict[Any, dict[Any, Weights]] = {}
    for within in ((), ("multi-scale",)):
        free = [factor for factor in factors if factor not in within]
        for size in range(1, len(free) + 1):
            for subset in itertools.combinations(free, size):
                weights = {
                    name: float(np.prod([1 if factor in on else -1 for factor in subset]))
                    / 2 ** (len(free) - size)
                    for on, name in cells.items()
                    if set(within) <= on
                }
                families.setdefault(within, {})[("", within, subset)] = weights
    everything = frozenset(factors)
    families["add-one"] = {
        ("add-one", (), (f,)): {cells[frozenset({f})]: 1.0, cells[frozenset()]: -1.0} for f in factors
    }
    families["leave-one-out"] = {
        ("leave-one-out", (), (f,)): {cells[everything]: 1.0, cells[everything - {f}]: -1.0} for f in factors
    }
    rows = {
        (row["kind"] if row["view"] else "", tuple(row["within"]), tuple(row["factors"])): row
        for row in report["effects"]
    }
    expected = {
        key: one for family in families.values() for key, one in judge(family, scores, margin).items()
    }
    assert rows.keys() == expected.keys() and len(rows) == 7 + 3 + 3 + 3
    for key, row in rows.items():
        hold(row, expected[key], key)
    for planned, sweep in zip(plan["sweeps"], report["sweeps"], strict=True):
        levels = {name: {name: 1.0, planned["start"]: -1.0} for _, name in planned["levels"]}
        told = judge(levels, scores, margin)
        compared = {row["variant"]: row for row in sweep["levels"] if row["verdict"] != "start"}
        assert compared.keys() == told.keys()
        for name, row in compared.items():
            hold(row, told[name], name)


def test_the_difference_on_new_images_is_that_of_the_crossed_design(msa: Any) -> None:
    """Seeds and images are both drawn: variances of means over each, less what they hold twice."""
    plan, report = msa.plan().model_dump(mode="json"), json.loads(render_study(msa.store, "msa", "json"))
    sides = {}
    for variant in plan["variants"]:
        files = [np.load(msa.root / "trials" / t / "predictions.npz") for t in variant["trials"].values()]
        sides[variant["name"]] = 100.0 * np.stack([file["predicted"] == file["label"] for file in files])
    base, judged = sides[plan["baseline"]], 0
    for row in report["variants"]:
        if row["verdict"] == "baseline":
            continue
        of, images = sides[row["name"]], base.shape[1]
        plus, minus = [], []
        for side in (of, base):
            n, grand = len(side), side.mean()
            residual = side - side.mean(axis=1)[:, None] - side.mean(axis=0)[None, :] + grand
            plus.append((np.var(side.mean(axis=1), ddof=1) / n, n - 1))
            minus.append(
                ((residual**2).sum() / ((n - 1) * (images - 1)) / n / images, (n - 1) * (images - 1))
            )
        plus.append((np.var(of.mean(axis=0) - base.mean(axis=0), ddof=1) / images, images - 1))
        total = sum(part for part, _ in plus) - sum(part for part, _ in minus)
        df = total**2 / sum(part**2 / d for part, d in [*plus, *minus])
        seeds_only = plus[0][0] + plus[1][0]
        if total <= seeds_only:  # never below the error of the seeds alone
            total, df = seeds_only, seeds_only**2 / sum(part**2 / d for part, d in plus[:2])
        value, half = of.mean() - base.mean(), stats.t.isf((1 - row["ci_level"]) / 2, df) * np.sqrt(total)
        assert row["on_new_images"]["delta_ci"] == pytest.approx(
            [value - half, value + half], rel=INVERTED, abs=1e-9
        )
        judged += total > seeds_only
    assert judged > 0


CLAIMS: tuple[dict[str, Any], ...] = (
    {
        "id": "A",
        "say": "helps",
        "kind": "difference",
        "of": "multi-scale",
        "against": ["baseline"],
        "at_least": 0,
    },
    {
        "id": "B",
        "say": "range",
        "kind": "difference",
        "of": "msa",
        "against": ["baseline"],
        "between": [0.2, 1.2],
    },
    {
        "id": "C",
        "say": "both",
        "kind": "difference",
        "of": "msa",
        "against": ["channel", "spatial"],
        "at_least": 0,
    },
    {"id": "D", "say": "lost", "kind": "difference", "of": "msa at=early", "against": ["msa"], "at_least": 0},
    {"id": "E", "say": "slope", "kind": "trend", "over": "reduction", "at_most": 0},
    {
        "id": "F",
        "say": "more than the sum",
        "kind": "interaction",
        "of": ["channel", "spatial"],
        "within": {"multi-scale": True},
        "at_least": 0,
    },
)
SPOKEN: dict[str, list[Weights]] = {
    "A": [{"multi-scale": 1, "baseline": -1}],
    "B": [{"msa": 1, "baseline": -1}],
    "C": [{"msa": 1, "channel": -1}, {"msa": 1, "spatial": -1}],
    "D": [{"msa at=early": 1, "msa": -1}],
    # Ordinary least squares over 2, 3, 4 and 5 doublings.
    "E": [{"msa reduction=4": -0.3, "msa reduction=8": -0.1, "msa": 0.1, "msa reduction=32": 0.3}],
    "F": [{"msa": 1, "multi-scale+channel": -1, "multi-scale+spatial": -1, "multi-scale": 1}],
}
BOUNDS = {
    "A": (0, np.inf),
    "B": (0.2, 1.2),
    "C": (0, np.inf),
    "D": (0, np.inf),
    "E": (-np.inf, 0),
    "F": (0, np.inf),
}


@pytest.mark.parametrize("std", [0.1, 0.3, 1.0])
def test_claims_are_what_the_records_say(tree: Any, build_msa: Callable[..., Any], std: float) -> None:
    tree.claims = tuple({"metric": "accuracy", **claim} for claim in CLAIMS)
    build_msa(tree, std=std, seed=round(10 * std))
    plan, report = tree.plan().model_dump(mode="json"), json.loads(render_study(tree.store, "msa", "json"))
    scores = read_scores(tree.root, plan)
    figures = {key: [contrast(weights, scores) for weights in spoken] for key, spoken in SPOKEN.items()}
    inside, outside = {}, {}
    for key, several in figures.items():
        low, high = BOUNDS[key]
        inside[key] = max(
            p
            for v, se, df in several
            for p in (stats.t.sf((v - low) / se, df), stats.t.cdf((v - high) / se, df))
        )
        outside[key] = len(several) * min(
            p
            for v, se, df in several
            for p in (stats.t.cdf((v - low) / se, df), stats.t.sf((v - high) / se, df))
        )
    p = [min(1.0, 2 * min(inside[key], outside[key])) for key in figures]
    adjusted, levels = holm_levels(p)
    rows = {row["id"]: row for row in report["claims"]}
    for i, (key, several) in enumerate(figures.items()):
        for_it = inside[key] <= outside[key]
        verdict = "undecided" if adjusted[i] > 0.05 else "supported" if for_it else "refuted"
        evidence = rows[key]["evidence"]
        assert rows[key]["verdict"] == verdict, key
        assert evidence["p_value"] == pytest.approx(p[i], rel=EXACT, abs=1e-12)
        assert evidence["p_adjusted"] == pytest.approx(adjusted[i], rel=EXACT, abs=1e-12)
        level = levels[i] if verdict == "supported" else levels[i] / len(several)
        for told, (v, se, df) in zip(evidence["figures"], several, strict=True):
            half = stats.t.isf(level / 2, df) * se
            assert told["estimate"] == pytest.approx(v, rel=EXACT, abs=1e-12), key
            assert told["ci"] == pytest.approx([v - half, v + half], rel=INVERTED, abs=1e-9), key
