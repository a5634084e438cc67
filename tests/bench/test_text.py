"""A session in a table and in JSON."""

from __future__ import annotations

import json

from ablate.bench import bench_json, bench_text


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


def test_json_has_no_infinity(measured):
    plain = bench_json(measured)
    assert (plain["ratios"][0]["low"], plain["ratios"][0]["high"]) == (0.0, None)
    assert plain["costs"][0]["p50_ms"] == 2.0
    json.dumps(plain, allow_nan=False)
