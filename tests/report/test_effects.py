"""What parts buy and cost: views of a factorial, chains with their Shapley shares, latency round by round."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ablate.record import PlannedDesign
from ablate.report import EffectRow, build_report, render_markdown
from ablate.report.effects import latency_contrast, points_per_percent
from ablate.spec import load_study
from ablate.variants import expand

STUDY = """\
name: parts
baseline: baseline
defaults:
  data: {source: digits}
  model: {attention: {name: msa, args: {reduction: 4}, at: [block1, block2, block3]}}
variants:
  baseline: {model.attention: null}
  msa: {}
designs:
  - kind: KIND
    from: msa
    switches:
      multi-scale: model.attention.args.multi_scale
      channel: model.attention.args.channel
"""


def rows_of(tree: Any, kind: str) -> dict[str, EffectRow]:
    return {row.name: row for row in build_report(tree.store, "msa").effects if row.kind == kind}


def value(row: EffectRow) -> float:
    return row.judgement.evidence.estimate.value


@pytest.fixture
def chain(msa: Any) -> Any:
    """The study msa with its factorial told as a chain."""
    design = msa.designs[0]
    msa.designs = [
        PlannedDesign(kind="chain", start="msa", factors=design.factors, cells=design.cells),
    ]
    msa.plan()
    return msa


def test_a_chain_trains_every_cell_of_the_factorial(tmp_path: Path) -> None:
    found = {}
    for kind in ("factorial", "chain"):
        path = tmp_path / f"{kind}.yaml"
        path.write_text(STUDY.replace("KIND", kind))
        found[kind] = expand(load_study(path))
    names = {kind: {variant.name for variant in one.variants} for kind, one in found.items()}
    assert names["chain"] == names["factorial"] == {"baseline", "msa", "none", "multi-scale", "channel"}
    (design,) = found["chain"].designs
    assert (design.kind, design.factors, len(design.cells)) == ("chain", ("multi-scale", "channel"), 4)


def test_a_chain_gives_increments_in_its_order_and_shares_that_add_up_to_the_whole(chain: Any) -> None:
    rows = {row.name: row for row in build_report(chain.store, "msa").variants}
    means = {name: row.accuracy.mean for name, row in rows.items() if row.accuracy}
    steps, shares = rows_of(chain, "increment"), rows_of(chain, "share")
    path = ["baseline", "multi-scale", "multi-scale+channel", "msa"]
    assert list(steps) == list(shares) == ["multi-scale", "channel", "spatial"]
    for (before, after), row in zip(itertools.pairwise(path), steps.values(), strict=True):
        assert value(row) == pytest.approx(means[after] - means[before])
        assert set(row.cells) == {before, after} and row.planned == 5
    whole = means["msa"] - means["baseline"]
    assert sum(map(value, shares.values())) == pytest.approx(whole)
    assert sum(map(value, steps.values())) == pytest.approx(whole)
    assert {row.family for row in shares.values()} != {row.family for row in steps.values()}
    # Costs are additive here, so that every order gives the same.
    assert [row.param_delta for row in shares.values()] == pytest.approx([5000, 300, 147])


def test_the_page_of_a_chain_answers_by_shares_and_says_why(chain: Any) -> None:
    page = render_markdown(build_report(chain.store, "msa"))
    assert page.splitlines()[2].startswith(
        "Which parts earned their cost? multi-scale (+1.79 % parameters, +46.67 % MACs) is shown to add "
        "accuracy; "
    )
    assert "Bought: the Shapley share, what the part adds to others" in page
    assert "| Part | Shapley share, points | Verdict | Parameters | MACs |" in page
    assert "Family: parts of the chain from msa, added in its order (3)" in page
    assert "each an increment that depends on the order" in page
    assert "The shares add up to +1.17 points, which is all parts together less none." in page


def test_a_factorial_shows_each_part_alone_and_on_top_of_the_rest(msa: Any) -> None:
    rows = {row.name: row for row in build_report(msa.store, "msa").variants}
    means = {name: row.accuracy.mean for name, row in rows.items() if row.accuracy}
    alone, last = rows_of(msa, "add-one"), rows_of(msa, "leave-one-out")
    for part, rest in (
        ("multi-scale", "channel+spatial"),
        ("channel", "multi-scale+spatial"),
        ("spatial", "multi-scale+channel"),
    ):
        assert value(alone[part]) == pytest.approx(means[part] - means["baseline"])
        assert value(last[part]) == pytest.approx(means["msa"] - means[rest])
        assert alone[part].view and last[part].view
    page = render_markdown(build_report(msa.store, "msa"))
    assert "| Part | On average, points | Verdict | Alone, points | On top of the rest, points |" in page
    assert "Family: add-one" not in page


def test_a_part_that_changes_no_prediction_is_a_no_op_in_the_views(tree: Any) -> None:
    scores = {seed: 84 + seed / 10 for seed in range(5)}
    tree.add_variant("baseline", scores)
    tree.add_variant("idle", scores, twin_of="baseline")
    cells = (((), "baseline"), (("a",), "idle"))
    tree.designs = [PlannedDesign(kind="add-one", start="idle", factors=("a",), cells=cells)]
    tree.plan()
    assert rows_of(tree, "add-one")["a"].judgement.verdict == "no-op"


def test_points_for_a_per_cent_of_the_macs_are_the_points_rescaled(msa: Any) -> None:
    report = build_report(msa.store, "msa")
    rows = {row.name: row for row in report.effects if row.kind == "main" and not row.within}
    found = points_per_percent(rows["multi-scale"], report.baseline_row)
    judgement, share = rows["multi-scale"].judgement, 100 * 700_000 / 1_500_000
    expected = (judgement.evidence.estimate.value / share, judgement.low / share, judgement.high / share)
    assert found == pytest.approx(expected)
    # 0.04 % of the MACs are nothing to divide by.
    assert points_per_percent(rows["channel"], report.baseline_row) is None


def cost(rounds: tuple[float, ...], session: str | None = "2025-01-01", machine: str = "box") -> Any:
    return SimpleNamespace(latency_rounds_ms=rounds, latency_session=session, machine=machine)


def test_latency_of_a_part_is_a_paired_test_over_the_rounds_of_one_session() -> None:
    rng = np.random.default_rng(0)
    drift = rng.normal(5, 1, 10)  # what a round was like, shared by all that were timed in it
    off, on = drift + rng.normal(0, 0.01, 10), drift + 0.3 + rng.normal(0, 0.01, 10)
    costs = {"on": [cost(tuple(on))], "off": [cost(tuple(off))]}
    found = latency_contrast({"on": 1.0, "off": -1.0}, costs.__getitem__)
    assert found is not None
    expected = stats.ttest_rel(on, off)
    assert found[0].value == pytest.approx(0.3, abs=0.02) and found[1] == "box"
    assert found[0].p_value == pytest.approx(expected.pvalue)
    assert found[0].interval(0.05) == pytest.approx(tuple(expected.confidence_interval()))


@pytest.mark.parametrize(
    "other",
    [
        [],
        [cost((1.0, 2.0), session="2025-01-02")],
        [cost((1.0, 2.0), machine="another")],
        [cost((1.0, 2.0, 3.0))],
        [cost((), session=None)],
    ],
)
def test_latencies_of_different_sessions_are_not_subtracted(other: list[Any]) -> None:
    costs = {"on": [cost((1.0, 2.0))], "off": other}
    assert latency_contrast({"on": 1.0, "off": -1.0}, costs.__getitem__) is None
