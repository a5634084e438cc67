import math

import numpy as np
import pytest
from scipy import stats

from ablate.stats import Estimate, summarise


def test_the_interval_of_a_mean_is_student_s() -> None:
    scores = [84.1, 84.9, 85.3, 84.6]
    expected = stats.t.interval(0.95, 3, np.mean(scores), stats.sem(scores))
    summary = summarise(scores)
    assert (summary.low, summary.high) == pytest.approx(expected, rel=1e-12)
    assert summary.std == pytest.approx(stats.tstd(scores), rel=1e-12)


@pytest.mark.parametrize("scores", [[84.68], [10.0] * 5, [0.1 + 0.2, 0.3, 0.3]])
def test_scores_without_spread_give_an_infinite_interval_never_a_zero_one(scores: list[float]) -> None:
    summary = summarise(scores)
    assert (summary.low, summary.high) == (-math.inf, math.inf)


def test_no_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="no scores"):
        summarise([])


def test_equivalence_agrees_with_the_two_one_sided_tests_of_scipy() -> None:
    rng = np.random.default_rng(3)
    of, against, margin = rng.normal(0.1, 0.3, 7), rng.normal(0, 0.5, 5), 0.5
    lower = stats.ttest_ind(of + margin, against, equal_var=False, alternative="greater").pvalue
    upper = stats.ttest_ind(of - margin, against, equal_var=False, alternative="less").pvalue
    welch = stats.ttest_ind(of, against, equal_var=False)
    estimate = Estimate(
        of.mean() - against.mean(),
        welch.statistic and (of.mean() - against.mean()) / welch.statistic,
        welch.df,
    )
    assert estimate.p_equivalent(margin) == pytest.approx(max(lower, upper), rel=1e-9)


def test_an_unknown_error_knows_no_p_value() -> None:
    unknown = Estimate(3.0, math.inf, 0.0)
    assert math.isnan(unknown.p_value) and math.isnan(unknown.p_equivalent(0.5))
    assert unknown.interval(0.05) == (-math.inf, math.inf)
