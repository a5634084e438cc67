"""The nearest step of a staircase against trying every step."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.controls.search import Grid, SearchError, Staircase, nearest, shortest


def stairs(scale: int, channels: tuple[int, ...] = (4, 16, 64)) -> Staircase:
    """Parameters of a chain of layers whose channels are rounded, over a width of index / scale."""

    def cost(index: int) -> int:
        sizes = [3, *(max(1, int(base * index / scale + 0.5)) for base in channels)]
        return sum(9 * before * after for before, after in itertools.pairwise(sizes))

    return Staircase(cost)


@settings(max_examples=40, deadline=None)
@given(target=st.integers(30, 600_000), start=st.integers(200, 3000))
def test_it_finds_the_nearest_step_of_all_with_few_builds(target: int, start: int) -> None:
    found = stairs(1000)
    index = nearest(found, target, start, (1, 8000), slack=0)
    every = stairs(1000)
    assert abs(found(index) - target) == min(abs(every(i) - target) for i in range(1, 8001))
    assert len(found.known) <= 36


def test_it_stops_where_it_is_near_enough() -> None:
    patient, content = stairs(1000), stairs(1000)
    nearest(patient, 20_000, 1000, (1, 64_000), slack=0)
    index = nearest(content, 20_000, 1000, (1, 64_000), slack=200)
    assert abs(content(index) - 20_000) <= 200
    assert len(content.known) < len(patient.known)


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        (lambda index: 5, "does not change"),
        (lambda index: 10_000 - index, "falls as it rises"),
        (lambda index: index, "stays below"),
    ],
)
def test_a_cost_that_leads_nowhere_is_said(cost, said: str) -> None:
    target = 20 if cost(1) == 5 else 10**6
    with pytest.raises(SearchError, match=said):
        nearest(Staircase(cost), target, 10, (1, 640), slack=0)


@pytest.mark.parametrize(
    ("index", "low", "high", "expected"),
    [(11_262, 11_195, 11_265, 1.12), (11_262, 11_255, 11_265, 1.126), (19_999, 19_900, 20_500, 2.0)],
)
def test_the_value_has_as_few_digits_as_build_the_same(
    index: int, low: int, high: int, expected: float
) -> None:
    assert shortest(Grid(1.0, 0, 64), lambda at: low <= at <= high, index) == expected


def test_whole_numbers_stay_whole_and_small_widths_keep_their_digits() -> None:
    whole, small = Grid(64, 1, float("inf")), Grid(0.125, 0, 64)
    assert whole.value(70) == 70 and isinstance(whole.value(70), int)
    assert whole.ends == (1, 64 * 1024)
    assert small.value(small.index(0.125)) == 0.125 and small.value(small.index(0.125) + 1) == 0.12501
