"""Costs of a report: machine by machine, compared within a session alone, and the Pareto front."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ablate.record import CostRecord, TimedRounds
from ablate.report import build_report, render_json, render_markdown, without_measured
from ablate.report.cost_text import fronts_table, measured_notes, measured_table
from ablate.report.latex import tex_tables
from ablate.report.tables import tables, to_csv


def rounds(mean_ms: float, seed: int = 0) -> tuple[float, ...]:
    noise = np.random.default_rng(seed).normal(0, 0.02, 10)
    return tuple(float(value) for value in mean_ms * np.exp(noise))


Measure = Callable[..., None]


@pytest.fixture
def measure(tree: Any) -> Measure:
    """(variant, latency_ms, **fields of the record): as a session leaves them."""

    def write(variant: str, latency_ms: float, session: str = "2026-01-01", **fields: Any) -> None:
        id = next(planned.cost_id for planned in tree.variants if planned.name == variant)
        record = next(r for r in tree.store.read_costs(id) if r.machine == "box-cpu")
        figures = {
            "latency_ms": latency_ms,
            "latency_p95_ms": 2 * latency_ms,
            "latency_rounds_ms": rounds(latency_ms, len(variant)),
            "latency_session": session,
            "images_per_s": 1000 / latency_ms,
            "throughput_batch": 64,
            "peak_memory_bytes": int(2e6 * latency_ms),
            "inference_memory_bytes": 1000,
            "train_batch": 32,
            "memory_means": "MemTracker",
            "activations": 5000,
        }
        tree.store.write_cost(CostRecord.model_validate(record.model_dump() | figures | fields))

    return write


@pytest.fixture
def three(tree: Any) -> Any:
    """cheap and poor, dear and good, and one that is dearer than the good one and poor."""
    tree.add_variant("baseline", {seed: 84.0 + 0.1 * seed for seed in range(5)}, params=1000, macs=500)
    tree.add_variant("good", {seed: 88.0 + 0.1 * seed for seed in range(5)}, params=2000, macs=900)
    tree.add_variant("waste", {seed: 85.0 + 0.1 * seed for seed in range(5)}, params=3000, macs=800)
    tree.plan()
    return tree


def test_latency_is_compared_with_the_baseline_within_one_session(three: Any, measure: Measure) -> None:
    measure("baseline", 1.0)
    measure("good", 1.5)
    measure("waste", 1.0, session="2026-02-02")
    found = {row.variant: row for row in build_report(three.store, "msa").costs.measured}
    assert found["baseline"].against is None
    against = found["good"].against
    assert against is not None and against.verdict == "slower"
    assert against.low < 1.5 < against.high < 1.6 and against.rounds == 10
    assert found["good"].against_ms == pytest.approx(1.0, rel=0.05)
    assert found["waste"].against is None  # timed elsewhere in time: not a pair, though the figure stands
    assert found["waste"].latency_ms == 1.0
    header, cells = measured_table(build_report(three.store, "msa"))
    verdicts = {line[0]: line[header.index("Verdict")] for line in cells}
    assert verdicts == {"baseline": "baseline", "good": "slower", "waste": "timed in another session"}


def test_a_shared_baseline_is_paired_by_its_earlier_rounds(three: Any, measure: Measure) -> None:
    """Another study has timed it since."""
    earlier = (TimedRounds(session="2026-01-01", rounds_ms=rounds(1.0, 8)).model_dump(),)
    measure("baseline", 9.0, session="2026-03-03", earlier_rounds=earlier)
    measure("good", 1.5)
    found = {row.variant: row for row in build_report(three.store, "msa").costs.measured}
    assert found["good"].against is not None and found["good"].against.ratio == pytest.approx(1.5, rel=0.05)


def test_machines_stand_side_by_side_and_are_not_mixed(three: Any, measure: Measure) -> None:
    for machine, factor in (("laptop-cpu", 1.0), ("server-cuda", 0.1)):
        for variant, latency_ms in (("baseline", 1.0), ("good", 2.0)):
            measure(variant, factor * latency_ms, machine=machine)
    costs = build_report(three.store, "msa").costs
    assert [(row.machine, row.variant) for row in costs.measured] == [
        ("laptop-cpu", "baseline"),
        ("laptop-cpu", "good"),
        ("server-cuda", "baseline"),
        ("server-cuda", "good"),
    ]
    ratios = [row.against.ratio for row in costs.measured if row.against]
    assert ratios == pytest.approx([2.0, 2.0], rel=0.05)
    names = [front.file_name for front in costs.fronts if front.cost == "latency_ms"]
    assert names == ["accuracy-latency-laptop-cpu", "accuracy-latency-server-cuda"]


def test_memory_of_steps_of_another_batch_is_not_compared(three: Any, measure: Measure) -> None:
    measure("baseline", 1.0)
    measure("good", 2.0)
    measure("waste", 2.0, train_batch=64)
    report = build_report(three.store, "msa")
    found = {row.variant: row for row in report.costs.measured}
    assert (found["good"].memory_percent, found["good"].memory_against) == (100.0, 2_000_000)
    assert found["waste"].memory_percent is None
    front = next(front for front in report.costs.fronts if front.cost == "peak_memory_bytes")
    assert [row.variant for row in front.rows] == ["baseline", "good"]
    assert front.left_out == (("waste", "its training step has 64 images"),)


def places(front: Any) -> dict[str, tuple[str, bool, tuple[str, ...]]]:
    return {row.variant: (row.place, row.on_front, row.by) for row in front.rows}


def test_the_front_of_planted_costs(three: Any, measure: Measure) -> None:
    for variant, latency_ms in (("baseline", 1.0), ("good", 2.0), ("waste", 3.0)):
        measure(variant, latency_ms)
    fronts = {front.cost: front for front in build_report(three.store, "msa").costs.fronts}
    expected = {
        "baseline": ("on the front", True, ()),
        "good": ("on the front", True, ()),
        "waste": ("dominated", False, ("good",)),
    }
    for cost in ("param_count", "latency_ms", "peak_memory_bytes"):
        assert places(fronts[cost]) == expected
    assert places(fronts["macs"])["waste"] == ("on the front", True, ())  # 800 of MACs, against 900


def test_what_the_intervals_leave_open_is_said(tree: Any) -> None:
    even = {seed: 84.0 + 0.4 * seed for seed in range(5)}
    tree.add_variant("baseline", even, params=1000)
    tree.add_variant("little", {seed: score + 0.2 for seed, score in even.items()}, params=1100)
    tree.add_variant("less", {seed: score - 0.2 for seed, score in even.items()}, params=1200)
    tree.plan()
    report = build_report(tree.store, "msa")
    front = next(front for front in report.costs.fronts if front.cost == "param_count")
    assert places(front) == {
        "baseline": ("on the front", True, ()),  # nobody is as cheap
        "little": ("open", True, ("baseline",)),
        "less": ("open", False, ("baseline", "little")),
    }
    page = render_markdown(report)
    assert "| parameters | baseline | little\\*, less (baseline, little) | – |" in page


def test_a_single_run_is_neither_dominated_nor_surely_on_the_front(tree: Any) -> None:
    tree.add_variant("baseline", {0: 80.0}, params=1000)
    tree.add_variant("worse", {0: 70.0}, params=2000)
    tree.plan()
    front = build_report(tree.store, "msa").costs.fronts[0]
    assert places(front)["worse"] == ("open", False, ("baseline",))


def test_latencies_that_cannot_be_told_apart_leave_the_front_open(three: Any, measure: Measure) -> None:
    """Rounds that scatter by half: which of the two is faster is not known."""
    wild = tuple(float(x) for x in np.random.default_rng(3).lognormal(0, 0.5, 10))
    measure("baseline", 1.0, latency_rounds_ms=wild)
    measure("good", 1.0, latency_rounds_ms=tuple(reversed(wild)))
    measure("waste", 9.0)
    front = next(f for f in build_report(three.store, "msa").costs.fronts if f.cost == "latency_ms")
    assert places(front)["baseline"][0] == "open"  # good may well be as fast, and is surely better
    assert places(front)["waste"] == ("dominated", False, ("good",))


def test_contention_and_what_is_missing_are_told(three: Any, measure: Measure) -> None:
    measure("baseline", 1.0, notes=("the load was 9.0 on 2 cores before it began",))
    measure("good", 2.0, peak_memory_bytes=None, memory_means="not measured: planted")
    report = build_report(three.store, "msa")
    told = measured_notes(report)
    assert "box-cpu: the load was 9.0 on 2 cores before it began" in told
    assert "box-cpu: so a ratio tells which is slower here, and not by how much at rest" in told
    assert "good on box-cpu: training memory not measured: planted" in told
    markdown = render_markdown(report)
    rest = "\n".join(without_measured(markdown))
    for figure in ("9.0 on 2 cores", "2.000", "planted"):
        assert figure in markdown and figure not in rest


def test_measured_tables_are_tables(three: Any, measure: Measure) -> None:
    """Every row of a measured region has the header's cells, and a bar at either end."""
    measure("baseline", 1.0)
    measure("good", 2.0)
    page = render_markdown(build_report(three.store, "msa"))
    regions = re.findall(r"<!-- measured -->\n\n(.*?)\n\n<!-- /measured -->\n", page, re.DOTALL)
    assert len(regions) == 2  # latency and memory; the fronts
    for region in regions:
        lines = region.splitlines()
        assert re.fullmatch(r"\|( :?--:? \|| --: \|| :-- \|)+", lines[1])
        assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    kept = without_measured(page)
    assert kept[0] == page.splitlines()[0] and any(line.startswith("- Machine (") for line in kept)
    assert not any("box-cpu" in line and line.startswith("|") for line in kept)


