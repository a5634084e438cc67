import math

import pytest

from ablate.report import numbers


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (numbers.signed(-0.004), "+0.00"),
        (numbers.signed(-0.3), "−0.30"),
        (numbers.signed(0.3), "+0.30"),
        (numbers.signed(None), "–"),
        (numbers.interval(-0.2, 10), "[−0.20, +10.00]"),
        (numbers.interval(84.3, 85.06, sign=False), "[84.30, 85.06]"),
        (numbers.interval(-math.inf, math.inf), "[−∞, ∞]"),
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
