"""The short form of `ablate selftest`, and that it can fail: a broken rule breaks a limit."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import special
from typer.testing import CliRunner

from ablate.cli import app
from ablate.selftest import QUICK_REPLICATES, Line, Selftest, run_selftest, selftest_json, selftest_text
from ablate.selftest import cells as cells_module
from ablate.selftest.cells import Family, SamePath, Scopes, Sequential, all_cells
from ablate.selftest.judged import judge_scores
from ablate.selftest.run import _simulated
from ablate.selftest.tally import Tally, error_limit, widened
from ablate.selftest.worlds import BAD_SEEDS, CORRELATED, PLAIN, UNSTABLE, pictures
from ablate.stats import Procedure, verdict


@pytest.fixture(scope="module")
def quick() -> Selftest:
    return run_selftest(replicates=QUICK_REPLICATES)


def test_every_limit_is_kept_and_the_control_breaks_its_own(quick: Selftest) -> None:
    assert [line for line in quick.lines if not line.passed] == []
    [control] = [line for line in quick.lines if line.control]
    assert control.value > control.limit  # type: ignore[operator]
    assert quick.passed and "Passed: all" in selftest_text(quick)


def test_what_must_be_simulated_is(quick: Selftest) -> None:
    """Errors at three n, with one and five variants, in four worlds; both scopes; four true differences."""
    at = {(line.case, line.measure): line for line in quick.lines if line.limit is not None}
    for world in (PLAIN, UNSTABLE, BAD_SEEDS, CORRELATED):
        for n in (3, 5, 10):
            for variants in ("1 variant", "5 variants"):
                case = f"{world.name}, n = {n}, {variants}"
                assert {(case, "error"), (case, "coverage")} <= at.keys()
    seeds = {
        line.case: line
        for line in quick.lines
        if line.measure == "seeds per variant" and line.limit is not None
    }
    assert [round(line.limit - 3 * line.standard_error, 9) for line in seeds.values()] == [7.2, 8.5, 6.3, 4.3]  # type: ignore[operator]
    assert len([line for line in quick.lines if line.measure.startswith("coverage, ")]) == 6


def test_a_judgement_without_correction_breaks_the_family_wise_limit() -> None:
    cell = Family("", PLAIN, 5, [0.0] * 5, Procedure(correction="none"))
    error, coverage = cell.lines(cell.simulate(np.random.default_rng(0), 400))
    assert not error.passed and error.value > 0.12
    assert coverage.passed


def test_a_standard_error_a_fifth_too_small_breaks_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = verdict.Estimate.interval
    monkeypatch.setattr(
        verdict.Estimate,
        "p_value",
        property(lambda e: float(2 * special.stdtr(e.df, -abs(e.value) / (0.8 * e.se)))),
    )
    monkeypatch.setattr(
        verdict.Estimate,
        "interval",
        lambda e, level: honest(dataclasses.replace(e, se=0.8 * e.se), level),
    )
    monkeypatch.setattr(cells_module, "FULL_REPLICATES", 0)  # the limits as they stand
    family = Family("", PLAIN, 10, [0.0])
    assert not family.lines(family.simulate(np.random.default_rng(0), 1500))[0].passed
    scopes = Scopes(300, (10, 10))
    found = scopes.simulate(np.random.default_rng(0), 400)
    assert [line.passed for line in scopes.lines(found) if line.measure == "coverage, new images"] == [False]
    same = SamePath().simulate(np.random.default_rng(0), 1)
    assert same["differs"].mean == 0, "a report that shares the fault shares the code"


def test_a_report_that_judges_by_other_code_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cells_module,
        "judge_scores",
        lambda scores, procedure: judge_scores(scores + 1e-9 * scores, procedure),
    )
    [line] = SamePath().lines(SamePath().simulate(np.random.default_rng(0), 1))
    assert not line.passed and line.value == 0.75  # all but the study with images, which was left alone


def test_looking_at_higher_thresholds_breaks_the_rule_of_fewer_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablate.stats.sequential.THRESHOLDS", dict.fromkeys((3, 5, 7, 10), 0.05))
    cell = Sequential([0.0])
    lines = cell.lines(cell.simulate(np.random.default_rng(0), 1000))
    assert [line.passed for line in lines if line.measure == "error"] == [False]


def test_the_figures_hang_on_the_seed_and_not_on_the_processes() -> None:
    cells = [Family("", PLAIN, 3, [0.0]), Sequential([0.3])]
    pieces = [(0, 0, 20), (0, 1, 20), (1, 0, 20)]
    alone, together = (list(_simulated(cells, pieces, 7, jobs)) for jobs in (1, 2))
    assert alone == together
    assert alone != list(_simulated(cells, pieces, 8, 1))


def test_every_cell_has_random_numbers_of_its_own() -> None:
    keys = [cell.key for cell in all_cells()]
    assert len(set(keys)) == len(keys)


def test_the_worlds_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    plain = PLAIN.scores(rng, 4000, 5, [0.0, 1.0])
    assert plain.std(ddof=1) == pytest.approx(math.sqrt(0.3**2 + 2 / 9), abs=0.01)
    assert (plain[:, 2] - plain[:, 0]).mean() == pytest.approx(1.0, abs=0.01)
    assert np.allclose(plain * 100, np.round(plain * 100)), "counts among 10,000 images"
    assert UNSTABLE.scores(rng, 4000, 5, [0.0] * 2).std(axis=(0, 2)) == pytest.approx(
        [0.3, 0.9, 0.3], abs=0.02
    )
    assert (BAD_SEEDS.scores(rng, 4000, 5, [0.0]) < 84).mean() == pytest.approx(0.1, abs=0.01)
    shared = CORRELATED.scores(rng, 4000, 5, [0.0]).transpose(1, 0, 2).reshape(2, -1)
    assert np.corrcoef(shared)[0, 1] == pytest.approx(0.3, abs=0.02)


def test_the_truth_of_the_pictures_is_what_many_runs_and_images_show() -> None:
    drawn = pictures(np.random.default_rng(0), 4000, (1500, 1500))
    shown = 100 * (drawn.of.mean() - drawn.against.mean())
    assert drawn.true_here == pytest.approx(shown, abs=0.15)
    anywhere = [pictures(np.random.default_rng(seed), 20_000, (1, 1)).true_here for seed in range(40)]
    assert np.mean(anywhere) == pytest.approx(drawn.true_anywhere, abs=0.15)


def test_tallies_merge_to_what_one_would_have_counted() -> None:
    figures = [3.0, 5.0, 10.0, 7.0]
    whole, first, second = Tally(), Tally(), Tally()
    for figure in figures:
        whole.add(figure)
    for figure in figures[:1]:
        first.add(figure)
    for figure in figures[1:]:
        second.add(figure)
    first.merge(second)
    assert first == whole
    assert whole.standard_error == pytest.approx(np.std(figures, ddof=1) / 2)


def test_limits_at_full_replicates_and_fewer() -> None:
    assert error_limit(0.05, 20_000) == pytest.approx(0.05 + 3 * math.sqrt(0.05 * 0.95 / 20_000))
    assert widened(7.2, 0.1, 1, 20_000, 20_000) == 7.2
    assert widened(7.2, 0.1, 1, 300, 20_000) == pytest.approx(7.5)


BROKEN = Line("g", "a case", "error", 0.07, 0.001, 20_000, limit=0.05)


def test_what_is_broken_is_named_with_its_limit() -> None:
    text = selftest_text(Selftest((BROKEN, dataclasses.replace(BROKEN, case="fine", value=0.04)), 20_000, 3))
    assert "| a case |       .0700 ✗ |" in text
    assert "- a case: error .0700 is not ≤ .0500" in text
    assert text.endswith("FAILED: 1 of 2 limits (20,000 replicates, seed 3).")


def test_a_control_that_keeps_its_limit_fails_the_whole() -> None:
    tame = Selftest((dataclasses.replace(BROKEN, value=0.04, control=True),), 20_000, 0)
    assert not tame.passed
    assert "a control that errs was not seen to" in selftest_text(tame)
    assert Selftest((dataclasses.replace(BROKEN, control=True),), 20_000, 0).passed


def test_json_is_strict_and_full(quick: Selftest) -> None:
    document = json.loads(json.dumps(selftest_json(quick), allow_nan=False))
    assert document["passed"] and len(document["lines"]) == len(quick.lines)


def test_the_command_fails_on_the_control_and_refuses_others() -> None:
    peeking = CliRunner().invoke(app, ["selftest", "--control", "peeking", "--replicates", "500", "-j", "1"])
    assert peeking.exit_code == 1, peeking.output
    assert "a test at .05 after every seed from 3 to 10: error" in peeking.output
    other = CliRunner().invoke(app, ["selftest", "--control", "luck"])
    assert other.exit_code == 2 and "'luck' is not one of peeking" in other.output


def test_the_document_holds_a_table_of_every_figure(quick: Selftest) -> None:
    document = (Path(__file__).resolve().parents[2] / "docs/statistics.md").read_text(encoding="utf-8")
    table = document.partition("<!-- selftest -->")[2].partition("<!-- /selftest -->")[0]
    assert (
        f"Passed: all {sum(line.limit is not None and not line.control for line in quick.lines)} limits"
        in table
    )
    assert "(20,000 replicates, seed 0)" in table
    for line in quick.lines:
        part = table.partition(f"### {line.group}\n")[2].partition("###")[0]
        assert f"| {line.case} " in part and line.measure in part.splitlines()[1], line
