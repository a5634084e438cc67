"""A session in a table and in JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ablate.bench import bench_json, bench_text
from ablate.measure import MemoryPeak


def test_the_table_says_what_makes_it_uncertain(measured):
    text = bench_text(measured)
    header, row = text.splitlines()[:2]
    assert row.split() == ["net", "1.500", "11.38", "0.058", "–", "3.00", "2.000", "2.900", "1,234.6"]
    assert "graph" not in header
    assert "images/s at batch 64, training memory at batch 8" in text
    assert "net takes 1.500 × other: one round tells nothing" in text
    assert text.splitlines()[-3:] == [
        "note: the load was 9.0 on 2 cores before it began",
        "note: so a ratio tells which is slower here, and not by how much on a machine at rest",
        "note: net: training memory not measured: planted",
    ]


def beside(measured, **changes):
    """The network, and one that has a little more of these than it."""
    [net] = measured.costs
    more = {name: getattr(net, name) + change for name, change in changes.items()}
    return replace(measured, costs=(net, replace(net, name="more", **more)))


@pytest.mark.parametrize(
    ("more", "head", "counts", "delta"),
    [
        (400_000, "params M", ["1.500", "1.900"], "+400,000 (+26.67 %)"),
        (1_000, "params M", ["1.500", "1.501"], "+1,000 (+0.07 %)"),
        (999, "params k", ["1,500.000", "1,500.999"], "+999 (+0.07 %)"),
        (1, "params k", ["1,500.000", "1,500.001"], "+1 (+0.00 %)"),
        (-32, "params k", ["1,500.000", "1,499.968"], "-32 (-0.00 %)"),
        (0, "params M", ["1.500", "1.500"], "0"),
    ],
)
def test_the_smallest_difference_to_the_baseline_shows(measured, more, head, counts, delta):
    text = bench_text(beside(measured, param_count=more), "net")
    first, second = text.split("\n\n")[:2]
    header, *rows = first.splitlines()
    assert head in header
    assert [row.split()[1] for row in rows] == counts
    _, difference = second.splitlines()
    assert difference.split("  ", 1)[1].strip().startswith(delta)


def test_differences_in_macs_need_smaller_units_sooner(measured):
    """They have two decimals."""
    text = bench_text(beside(measured, macs=9_990), "net")
    assert "MACs k" in text.splitlines()[0]
    assert [row.split()[2] for row in text.splitlines()[1:3]] == ["11,375.62", "11,385.61"]
    assert "MACs M" in bench_text(beside(measured, macs=10_000), "net").splitlines()[0]


def test_a_small_network_has_a_unit_in_which_it_shows(measured):
    [net] = measured.costs
    small = replace(measured, costs=(replace(net, param_count=3298, macs=45, activations=0),))
    header, row = bench_text(small).splitlines()[:2]
    assert ("params k" in header, "activ. M" in header) == (True, True)
    assert row.split()[1:4] == ["3.298", "45", "0.000"]


def test_memory_is_compared_with_the_baseline_where_both_are_known(measured):
    [net] = measured.costs
    more = replace(net, name="more", inference=MemoryPeak(3 * 2**20 + 2**19, "MemTracker"))
    text = bench_text(replace(measured, costs=(net, more)), "net")
    header, row = text.split("\n\n")[1].splitlines()
    assert header.split() == ["Δ", "to", "net", "params", "MACs", "activ.", "train", "MiB", "infer", "MiB"]
    assert row.split() == ["more", "0", "0", "0", "–", "+0.50", "(+16.67", "%)"]
    assert "Δ" not in bench_text(replace(measured, costs=(net, more)))
    assert "Δ" not in bench_text(measured, "net")


def test_json_has_no_infinity(measured):
    plain = bench_json(measured)
    assert (plain["ratios"][0]["low"], plain["ratios"][0]["high"]) == (0.0, None)
    assert plain["costs"][0]["p50_ms"] == 2.0
    json.dumps(plain, allow_nan=False)
