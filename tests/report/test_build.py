"""What the rows hold; every rendering reads nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ablate.errors import StoreError
from ablate.record import PlannedDesign, PlannedSweep
from ablate.report import Report, VariantRow, build_report
from ablate.report.method import method_lines


def rows_of(report: Report) -> dict[str, VariantRow]:
    return {row.name: row for row in report.variants}


def even(mean: float, n: int = 5) -> dict[int, float | None]:
    """n scores of this mean, with a standard deviation near 0.3."""
    return {seed: mean + 0.19 * (2 * seed - n + 1) / 2 for seed in range(n)}


def test_a_study_that_was_never_run_is_a_clear_error(tree: Any) -> None:
    with pytest.raises(
        StoreError, match=r"msa/plan\.json does not exist: run the study first \(planned here: none\)"
    ):
        build_report(tree.store, "msa")


def test_the_planted_effects_are_found(msa: Any) -> None:
    report = build_report(msa.store, "msa")
    main = {row.name: row.judgement for row in report.effects if row.kind == "main" and not row.within}
    assert main["multi-scale"].verdict == "better"
    assert main["multi-scale"].low < 1.2 < main["multi-scale"].high
    assert not main["spatial"].verdict.startswith(("better", "worse"))


def test_effects_cost_what_their_parts_cost(msa: Any) -> None:
    report = build_report(msa.store, "msa")
    costs = {(row.name, row.within): (row.param_delta, row.macs_delta) for row in report.effects}
    assert costs["multi-scale", ()] == (5000, 700_000)
    assert costs["channel", ("multi-scale",)] == (300, 600)
    assert costs["channel × spatial", ()] == (0, 0)


def test_families_are_the_variants_and_each_sweep(msa: Any) -> None:
    families: dict[str, list[str]] = {}
    for row in build_report(msa.store, "msa").variants:
        if row.against:
            families.setdefault(row.against.family, []).append(row.name)
    assert {family: len(members) for family, members in families.items()} == {
        "variants": 7,
        "sweep reduction": 3,
        "sweep at": 4,
    }


def test_a_sweep_has_its_start_among_its_levels_by_its_own_value(msa: Any) -> None:
    reduction, at = build_report(msa.store, "msa").sweeps
    assert [(level.value, level.variant.name) for level in reduction.levels][2] == (16.0, "msa")
    assert [level.against is None for level in reduction.levels] == [False, False, True, False]
    early = next(level for level in at.levels if level.label == "early")
    assert early.against and early.against.judgement.verdict == "worse" and early.against.variant == "msa"


def test_seeds_that_are_missing_or_failed_are_counted_apart(tree: Any) -> None:
    tree.add_variant("baseline", even(84))
    tree.add_variant("se", {0: 85.0, 1: None, 2: 85.4})
    tree.plan()
    row = rows_of(build_report(tree.store, "msa"))["se"]
    assert (row.n, row.planned, row.failed) == (2, 5, 1)
    assert [trial.status for trial in row.trials] == ["done", "failed", "done", "pending", "pending"]
    assert row.against and row.against.judgement.verdict == "exploratory"
    assert row.accuracy and row.accuracy.mean == pytest.approx(85.2)


def test_a_twin_that_predicts_the_same_is_a_no_op(tree: Any) -> None:
    tree.add_variant("baseline", even(84))
    tree.add_variant("twin", even(84), twin_of="baseline")
    tree.add_variant("as-good", even(84))  # the same accuracies, other predictions
    tree.plan()
    rows = rows_of(build_report(tree.store, "msa"))
    assert rows["twin"].against and rows["twin"].against.judgement.verdict == "no-op"
    assert rows["as-good"].against and rows["as-good"].against.judgement.verdict != "no-op"


def test_a_twin_must_predict_the_same_with_every_shared_seed(tree: Any) -> None:
    tree.add_variant("baseline", even(84))
    tree.add_variant("twin", even(84) | {4: 84.35}, twin_of="baseline")
    tree.plan()
    row = rows_of(build_report(tree.store, "msa"))["twin"]
    assert row.against and row.against.judgement.verdict == "equivalent"


def test_without_predictions_nothing_is_a_no_op_nor_judged_on_new_images(tree: Any) -> None:
    tree.add_variant("baseline", even(84))
    tree.add_variant("twin", even(84), predictions=False)
    tree.plan()
    row = rows_of(build_report(tree.store, "msa"))["twin"]
    assert row.against and row.against.judgement.verdict != "no-op" and row.against.new_images is None


def test_a_trial_at_chance_did_not_learn_and_is_still_counted(tree: Any) -> None:
    """Chance of ten classes and 2,000 images: 10 + 3 × 0.67 = 12.01 %."""
    tree.add_variant("baseline", even(84))
    tree.add_variant("se", {0: 84.0, 1: 12.0, 2: 12.05, 3: 10.0, 4: 84.2})
    tree.plan()
    row = rows_of(build_report(tree.store, "msa"))["se"]
    assert row.did_not_learn == (1, 3)
    assert row.n == 5 and row.accuracy and row.accuracy.mean == pytest.approx(40.45)


def test_mixed_versions_and_devices_are_marked_and_gpu_numbers_are_not(tree: Any) -> None:
    gpu = {"device": "cuda:0", "device_name": "H100"}
    tree.add_variant("baseline", even(84), environment=tree.environment(**gpu))
    tree.add_variant("next-gpu", even(84), environment=tree.environment(device="cuda:1", device_name="H100"))
    tree.add_variant("new-torch", even(84), environment=tree.environment(**gpu, torch="2.7.0"))
    tree.add_variant("cpu", even(84))
    tree.plan()
    rows = rows_of(build_report(tree.store, "msa"))
    assert {name: row.mixed for name, row in rows.items()} == {
        "baseline": (),
        "next-gpu": (),
        "new-torch": ("torch",),
        "cpu": ("device", "device_name"),
    }


def test_trials_of_several_processes_are_said_and_a_comparison_with_others_is_marked(tree: Any) -> None:
    tree.add_variant("baseline", even(84))
    tree.add_variant("se", even(85), environment=tree.environment(processes=4))
    tree.plan()
    report = build_report(tree.store, "msa")
    assert rows_of(report)["se"].mixed == ("processes",)
    said = [line for line in method_lines(report) if line.startswith("Machine (")]
    shared = "1 thread a process, deterministic algorithms not enforced; each trial by 4 processes that share"
    assert ["processes" in line for line in said] == [False, True]
    assert shared in said[1] and "1 thread a trial, " in said[0]


def test_a_split_per_seed_makes_pairs_the_main_test(tree: Any) -> None:
    """Seeds differ by ten points, the variants by 0.6: only pairs can see it."""
    tree.split = "per-seed"
    base = {seed: 70.0 + 5 * seed for seed in range(5)}
    tree.add_variant("baseline", base)
    tree.add_variant("se", {seed: score + 0.55 + 0.02 * seed for seed, score in base.items()})
    tree.plan()
    report = build_report(tree.store, "msa")
    row = rows_of(report)["se"]
    assert report.procedure.test == "paired" and report.per_seed_split
    assert row.against and row.against.judgement.verdict == "better"


def test_a_missing_cell_is_named_and_the_effects_without_it_still_stand(msa: Any) -> None:
    channel = next(variant for variant in msa.plan().variants if variant.name == "channel")
    for trial in channel.trials.values():
        msa.store.trial(trial).record.unlink()
    report = build_report(msa.store, "msa")
    over_all = [row for row in report.effects if row.kind in ("main", "interaction") and not row.within]
    assert {row.reason for row in over_all} == {"cannot be estimated: no finished trial of channel"}
    assert {row.judgement.verdict for row in over_all} == {"undecidable"}
    assert not any(row.missing for row in report.effects if row.within)
    assert [row.name for row in report.effects if row.view and row.missing] == ["channel"]  # alone


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("leave-one-out", [(("a", "b"), "both"), (("b",), "b"), (("a",), "a")]),
        ("add-one", [((), "baseline"), (("a",), "a"), (("b",), "b")]),
    ],
)
def test_views_of_a_design_give_each_part_s_effect_the_same_sign(
    tree: Any, kind: str, cells: list[Any]
) -> None:
    tree.add_variant("baseline", even(84))
    tree.add_variant("a", even(86), params=281_000)
    tree.add_variant("b", even(83), params=280_100)
    tree.add_variant("both", even(85), params=281_100)
    tree.designs = [PlannedDesign(kind=kind, start="both", factors=("a", "b"), cells=tuple(cells))]
    tree.plan()
    effects = {row.name: row for row in build_report(tree.store, "msa").effects}
    assert {name: row.judgement.evidence.estimate.value for name, row in effects.items()} == pytest.approx(
        {"a": 2, "b": -1}
    )
    assert {name: row.judgement.verdict for name, row in effects.items()} == {"a": "better", "b": "worse"}
    assert {name: row.param_delta for name, row in effects.items()} == {"a": 1000, "b": 100}


def test_two_sweeps_of_one_name_are_told_apart(tree: Any) -> None:
    tree.add_variant("baseline", even(84))
    for start in ("se", "msa"):
        tree.add_variant(start, even(85))
        tree.add_variant(f"{start} ratio=4", even(85), origin="sweep")
        tree.sweeps.append(
            PlannedSweep(
                name="ratio", setting="x", start=start, levels=(("4", f"{start} ratio=4"),), numeric=True
            )
        )
    tree.plan()
    sweeps = build_report(tree.store, "msa").sweeps
    assert [sweep.name for sweep in sweeps] == ["ratio from se", "ratio from msa"]
    assert len({sweep.file_name for sweep in sweeps}) == 2


def test_rows_cannot_be_changed(msa: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        build_report(msa.store, "msa").study = "other"  # type: ignore[misc]