@pytest.mark.parametrize("broken", ["<!-- measured -->\na", "a\n<!-- /measured -->"])
def test_a_region_that_does_not_close_hides_nothing(broken: str) -> None:
    with pytest.raises(ValueError, match="measured"):
        without_measured(broken)


def test_a_ratio_divides_the_means_beside_it(three: Any, measure: Measure) -> None:
    """Calls whose median is far from that of the rounds, as on a busy machine."""
    measure("baseline", 5.0, latency_rounds_ms=rounds(1.0, 1))
    measure("good", 0.5, latency_rounds_ms=rounds(3.0, 2))
    found = {row.variant: row for row in build_report(three.store, "msa").costs.measured}
    good, base = found["good"], found["baseline"]
    assert good.rounds_mean_ms == pytest.approx(stats.gmean(rounds(3.0, 2)))
    assert good.against is not None and good.against_ms == base.rounds_mean_ms
    assert good.against.ratio == pytest.approx(good.rounds_mean_ms / base.rounds_mean_ms)
    header, cells = measured_table(build_report(three.store, "msa"))
    mean, ratio = header.index("Mean of rounds, ms"), header.index("as a multiple of baseline's")
    assert cells[1][ratio].endswith(f" of {cells[0][mean]}")


def test_notes_on_many_variants_are_one_sentence(three: Any, measure: Measure) -> None:
    noisy = tuple(f"v{place}: its rounds scatter by {10 + place} %" for place in range(14))
    measure("baseline", 1.0, notes=(*noisy, "the load was 9.0 on 2 cores before it began"))
    for variant in ("good", "waste"):
        measure(variant, 2.0, peak_memory_bytes=None, memory_means="not measured: planted")
    report = build_report(three.store, "msa")
    told = measured_notes(report)
    assert "box-cpu: the rounds of 14 variants scatter by 10 to 23 %: v0, v1, v2 and 11 more" in told
    assert "good, waste on box-cpu: training memory not measured: planted" in told
    [caption] = [table.caption for table in tex_tables(report) if table.name == "costs-measured"]
    assert "v2 and 11 more. box-cpu: the load was 9.0 on 2 cores before it began. box-cpu: so" in caption


