"""What the variants of a study cost, measured once a variant and machine, when no worker runs.

Counts, of every variant; then memory, latency and throughput of those that were asked for and the baseline.
Latencies are compared only within one session, in which all are timed in turns: if no session holds all of
them, all are timed anew, since a second or so of each buys comparisons of any two. Records keep the rounds of
earlier sessions, so that a study which shares its baseline with this one loses nothing by it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ablate.bench import (
    Conditions,
    Footprint,
    Subject,
    footprint,
    known_footprint,
    measure,
    study_subjects,
    write_costs,
)
from ablate.display import Display
from ablate.errors import StoreError
from ablate.record import CostRecord
from ablate.runner.plan import Plan
from ablate.runner.surroundings import Surroundings

# Seconds that measuring one variant may take, roughly: a fiftieth of one of its trials, within these bounds.
SHARE_OF_A_TRIAL = 1 / 50
LEAST_S, MOST_S = 3.0, 60.0


def measure_costs(plan: Plan, display: Display) -> None:
    """In this process. A network that cannot be measured is a note, for its trials are done. Raises
    StoreError.
    """
    count_all(plan, display)
    measure_together(plan, display)


def count_all(plan: Plan, display: Display) -> None:
    """Parameters and MACs of every variant that has no record of this machine."""
    from ablate.trial import measure_cost

    around = Surroundings(plan.store, plan.device)
    lacking = [variant for variant in plan.variants if _record(plan, variant.name) is None]
    if lacking:
        display.note(f"counting the parameters and MACs of {_variants(lacking)}")
    for variant in lacking:
        images = plan.images[variant.name]
        cost = measure_cost(
            variant.settings,
            image_shape=images.shape,
            classes=len(images.classes),
            environment=around.environment(deterministic=variant.settings.train.deterministic),
        )
        plan.store.write_cost(cost.model_copy(update={"id": plan.planned(variant.name).cost_id}))


def measure_together(plan: Plan, display: Display) -> None:
    """Memory, latency and throughput of the variants that were asked for, and of the baseline."""
    conditions = Conditions(device=plan.device, limit_s=limit_s(plan))
    footprints: dict[str, Footprint] = {}
    records: list[CostRecord] = []
    subjects: list[Subject] = []
    told = False
    for subject in _subjects(plan):
        record = _record(plan, subject.name)
        known = None if record is None else _still_true(record, subject)
        if known is None and not told:
            display.note("measuring the memory of the variants")
            told = True
        found = known or _tried(subject, conditions, display)
        if found is not None and record is not None:
            footprints[subject.name] = found
            records.append(record)
            subjects.append(subject)
    if not subjects or (not told and timed_together(records)):
        return
    turns = ", in turns" if len(subjects) > 1 else ""
    display.note(f"measuring the latency of {_variants(subjects)}{turns}")
    try:
        bench = measure(subjects, conditions, known=footprints)
    except StoreError:
        raise
    except Exception as error:  # as in `_tried`
        display.note(f"no latency was measured: {_said(error)}")
        return
    write_costs(plan.store, bench, subjects)
    for sign in bench.contention[:1]:
        display.note(f"latencies are less than certain: {sign}")


def _variants(found: Sequence[object]) -> str:
    return f"{len(found)} variant{'s' if len(found) != 1 else ''}"


def timed_together(records: Sequence[CostRecord]) -> bool:
    """Whether one session timed them all."""
    return bool(set.intersection(*(set(record.sessions) for record in records)))


def limit_s(plan: Plan) -> float:
    """Of one variant: in proportion to its training, so that the costs of a study stay a small part of it.

    Where nothing is trained they are what is asked for.
    """
    if not plan.trials:
        return MOST_S
    taken = [
        record.wall_s
        for trial in plan.selected
        if (record := plan.store.read_trial(trial.job.trial_id)) is not None and record.status == "done"
    ]
    share = SHARE_OF_A_TRIAL * statistics.median(taken) if taken else 0.0
    return min(MOST_S, max(LEAST_S, share))


def _subjects(plan: Plan) -> tuple[Subject, ...]:
    chosen = plan.chosen | {plan.study.baseline}
    return study_subjects(
        (variant for variant in plan.variants if variant.name in chosen),
        plan.images,
        {variant.name: plan.planned(variant.name).cost_id for variant in plan.variants},
    )


def _still_true(record: CostRecord, subject: Subject) -> Footprint | None:
    """What a record tells; None where it tells too little, or of a training step of another batch."""
    found = known_footprint(record)
    batch = None if subject.settings is None else subject.settings.train.batch_size
    return found if found is not None and found.train_batch == batch else None


def _tried(subject: Subject, conditions: Conditions, display: Display) -> Footprint | None:
    from ablate.measure.calls import with_threads

    try:
        with with_threads(conditions.threads):
            return footprint(subject, conditions)
    except StoreError:
        raise
    except Exception as error:
        # The network is the user's code, which may fail in any way on one image or in evaluation; its trials
        # are done, and a figure that cannot be had is no reason to lose the report.
        display.note(f"{subject.name}: neither memory nor latency was measured: {_said(error)}")
        return None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _record(plan: Plan, name: str) -> CostRecord | None:
    """Of this machine."""
    records = plan.store.read_costs(plan.planned(name).cost_id)
    return next((record for record in records if record.machine == plan.environment.machine), None)
