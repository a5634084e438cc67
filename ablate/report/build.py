"""Plan and records become the rows of a report. Nothing is rendered here.

Families, each corrected on its own: the claims, the effects of a design (those within its first factor
apart, and each view of it), each sweep's levels against the sweep's start, each sweep's levels against the
baseline, variants against their controls, the controls against the baseline, and all other variants against
the baseline.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from ablate.errors import StoreError
from ablate.record import CostRecord, StudyPlan
from ablate.report import looks, tuning
from ablate.report.captions import figures_of
from ablate.report.claims import claim_rows
from ablate.report.comparisons import Comparisons
from ablate.report.controls import FAMILY, control_rows, sides
from ablate.report.costs import cost_rows
from ablate.report.curves import curve_rows
from ablate.report.effects import design_effects, without_dunnett
from ablate.report.pace import pace_of
from ablate.report.post_hoc import post_hoc
from ablate.report.pretraining import pretraining_rows
from ablate.report.rows import Against, EffectRow, Report, SweepRows, VariantRow
from ablate.report.sweeps import sweep_name, sweep_rows
from ablate.report.trials import Trials, variant_row
from ablate.stats import Comparison, Estimate, Procedure
from ablate.store import Store


def build_report(store: Store, study_name: str) -> Report:
    """The report of a planned study from what is in the results tree, finished or not."""
    plan = store.read_plan(study_name)
    if plan is None:
        known = ", ".join(store.studies()) or "none"
        raise StoreError(
            f"{store.study(study_name).plan} does not exist: run the study first (planned here: {known})"
        )
    return report_of(store, plan)


def report_of(store: Store, plan: StudyPlan) -> Report:
    """The report of a plan, which need not be written yet."""
    procedure, per_seed = read_procedure(plan)
    trials = Trials(store, plan)
    rows = {variant.name: variant_row(store, variant, trials, procedure) for variant in plan.variants}
    costs = _costs_of(store, plan)
    predictions = {name: trials.predictions(row) for name, row in rows.items()}
    comparisons = Comparisons(predictions, trials.records, procedure)
    _compare_with_baseline(plan, rows, comparisons)
    rule = looks.until_decided(plan, rows, comparisons, procedure)
    if rule is not None:
        _go_by_rule(rule, rows, comparisons, procedure)
    sweeps = tuple(sweep_rows(plan, position, rows, comparisons) for position in range(len(plan.sweeps)))
    effects = tuple(
        row
        for design in plan.designs
        for row in design_effects(design, rows, procedure, comparisons.same, costs)
    )
    judged = comparisons.pairs(FAMILY, sides(plan.controls, rows), without_dunnett(procedure))
    if rule is not None:
        sweeps, effects, judged = _exploratory(sweeps, effects, judged)
    variants = tuple(rows.values())
    cost = cost_rows(variants, plan.baseline, procedure, costs)
    claims = claim_rows(plan, rows, sweeps, procedure, comparisons, costs, rule)
    if not any(row.planned for row in variants):  # of a study of costs alone claims are what is judged
        variants = tuple(replace(row, against=None) for row in variants)
        sweeps, effects, judged = (), (), []
    tuned = tuning.read_tuning(store, plan.study)
    return Report(
        study=plan.study,
        title=plan.title or plan.study,
        baseline=plan.baseline,
        metric="accuracy",
        seeds=plan.seeds,
        procedure=procedure,
        per_seed_split=per_seed,
        data=_data(plan, trials),
        recipe=plan.recipe,
        variants=variants,
        effects=effects,
        sweeps=tuple(sweeps),
        claims=claims,
        environments=trials.environments(),
        planned_at=_to_seconds(plan.planned),
        figures=(
            *figures_of(
                variants, plan.baseline, claims, effects, sweeps, cost, have_curves=trials.have_curves()
            ),
            *(tuning.figures(tuned) if tuned is not None else ()),
        ),
        controls=control_rows(plan.controls, rows, judged) if judged else (),
        twins=comparisons.twins(variants),
        pretraining=pretraining_rows(store, plan, procedure),
        curves=curve_rows(store, variants, trials.records),
        costs=cost,
        looks=looks.Looks(plan.looks, post_hoc(plan), rule),
        pace=pace_of(plan, rows, trials.records.values()),
        look_page=store.study(plan.study).look_html.is_file(),
        tuning=tuned,
        promoted=tuning.read_promoted(store, plan.study),
        scope=plan.scope,
    )


def _go_by_rule(
    rule: looks.UntilDecided, rows: dict[str, VariantRow], comparisons: Comparisons, procedure: Procedure
) -> None:
    """Verdicts against the baseline come from the rule that gave the seeds out."""
    base = rows[rule.baseline]
    for found in rule.variants:
        row = rows[found.variant]

        def at_look(n: int, row: VariantRow = row) -> tuple[Comparison, Estimate | None]:
            return comparisons.of_seeds(row, base, rule.seeds[:n])

        if row.against is not None:
            against = looks.judged_by_rule(row.against, found, procedure, at_look)
            rows[row.name] = replace(row, against=against)


def _exploratory(
    sweeps: Sequence[SweepRows], effects: Sequence[EffectRow], judged: Sequence[Against]
) -> tuple[tuple[SweepRows, ...], tuple[EffectRow, ...], list[Against]]:
    """What a rule that gave the seeds out has not decided."""
    return (
        tuple(
            replace(
                sweep,
                levels=tuple(
                    replace(level, against=level.against and looks.unplanned(level.against))
                    for level in sweep.levels
                ),
            )
            for sweep in sweeps
        ),
        tuple(
            replace(
                row,
                judgement=looks.exploratory(row.judgement),
                reason=row.reason if row.missing else looks.UNPLANNED,
            )
            for row in effects
        ),
        [looks.unplanned(against) for against in judged],
    )


def read_procedure(plan: StudyPlan) -> tuple[Procedure, bool]:
    """How the plan says to judge; and whether each seed has a split of its own, which asks for pairs."""
    said, defaults = plan.analysis, Procedure()
    overridden = (variant.settings.get("data.split") for variant in plan.variants)
    per_seed = "per-seed" in (plan.recipe.get("data", {}).get("split"), *overridden)
    procedure = Procedure(
        test="paired" if per_seed else said.get("test", "welch"),
        correction=said.get("correction") or "none",
        margin=float(said.get("margin", defaults.margin)),
        level=float(said.get("level", defaults.level)),
    )
    return procedure, per_seed


def _compare_with_baseline(plan: StudyPlan, rows: dict[str, VariantRow], comparisons: Comparisons) -> None:
    """Levels are corrected with their sweep (the first, where several hold one), all others together.

    But for controls, which are there to be compared with: more of them must not cost the variants power.
    """
    family_of = {name: "controls" if row.origin == "control" else "variants" for name, row in rows.items()}
    for position in reversed(range(len(plan.sweeps))):
        for _, name in plan.sweeps[position].levels:
            if name in rows and rows[name].origin == "sweep":
                family_of[name] = f"sweep {sweep_name(plan, position)}"
    baseline = rows[plan.baseline]
    for family in dict.fromkeys(family_of.values()):
        members = [rows[name] for name in rows if family_of[name] == family and name != plan.baseline]
        for row, against in zip(members, comparisons.family(family, members, baseline), strict=True):
            rows[row.name] = replace(row, against=against)
    for name, row in rows.items():
        rows[name] = replace(row, mixed=comparisons.mixed([row, baseline]))


def _to_seconds(date: str) -> str:
    """2025-01-01T00:00:00.123+00:00 without its thousandths."""
    return re.sub(r"(?<=:\d\d)\.\d+", "", date)


def _costs_of(store: Store, plan: StudyPlan) -> Callable[[str], Sequence[CostRecord]]:
    ids = {variant.name: variant.cost_id for variant in plan.variants}
    return cache(lambda name: store.read_costs(ids[name]))


def _data(plan: StudyPlan, trials: Trials) -> dict[str, Any]:
    """The plan's account of the data, with the counts of a finished trial where the plan leaves them out."""
    ids = next(variant.trials for variant in plan.variants if variant.name == plan.baseline)
    record = next((trials.records[i] for i in ids.values() if i in trials.records), None)
    counts = ("train_count", "validation_count", "test_count")
    counted = {key: getattr(record, key) for key in counts if record is not None}
    return counted | {key: value for key, value in plan.data.items() if value is not None}
