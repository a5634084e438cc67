"""Claims as a report judges them, held against scipy on the scores themselves."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablate.errors import StoreError
from ablate.record import CostRecord, Look, PlannedSweep, StudyPlan
from ablate.report import build_report, render_json, render_markdown, without_measured
from ablate.report.claims import read_claims
from ablate.report.post_hoc import post_hoc
from ablate.report.rows import ClaimRow
from ablate.report.tables import tables, to_csv
from ablate.spec import load_study
from ablate.store import first_written

STUDIES = Path(__file__).resolve().parents[2] / "studies"


def claim(id: str = "C1", kind: str = "difference", **keys: Any) -> dict[str, Any]:
    return {"id": id, "say": "it helps", "kind": kind, "metric": "accuracy", **keys}


HELPS = claim(of="se", against=["baseline"], at_least=0.0)


def even(mean: float, n: int = 5) -> dict[int, float | None]:
    """n scores of this mean, with a standard deviation near 0.3."""
    return {seed: mean + 0.19 * (2 * seed - n + 1) / 2 for seed in range(n)}


def judged(tree: Any, *claims: dict[str, Any]) -> dict[str, ClaimRow]:
    tree.claims = claims
    tree.plan()
    return {row.id: row for row in build_report(tree.store, "msa").claims}


def pair(tree: Any, of: dict[int, float | None], against: dict[int, float | None], **keys: Any) -> Any:
    tree.add_variant("baseline", against)
    tree.add_variant("se", of, **keys)
    return tree


# Accuracy


def test_no_sentence_counts_more_seeds_than_anybody_trains(tree: Any) -> None:
    """The true figure may be as near to the bound as the estimate: hundreds of seeds."""
    of = {seed: 84.1 + 3 * (seed % 3) for seed in range(5)}
    row = judged(pair(tree, of, {seed: 84.0 + 3 * (seed % 3) for seed in range(5)}), HELPS)["C1"]
    assert row.verdict == "undecided" and row.seeds is not None and row.seeds > 100
    assert "more than 100 seeds per variant would decide" in row.reason
    assert not any(int(number) > 100 for number in re.findall(r"(\d+) (?:seeds|more)", row.reason))


def test_the_published_single_runs_are_undecidable(tree: Any) -> None:
    row = judged(pair(tree, {0: 85.38}, {0: 84.68}), HELPS)["C1"]
    assert row.verdict == "undecidable" and row.seeds == 7
    assert row.reason == (
        "a single run tells nothing of the spread between seeds: at an assumed seed sd of 0.3 points a gap "
        "of 0.70 arises by chance 9.9 % of the time; 7 seeds per variant, 6 more than now, would decide a "
        "figure 0.5 points from a bound, 4 times in 5 if seeds scatter by 0.3 points (assumed; after two "
        "seeds it is measured)"
    )
    by_range = judged(tree, claim(of="se", against=["baseline"], between=[0.2, 1.2]))["C1"]
    assert by_range.verdict == "undecidable" and by_range.claimed == "0.2 to 1.2 points"


@pytest.mark.parametrize(("gain", "verdict"), [(0.9, "supported"), (-0.9, "refuted"), (0.1, "undecided")])
def test_planted_differences_are_judged(tree: Any, gain: float, verdict: str) -> None:
    row = judged(pair(tree, even(84 + gain), even(84)), HELPS)["C1"]
    assert row.verdict == verdict
    assert row.figures[0].value == pytest.approx(gain)


def test_the_trials_behind_a_claim_are_the_finished_ones(tree: Any) -> None:
    row = judged(pair(tree, even(85) | {4: None}, even(84)), HELPS)["C1"]
    plan = {variant.name: variant.trials for variant in tree.variants}
    assert row.verdict == "exploratory" and "n = 4, and fewer than 5 seeds give no verdict" in row.reason
    assert row.trials["se"] == tuple(plan["se"][seed] for seed in range(4))
    assert row.trials["baseline"] == tuple(plan["baseline"].values())


def test_a_side_without_a_finished_run_is_named(tree: Any) -> None:
    row = judged(pair(tree, {}, even(84)), HELPS)["C1"]
    assert row.verdict == "undecidable" and row.reason.startswith("no finished run of se; 7 seeds")


def test_what_changes_nothing_is_no_help(tree: Any) -> None:
    row = judged(pair(tree, even(84), even(84), twin_of="baseline"), HELPS)["C1"]
    assert row.verdict == "undecided"
    assert row.reason.startswith("no-op: se − baseline is exactly zero, for the predictions are the same")


def test_a_variant_under_two_names_differs_by_nothing(tree: Any) -> None:
    pair(tree, even(85), even(84), aliases=("squeeze",))
    rows = judged(
        tree,
        claim("same", of="squeeze", against=["se"], between=[-0.5, 0.5]),
        claim("other", of="squeeze", against=["baseline"], at_least=0.0),
    )
    assert (rows["same"].verdict, rows["same"].figures[0].value) == ("supported", 0.0)
    assert rows["other"].figures[0].value == pytest.approx(1.0)


def test_a_trial_that_did_not_learn_is_counted_and_named(tree: Any) -> None:
    row = judged(pair(tree, even(84) | {2: 10.0}, even(84)), HELPS)["C1"]
    assert row.remarks == ("counted, though at the level of chance: se (seed 2)",)


FAMILY = (
    claim("beats", of="msa", against=["baseline"], at_least=0.0),
    claim("range", of="multi-scale", against=["baseline"], between=[0.2, 3.0]),
    claim("all", of="msa", against=["multi-scale+channel", "multi-scale+spatial"], at_least=0.0),
    claim("trend", "trend", over="reduction", at_most=0.0),
    claim("sum", "contrast", of={"msa": 1.0, "channel": -0.5, "spatial": -0.5}, at_least=0.0),
    claim("gates", "interaction", of=["channel", "spatial"], within={"multi-scale": True}, at_least=0.0),
    claim("averaged", "interaction", of=["channel", "spatial"], at_least=0.0),
    claim("off", "interaction", of=["channel", "spatial"], within={"multi-scale": False}, at_least=0.0),
)


def weights_of(id: str) -> list[dict[str, float]]:
    """Written out by hand, as a reader of the study would."""
    on = {"msa": 1, "multi-scale+channel": -1, "multi-scale+spatial": -1, "multi-scale": 1}
    off = {"channel+spatial": 1, "channel": -1, "spatial": -1, "baseline": 1}
    return {
        "beats": [{"msa": 1, "baseline": -1}],
        "range": [{"multi-scale": 1, "baseline": -1}],
        "all": [{"msa": 1, "multi-scale+channel": -1}, {"msa": 1, "multi-scale+spatial": -1}],
        # Ratios 4, 8, 16, 32 lie at −1.5, −0.5, 0.5, 1.5 doublings from their centre; squares add up to 5.
        "trend": [{"msa reduction=4": -0.3, "msa reduction=8": -0.1, "msa": 0.1, "msa reduction=32": 0.3}],
        "sum": [{"msa": 1, "channel": -0.5, "spatial": -0.5}],
        "gates": [on],
        "averaged": [{name: weight / 2 for name, weight in (on | off).items()}],
        "off": [off],
    }[id]


def recompute(root: Path) -> dict[str, tuple[float, list[tuple[float, float]]]]:
    """Of each claim its p-value and, for each figure, value and error, from the records."""
    plan, scores = json.loads((root / "msa/plan.json").read_text()), {}
    for variant in plan["variants"]:
        files = [root / "trials" / trial / "record.json" for trial in variant["trials"].values()]
        scores[variant["name"]] = [json.loads(file.read_text())["metrics"]["accuracy"] for file in files]
    found = {}
    for raw in plan["claims"]:
        low, high = raw.get("between") or (raw.get("at_least", -np.inf), raw.get("at_most", np.inf))
        inside, outside, figures = [], [], []
        for weights in weights_of(raw["id"]):
            parts = [w**2 * np.var(scores[name], ddof=1) / 5 for name, w in weights.items()]
            value = sum(w * np.mean(scores[name]) for name, w in weights.items())
            se, df = np.sqrt(sum(parts)), sum(parts) ** 2 / sum(part**2 / 4 for part in parts)
            t = stats.t(df, loc=value, scale=se)
            inside.append(max(t.cdf(low), t.sf(high)))
            outside.append(min(t.sf(low), t.cdf(high)))
            figures.append((value, se, df))
        p_value = min(1, 2 * min(max(inside), len(outside) * min(outside)))
        found[raw["id"]] = (p_value, max(inside) < len(outside) * min(outside), figures)
    return found


@pytest.mark.parametrize("seed", [1, 4])
def test_scipy_on_the_records_agrees_with_every_claim(tree: Any, build_msa: Any, seed: int) -> None:
    build_msa(tree, seed=seed)
    rows, expected = judged(tree, *FAMILY), recompute(tree.root)
    reject, adjusted, _, _ = multipletests([p for p, _, _ in expected.values()], 0.05, "holm")
    for (id, (p_value, side, figures)), rejected, p_adjusted in zip(
        expected.items(), reject, adjusted, strict=True
    ):
        row = rows[id]
        verdict = ("supported" if side else "refuted") if rejected else "undecided"
        assert (row.verdict, row.p_value, row.p_adjusted) == (
            verdict,
            pytest.approx(p_value, rel=1e-6),
            pytest.approx(p_adjusted, rel=1e-6),
        ), id
        for figure, (value, se, df) in zip(row.figures, figures, strict=True):
            interval = stats.t.interval(1 - figure.level, df, value, se)
            assert (figure.value, figure.low, figure.high) == pytest.approx((value, *interval), rel=1e-6)
    assert rows["beats"].verdict == "supported" and rows["trend"].unit == "points per doubling of reduction"


def test_cost_claims_take_no_place_in_the_family(msa: Any) -> None:
    alone = judged(msa, FAMILY[0])["beats"]
    cost = claim("cost", of="msa", against=["baseline"], at_least=0.0) | {"metric": "macs"}
    assert judged(msa, FAMILY[0], cost)["beats"] == alone


def test_a_split_of_its_own_for_every_seed_is_judged_by_pairs(tree: Any) -> None:
    tree.split = "per-seed"
    of, against = even(84.3), {seed: 84 + 2 * seed + 0.03 * seed**2 for seed in range(5)}
    of = {seed: score + 0.3 for seed, score in against.items()} | {0: 84.35}
    row = judged(pair(tree, of, against), HELPS)["C1"]
    test = stats.ttest_rel(list(of.values()), list(against.values()))
    assert row.verdict == "supported" and row.p_value == pytest.approx(test.pvalue)


def test_a_ratio_of_accuracies_has_an_interval(tree: Any) -> None:
    pair(tree, even(85), even(84))
    row = judged(tree, claim(kind="ratio", of="se", against=["baseline"], at_least=1.0))["C1"]
    [figure] = row.figures
    assert row.verdict == "supported" and figure.value == pytest.approx(85 / 84)
    assert row.claimed == "a ratio of at least 1"
    assert figure.low and figure.high and figure.low * figure.high == pytest.approx((85 / 84) ** 2)


# Costs


def cost(metric: str, kind: str = "ratio", **keys: Any) -> dict[str, Any]:
    return claim("C", kind, **keys) | {"metric": metric}


def test_c2_is_refuted_with_its_denominator(tree: Any) -> None:
    """Five modules in VGG16: 1,529,812 parameters are 1.11 % of the network, not 5 to 10 %."""
    tree.add_variant("baseline", {}, params=138_357_544)
    tree.add_variant("msa", {}, params=138_357_544 + 1_529_812)
    row = judged(tree, cost("param_count", of="msa", against=["baseline"], between=[1.05, 1.1]))["C"]
    assert row.verdict == "refuted" and row.figures[0].value == 139_887_356 / 138_357_544
    assert row.reason == (
        "msa 139,887,356, baseline 138,357,544: ratio 1.0111, +1,529,812 parameters, +1.11 % of baseline's "
        "138,357,544"
    )


def test_c3_is_supported_exactly(tree: Any) -> None:
    tree.add_variant("baseline", {}, params=1_147_914)
    tree.add_variant("se", {}, params=1_150_602)
    row = judged(tree, cost("param_count", of="se", against=["baseline"], at_most=1.01))["C"]
    assert row.verdict == "supported" and "+2,688 parameters, +0.23 % of baseline's 1,147,914" in row.reason
    assert row.p_value is None and row.figures[0].low is None


def test_costs_by_reduction_fall_per_doubling(msa: Any) -> None:
    """MACs of the made-up study: 1,500,000 + 16 · 709,600 / r; its start has r = 16."""
    row = judged(msa, cost("macs", "trend", over="reduction", at_most=0.0))["C"]
    macs = {4: 4_338_400, 8: 2_919_200, 16: 2_209_600, 32: 1_854_800}
    slope = stats.linregress(np.log2(list(macs)), list(macs.values())).slope
    assert row.verdict == "supported" and row.figures[0].value == pytest.approx(slope)
    assert row.claimed == "at most 0 MACs per doubling of reduction"


def test_equal_costs_lie_on_a_bound_of_zero(tree: Any) -> None:
    for name, worth in (("baseline", 0), ("a", 1), ("b", 2), ("c", 3)):
        tree.add_variant(name, even(84 + worth), macs=15_470_264_321)
    levels = (("1", "a"), ("2", "b"), ("3", "c"))
    tree.sweeps = [PlannedSweep(name="k", setting="x.y", start="a", levels=levels, numeric=True)]
    third = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3, "baseline": -1.0}
    for bound in ("at_least", "at_most"):
        assert judged(tree, cost("macs", "trend", over="k", **{bound: 0.0}))["C"].verdict == "supported"
        assert judged(tree, cost("macs", "contrast", of=third, **{bound: 0.0}))["C"].verdict == "supported"


def test_a_cost_on_the_bound_is_inside_though_floats_are_not_exact(tree: Any) -> None:
    """Levels at 2, 4 and 5 doublings, 100 MACs for each: the sum of products gives 100.00000000000003."""
    for level, doublings in ((4, 2), (16, 4), (32, 5)):
        tree.add_variant(f"r{level}", {}, macs=1000 + 100 * doublings)
    tree.baseline = "r4"
    levels = (("4", "r4"), ("16", "r16"), ("32", "r32"))
    tree.sweeps = [PlannedSweep(name="r", setting="x.y", start="r4", levels=levels, numeric=True)]
    for bound in ("at_least", "at_most"):
        assert judged(tree, cost("macs", "trend", over="r", **{bound: 100.0}))["C"].verdict == "supported"


def test_what_nobody_measured_is_said_to_be_so(tree: Any) -> None:
    pair(tree, even(85), even(84))
    row = judged(tree, cost("latency_ms", of="se", against=["baseline"], at_most=1.01))["C"]
    assert row.verdict == "not measured"
    assert row.reason == "no machine has measured latency_ms of every one of se, baseline"


def test_measured_costs_come_from_one_machine(tree: Any) -> None:
    pair(tree, even(85), even(84))

    def measure(variant: str, machine: str, latency_ms: float, memory: int) -> None:
        id = next(planned.cost_id for planned in tree.variants if planned.name == variant)
        [record] = [r for r in tree.store.read_costs(id) if r.machine == "box-cpu"]
        update = {"machine": machine, "latency_ms": latency_ms, "peak_memory_bytes": memory}
        tree.store.write_cost(CostRecord.model_validate(record.model_dump() | update))

    measure("se", "a-cpu", 1.0, 400)
    measure("baseline", "z-cpu", 1.0, 500)
    memory = cost("peak_memory_bytes", of="se", against=["baseline"], at_most=1.3)
    assert judged(tree, memory)["C"].verdict == "not measured"
    measure("se", "z-cpu", 1.1, 600)
    row = judged(tree, memory)["C"]
    assert (row.verdict, row.machine, row.figures[0].value) == ("supported", "z-cpu", 1.2)
    latency = judged(tree, cost("latency_ms", of="se", against=["baseline"], at_most=1.3))["C"]
    assert latency.verdict == "undecidable" and "not timed in turns in one session" in latency.reason
    markdown = render_markdown(build_report(tree.store, "msa"))
    assert "1.1" in markdown and not any("1.1" in line for line in without_measured(markdown))


# Post hoc


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ((), None),
        ((("2025-01-01T01:00:00+00:00", 5),), None),
        (
            (("2024-12-31T01:00:00+00:00", 5),),
            "the claim was first written after the results had been read; the analysis was changed after the "
            "results had been read",
        ),
        (
            (("2024-12-31T01:00:00+00:00", 5), ("2025-01-02T01:00:00+00:00", 5)),
            "the claim was first written after the results had been read; the analysis was changed after the "
            "results had been read",
        ),
        (
            (("2025-01-01T01:00:00+00:00", 3), ("2025-01-01T02:00:00+00:00", 5)),
            "the number of seeds was changed, to 5, after a look at results of 3",
        ),
    ],
)
def test_a_change_after_a_look_prints_post_hoc(
    tree: Any, looks: tuple[tuple[str, int], ...], expected: str | None
) -> None:
    pair(tree, even(85), even(84))
    tree.claims = (HELPS,)
    plan = tree.plan()
    for date, seeds in looks:
        tree.store.add_look("msa", Look(date=date, finished=2 * seeds, seeds=seeds))
    assert plan.planned == "2025-01-01T00:00:00Z"
    report = build_report(tree.store, "msa")
    assert report.claims[0].post_hoc == expected
    assert ("supported, post hoc" in render_markdown(report)) == (expected is not None)


def test_counted_costs_depend_on_no_seed_and_no_level(tree: Any) -> None:
    """After a look the analysis changes and seeds are added; then only a claim of that day is post hoc."""
    pair(tree, even(85), even(84))
    counted = cost("param_count", of="se", against=["baseline"], at_most=1.3)
    tree.claims = (HELPS, counted | {"id": "P"})
    look = Look(date="2025-01-01T01:00:00+00:00", finished=6, seeds=3)
    plan = tree.plan().model_copy(update={"looks": (look,)})
    before, after = "2024-12-01T00:00:00+00:00", "2025-06-01T00:00:00+00:00"

    def why(claim: dict[str, Any], *late: str) -> str | None:
        dates = {key: after if key in late else before for key in first_written.keys(plan)}
        return post_hoc(plan.model_copy(update={"first_written": dates}), claim)

    helps, counted = plan.claims
    analysis = first_written.analysis_key(plan)
    said = why(helps, analysis) or ""
    assert "the analysis was changed" in said and "the number of seeds was changed" in said
    assert why(counted, analysis) is None
    latency = cost("latency_ms", of="se", against=["baseline"], at_most=1.3)
    assert why(latency, analysis) == "the analysis was changed after the results had been read"
    assert "first written after" in (why(counted, first_written.claim_key(counted)) or "")


# Renderings


def test_claims_come_first_after_the_answer(msa: Any) -> None:
    judged(msa, *FAMILY)
    page = render_markdown(build_report(msa.store, "msa"))
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings[:2] == ["## Claims", "## Results"]
    assert "claims on accuracy" in page
    block = next(block for block in page.split("\n\n") if block.startswith("| Claim "))
    assert len({line.count(" | ") for line in block.splitlines()}) == 1
    assert len(block.splitlines()) == 2 + len(FAMILY) + 1  # one claim speaks of two figures


def test_json_and_csv_hold_the_numbers_and_the_trials(msa: Any) -> None:
    rows = judged(msa, *FAMILY, cost("latency_ms", of="msa", against=["baseline"], at_most=1.01))
    report = build_report(msa.store, "msa")
    told = {one["id"]: one for one in json.loads(render_json(report))["claims"]}
    assert all(one.keys() >= {"id", "say", "verdict", "evidence"} for one in told.values())
    beats = told["beats"]["evidence"]
    assert beats["figures"][0]["n"] == {"msa": 5, "baseline": 5}
    assert beats["figures"][0]["ci"] == [rows["beats"].figures[0].low, rows["beats"].figures[0].high]
    assert beats["trials"]["msa"] == list(rows["beats"].trials["msa"])
    lines = list(csv.DictReader(io.StringIO(to_csv(tables(report)["claims"]))))
    assert [line["id"] for line in lines if line["id"] == "all"] == ["all", "all"]
    first = lines[0]
    ids = itertools.chain.from_iterable(rows["beats"].trials.values())
    assert first["trials"].split() == list(ids) and first["n"] == "5 5"
    assert float(first["estimate"]) == rows["beats"].figures[0].value


# What the plan holds


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_claims_of_every_study_come_back_from_its_plan(tree: Any, path: Path) -> None:
    claims = load_study(path).claims
    tree.claims = tuple(one.model_dump(mode="json", exclude_none=True) for one in claims)
    tree.add_variant("baseline", {})
    plan = StudyPlan.model_validate_json(tree.plan().model_dump_json())
    assert tuple(read_claims(plan)) == claims


def test_a_plan_that_names_what_it_does_not_hold_is_a_clear_error(tree: Any) -> None:
    pair(tree, even(85), even(84))
    for raw, message in (
        (claim(of="gone", against=["baseline"], at_least=0.0), "a claim names 'gone', but no variant"),
        (claim(kind="trend", over="r", at_most=0.0), "there is no sweep 'r', which the claim 'C1' names"),
        (claim(kind="interaction", of=["a", "b"], at_least=0.0), "no factorial design has a, b"),
        ({"id": "C1", "kind": "difference"}, r"claims\[0\] cannot be read"),
    ):
        with pytest.raises(StoreError, match=message):
            judged(tree, raw)
