"""Shapley shares against games whose answer is known, and against the average over all orders."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ablate.stats import effects, increments, shares
from ablate.stats.shapley import share_weights

Cells = dict[frozenset[str], dict[int, float]]


def cells_of(factors: str, worth: dict[str, float], *, n: int = 5, std: float = 0.0, seed: int = 0) -> Cells:
    """worth: of each set of factors ("ab": both on), added up over all sets that a cell holds."""
    rng = np.random.default_rng(seed)
    found: Cells = {}
    for on in itertools.product((False, True), repeat=len(factors)):
        cell = frozenset(factor for factor, is_on in zip(factors, on, strict=True) if is_on)
        mean = 84 + sum(w for parts, w in worth.items() if set(parts) <= cell)
        found[cell] = dict(enumerate(mean + rng.normal(0, std, n)))
    return found


def values(found: list) -> dict[str, float]:
    return {effect.factors[0]: effect.evidence.estimate.value for effect in found}


def test_in_an_additive_game_each_part_gets_its_own_worth_in_any_order() -> None:
    cells = cells_of("abc", {"a": 1.0, "b": -0.5, "c": 0.25})
    expected = {"a": 1.0, "b": -0.5, "c": 0.25}
    assert values(shares(cells, "abc")) == pytest.approx(expected)
    assert values(increments(cells, "cab")) == pytest.approx(expected)


def test_two_parts_share_their_interplay_equally() -> None:
    """Closed form: share(a) = (v(a) - v() + v(ab) - v(b)) / 2."""
    cells = cells_of("ab", {"a": 1.0, "b": 0.5, "ab": 0.4})
    assert values(shares(cells, "ab")) == pytest.approx({"a": 1.2, "b": 0.7})
    # The chain gives all of it to whichever comes last.
    assert values(increments(cells, "ab")) == pytest.approx({"a": 1.0, "b": 0.9})
    assert values(increments(cells, "ba")) == pytest.approx({"b": 0.5, "a": 1.4})


def test_the_glove_game() -> None:
    """a and b have a left glove each, c has the right one: a pair is worth 1 (Shapley: 1/6, 1/6, 2/3)."""
    cells = cells_of("abc", {"ac": 1.0, "bc": 1.0, "abc": -1.0})
    assert values(shares(cells, "abc")) == pytest.approx({"a": 1 / 6, "b": 1 / 6, "c": 2 / 3})


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_share_is_the_increment_averaged_over_all_orders_and_all_shares_add_up(count: int) -> None:
    factors = "abcd"[:count]
    cells = cells_of(factors, {"a": 1.0}, std=1.0)
    orders = [values(increments(cells, order)) for order in itertools.permutations(factors)]
    found = values(shares(cells, factors))
    assert found == pytest.approx({f: float(np.mean([order[f] for order in orders])) for f in factors})
    means = {cell: float(np.mean(list(scores.values()))) for cell, scores in cells.items()}
    assert sum(found.values()) == pytest.approx(means[frozenset(factors)] - means[frozenset()])


def test_two_parts_have_the_shares_of_their_main_effects() -> None:
    """At k = 2 averaging over orders is averaging over the other part; from k = 3 on it is not."""
    two = cells_of("ab", {"a": 1.0, "ab": 0.4}, std=0.3)
    main = {e.factors[0]: e.evidence.estimate for e in effects(two, "ab") if len(e.factors) == 1}
    assert {e.factors[0]: e.evidence.estimate for e in shares(two, "ab")} == main
    assert set(map(abs, share_weights("a", "abc").values())) == {1 / 3, 1 / 6}


def test_its_error_is_that_of_the_contrast() -> None:
    cells = cells_of("abc", {"a": 1.0}, std=0.3, n=6)
    (effect, *_) = shares(cells, "abc")
    weights = share_weights("a", "abc")
    parts = [(w**2 * np.var(list(cells[c].values()), ddof=1) / 6, 5) for c, w in weights.items()]
    se, total = math.sqrt(sum(p for p, _ in parts)), sum(p for p, _ in parts)
    df = total**2 / sum(p**2 / d for p, d in parts)
    assert (effect.evidence.estimate.se, effect.evidence.estimate.df) == pytest.approx((se, df))
    low, high = effect.evidence.estimate.interval(0.05)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, df) * se)


def test_intervals_cover_and_pairs_take_out_what_seeds_share() -> None:
    """A share of known worth: its 95 % interval holds it about 95 times in 100, alone or by pairs."""
    hits = {False: 0, True: 0}
    for seed in range(2000):
        cells = cells_of("abc", {"a": 1.0, "bc": 0.6}, std=0.3, seed=seed)
        for by_pairs in hits:
            low, high = shares(cells, "abc", by_pairs=by_pairs)[1].evidence.estimate.interval(0.05)
            hits[by_pairs] += low < 0.3 < high
    assert min(hits.values()) / 2000 > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 2000)
    shared = {cell: {s: v + 5 * s for s, v in scores.items()} for cell, scores in cells.items()}
    assert shares(shared, "abc", by_pairs=True)[0].evidence.estimate.se == pytest.approx(
        shares(cells, "abc", by_pairs=True)[0].evidence.estimate.se
    )


def test_a_missing_cell_is_named_and_costs_are_shared_alike() -> None:
    cells = cells_of("ab", {"a": 1.0})
    costs = {cell: 100.0 * ("a" in cell) + 10.0 * (len(cell) == 2) for cell in cells}
    assert shares(cells, "ab")[0].of(costs) == pytest.approx(105.0)
    del cells[frozenset("b")]
    assert shares(cells, "ab")[0].missing == (frozenset("b"),)
    assert not increments(cells, "ab")[0].missing  # it needs neither