def test_a_long_cell_of_a_front_names_three(tree: Any) -> None:
    even = {seed: 84.0 + 0.4 * seed for seed in range(5)}
    for place in range(8):
        scores = {seed: score - 0.01 * place for seed, score in even.items()}
        tree.add_variant(f"v{place}" if place else "baseline", scores, params=1000 + place)
    tree.plan()
    header, [cells, _] = fronts_table(build_report(tree.store, "msa"), measured=False)
    assert cells[header.index("Open")] == (
        "v1 (baseline), v2 (baseline, v1), v3 (baseline, v1 and 1 more) and 4 more"
    )


def test_energy_and_graphs_have_columns_where_they_were_measured(three: Any, measure: Measure) -> None:
    measure("baseline", 1.0)
    assert "graph, ms" not in measured_table(build_report(three.store, "msa"))[0]
    measure("good", 1.0, latency_graph_ms=0.25, image_energy_mj=12.5, energy_means="NVML: an estimate")
    report = build_report(three.store, "msa")
    header, cells = measured_table(report)
    assert [line[header.index("graph, ms")] for line in cells] == ["–", "0.250"]
    assert [line[header.index("mJ an image")] for line in cells] == ["–", "12.5"]
    assert "energy: NVML: an estimate" in measured_notes(report)


def test_json_and_csv_have_every_figure(three: Any, measure: Measure) -> None:
    for variant, latency_ms in (("baseline", 1.0), ("good", 2.0)):
        measure(variant, latency_ms)
    report = build_report(three.store, "msa")
    document = json.loads(render_json(report))
    [first, second, _] = document["variants"]
    assert (first["latency_ms"], second["peak_memory_bytes"]) == (1.0, 4_000_000)
    measured = document["costs"]["measured"]
    assert measured[1]["against"]["ratio"] == report.costs.measured[1].against.ratio  # type: ignore[union-attr]
    lines = list(csv.DictReader(io.StringIO(to_csv(tables(report)["costs"]))))
    assert [(line["variant"], line["machine"], line["latency_verdict"]) for line in lines] == [
        ("baseline", "box-cpu", ""),
        ("good", "box-cpu", "slower"),
    ]
