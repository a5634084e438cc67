import math

import pytest

from ablate.report import numbers


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (numbers.signed(-0.004), "0.00"),
        (numbers.signed(0.004), "0.00"),
        (numbers.signed(-0.02, digits=1), "0.0"),
        (numbers.interval(0.0004, 5.32), "[+0.0004, +5.32]"),  # without zero, and seen to be
        (numbers.interval(-1.2, -0.0031), "[−1.20, −0.003]"),
        (numbers.interval(-0.0004, 5.32), "[0.00, +5.32]"),
        (numbers.interval(0.0, 5.32), "[0.00, +5.32]"),
        (numbers.interval(0.004, 1.2, sign=False), "[0.00, 1.20]"),  # an accuracy is judged by nobody
        (numbers.with_interval(0.002, 0.0004, 0.0036), "+0.002 [+0.0004, +0.004]"),
        (numbers.signed(-0.3), "−0.30"),
        (numbers.signed(0.3), "+0.30"),
        (numbers.signed(None), "–"),
        (numbers.interval(-0.2, 10), "[−0.20, +10.00]"),
        (numbers.interval(84.3, 85.06, sign=False), "[84.30, 85.06]"),
        (numbers.interval(-math.inf, math.inf), "–"),
        (numbers.with_interval(0.7, -math.inf, math.inf), "+0.70 (no interval)"),
        (numbers.with_interval(0.0252, -0.0091, 0.0594, digits=3), "+0.025 [−0.009, +0.059]"),
        (numbers.with_interval(math.nan, 0, 1), "–"),
        (numbers.seeds(12, 0.3), "12"),
        (numbers.seeds(1_234_567, 0.3), "> 100"),
        (numbers.seeds(None, 0.3), "> 100"),  # more than can be reckoned
        (numbers.seeds(None, 0.0), "–"),  # no spread, so nothing to reckon with
        (numbers.p_value(0.0004), "< 0.001"),
        (numbers.p_value(0.0496), "0.050"),
        (numbers.p_value(math.nan), "–"),
        (numbers.macs(11_375_616), "11.38 M"),
        (numbers.signed_macs(-9000), "−9,000"),
        (numbers.share(2688, 1_147_914), "+0.23 %"),
        (numbers.share(1, None), "–"),
    ],
)
def test_how_figures_are_printed(printed: str, expected: str) -> None:
    assert printed == expected


@pytest.mark.parametrize(
    ("spreads", "decimals"),
    [
        ([0.32, 0.60, 0.31], 2),  # 84.65 ± 0.32
        ([1.24, 2.0, 1.9], 1),  # 84.6 ± 1.2
        ([0.052], 3),
        ([0.0001], 3),
        ([12.0], 1),
        ([math.nan, math.inf, 0.0], 2),
        ([], 2),
    ],
)
def test_a_figure_has_two_digits_of_its_spread(spreads: list[float], decimals: int) -> None:
    assert numbers.decimals(spreads) == decimals
