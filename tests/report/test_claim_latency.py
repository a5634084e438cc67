"""Claims on latency: judged by the rounds of one session, in a family of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from ablate.record import CostRecord
from ablate.report import MEASURED_PREFIX, build_report, render, render_markdown, without_measured
from ablate.report.latex import tex_tables
from ablate.report.rows import ClaimRow
from ablate.report.tex import tex


def rounds(mean_ms: float, seed: int, count: int = 10) -> tuple[float, ...]:
    noise = np.random.default_rng(seed).normal(0, 0.02, count)
    return tuple(float(value) for value in mean_ms * np.exp(noise))


BASE, SE = rounds(2.0, 1), rounds(2.2, 2)


def timed(tree: Any, variant: str, rounds_ms: tuple[float, ...], **fields: Any) -> None:
    tree.add_variant(variant, {0: 84.0, 1: 84.2})
    [record] = tree.store.read_costs(tree.variants[-1].cost_id)
    session = {"latency_ms": rounds_ms[0], "latency_rounds_ms": rounds_ms, "latency_session": "2026-01-01"}
    tree.store.write_cost(CostRecord.model_validate(record.model_dump() | session | fields))


def claim(id: str, kind: str = "ratio", **keys: Any) -> dict[str, Any]:
    sides = {"of": "se", "against": ["baseline"]} if kind in ("ratio", "difference") else {}
    return {"id": id, "say": "cheap", "kind": kind, "metric": "latency_ms", **sides, **keys}


def judged(tree: Any, *claims: dict[str, Any]) -> dict[str, ClaimRow]:
    tree.claims = claims
    tree.plan()
    return {row.id: row for row in build_report(tree.store, "msa").claims}


@pytest.fixture
def pair(tree: Any) -> Any:
    timed(tree, "baseline", BASE)
    timed(tree, "se", SE)
    return tree


def test_a_ratio_is_judged_on_logarithms_of_rounds(pair: Any) -> None:
    row = judged(pair, claim("C", at_most=1.2))["C"]
    assert row.verdict == "supported" and row.machine == "box-cpu"
    reference = stats.ttest_rel(np.log(SE), np.log(BASE)).confidence_interval(0.95)
    [figure] = row.figures
    assert (figure.low, figure.high) == pytest.approx((np.exp(reference.low), np.exp(reference.high)))
    assert figure.sides == pytest.approx({"se": stats.gmean(SE), "baseline": stats.gmean(BASE)})
    assert "over 10 rounds on box-cpu" in row.reason and "95 % interval" in row.reason
    assert judged(pair, claim("C", at_most=1.01))["C"].verdict == "refuted"
    open_one = judged(pair, claim("C", at_most=1.1))["C"]
    assert open_one.verdict == "undecided" and "rounds would decide" in open_one.reason


def test_a_difference_is_judged_in_milliseconds_round_by_round(pair: Any) -> None:
    row = judged(pair, claim("C", "difference", at_least=0.0))["C"]
    reference = stats.ttest_rel(SE, BASE)
    [figure] = row.figures
    assert row.verdict == "supported" and row.unit == "ms"
    assert figure.value == pytest.approx(np.mean(np.subtract(SE, BASE)))
    assert row.p_value == pytest.approx(reference.pvalue)


def test_a_contrast_weighs_more_than_two(pair: Any) -> None:
    timed(pair, "other", rounds(2.1, 3))
    row = judged(pair, claim("C", "contrast", of={"se": 1.0, "other": 1.0, "baseline": -2.0}, at_least=0.0))
    assert row["C"].verdict == "supported"
    assert row["C"].figures[0].value == pytest.approx(
        np.mean(np.add(SE, rounds(2.1, 3)) - 2 * np.asarray(BASE))
    )


def test_they_are_a_family_apart_from_accuracy(pair: Any) -> None:
    accuracy = {**claim("A", "difference", at_least=0.0), "metric": "accuracy"}
    alone = judged(pair, claim("L", at_most=1.2))["L"]
    beside = judged(pair, claim("L", at_most=1.2), accuracy)["L"]
    assert beside.p_adjusted == alone.p_adjusted == alone.p_value
    two = judged(pair, claim("L", at_most=1.2), claim("M", at_most=1.11))
    assert two["L"].p_adjusted == pytest.approx(2 * (two["L"].p_value or 0))


def test_figures_of_two_sessions_are_no_pairs(tree: Any) -> None:
    timed(tree, "baseline", BASE)
    timed(tree, "se", SE, latency_session="2026-02-02")
    row = judged(tree, claim("C", at_most=9.0))["C"]
    assert row.verdict == "undecidable" and "not timed in turns in one session" in row.reason


def test_few_rounds_are_exploratory(tree: Any) -> None:
    timed(tree, "baseline", BASE[:3])
    timed(tree, "se", SE[:3])
    row = judged(tree, claim("C", at_most=9.0))["C"]
    assert row.verdict == "exploratory" and "fewer than 5 rounds give no verdict" in row.reason


def test_a_variant_under_two_names_takes_as_long_as_itself(pair: Any) -> None:
    pair.variants[1] = pair.variants[1].model_copy(update={"aliases": ("squeeze",)})
    row = judged(pair, claim("C", "difference", of="squeeze", against=["se"], between=[-1.0, 1.0]))["C"]
    assert (row.verdict, row.figures[0].value) == ("supported", 0.0)


BUSY = "the load was 9.0 on 2 cores before it began"


def test_what_was_judged_by_a_latency_stands_apart_from_what_equal_runs_share(pair: Any) -> None:
    judged(pair, claim("C", at_most=1.2))
    report = build_report(pair.store, "msa")
    page = render_markdown(report)
    assert f"{MEASURED_PREFIX}C: supported: " in page
    shared = without_measured(page)
    [row] = [line for line in shared if line.startswith("| C ")]
    assert "as measured, below" in row and "supported" not in row
    [below] = [line for line in page.splitlines() if line.startswith("| C ") and line not in shared]
    [figure] = report.claims[0].figures
    told = f"{figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}]"
    assert "| supported |" in below and told in below


def test_latex_and_html_show_estimate_interval_and_verdict(pair: Any) -> None:
    judged(pair, claim("C", at_most=1.2), claim("D", "difference", at_least=0.0))
    report = build_report(pair.store, "msa")
    ratio, difference = (row.figures[0] for row in report.claims)
    told = (
        f"{ratio.value:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]",
        f"+{difference.value:.3f} [+{difference.low:.3f}, +{difference.high:.3f}] ms",
    )
    [table] = [table for table in tex_tables(report) if table.name == "claims"]
    html = render(report, "html")
    for row, said in zip(table.rows, told, strict=True):
        assert row[-1] == "supported" and row[table.header.index("Estimate")] == tex(said)
        assert f'<div class="value">{said}</div>' in html
    assert "as measured, below" not in html


@pytest.mark.parametrize("busy_side", ["baseline", "se"])
def test_a_busy_machine_tells_which_is_slower_and_not_by_how_much(tree: Any, busy_side: str) -> None:
    for name, rounds_ms in (("baseline", BASE), ("se", SE)):
        timed(tree, name, rounds_ms, notes=(BUSY,) if name == busy_side else ())
    found = judged(
        tree,
        claim("most", at_most=1.3),
        claim("wrong", at_most=1.01),
        claim("some", "difference", at_least=0.05),
        claim("slower", at_least=1.0),
        claim("dearer", "difference", at_least=0.0),
        claim("faster", at_most=1.0),
    )
    verdicts = {id: row.verdict for id, row in found.items()}
    assert verdicts == {
        **dict.fromkeys(("most", "wrong", "some"), "undecided"),
        **dict.fromkeys(("slower", "dearer"), "supported"),
        "faster": "refuted",
    }
    assert f"the machine was busy ({BUSY})" in found["wrong"].reason
    assert "measure again with `ablate bench STUDY` on a quiet machine" in found["wrong"].reason
    assert any("that of a busy machine" in remark for remark in found["slower"].remarks)


def test_a_graph_that_could_not_be_captured_is_no_contention(pair: Any) -> None:
    pair.variants.clear()
    timed(pair, "baseline", BASE, notes=("the call cannot be captured as a CUDA graph: planted",))
    timed(pair, "se", SE)
    assert judged(pair, claim("C", at_most=1.3))["C"].verdict == "supported"
