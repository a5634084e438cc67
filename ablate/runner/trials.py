"""The trials of a study: which there are, what is known of each, and which this run is to train."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ablate.record import PlannedVariant, StudyPlan, TrialRecord
from ablate.runner.job import Job, mark_of
from ablate.runner.pretraining import last_weights_kept
from ablate.runner.surroundings import Surroundings
from ablate.store import Damaged, Store, find_damage, together
from ablate.variants import Variant, changed_fields


@dataclass(frozen=True)
class Trial:
    """One variant with one seed. state: what the store knows. wanted: to be trained by this run.

    changes: why it must run although a trial of this name and seed was done ("train.epochs: 4 -> 5").
    done_before: the id of that trial. weights_lost: it is done, but others start from weights that it did not
    keep.
    """

    variant: Variant
    job: Job
    state: Literal["done", "failed", "pending"]
    selected: bool
    wanted: bool
    changes: tuple[str, ...] = ()
    done_before: str | None = None
    weights_lost: bool = False


@dataclass(frozen=True)
class Asked:
    """What a run was asked for. variants, forced: names. seeds: to train now. all_seeds: of the plan.

    given: the seeds of each variant by name, where a rule gives them out; None: every variant has them all.
    """

    variants: frozenset[str]
    forced: frozenset[str]
    seeds: frozenset[int]
    all_seeds: tuple[int, ...]
    retry_failed: bool
    given: Mapping[str, tuple[int, ...]] | None = None

    def includes(self, variant: Variant, seed: int) -> bool:
        return self.given is None or seed in self.given.get(variant.name, ())


def find_trials(
    around: Surroundings,
    variants: Sequence[Variant],
    pretraining: Sequence[Variant],
    before: StudyPlan | None,
    asked: Asked,
) -> tuple[Trial, ...]:
    """Those of pretrainings first, then breadth first: an interrupted study is then a balanced one.

    before: the plan of the last run. Raises StoreError naming every file that cannot be read.
    """
    earlier = {each.name: each for each in (*before.pretraining, *before.variants)} if before else {}
    torn: list[Damaged] = []
    jobs = {
        job.trial_id: job
        for seed in asked.all_seeds
        for variant in pretraining
        for job in [around.pretraining_job(variant.name, seed)]
    }
    trials = []
    for seed in asked.all_seeds:
        for variant in variants:
            if not asked.includes(variant, seed):
                continue
            job = around.job(variant.settings, seed, variant.id)
            # What a pretraining is may be a variant, too: its weights are needed then.
            job = replace(jobs.get(job.trial_id, job), variant_id=variant.id)
            trial = _known(around.store, variant, job, earlier.get(variant.name), torn)
            selected = variant.name in asked.variants and seed in asked.seeds
            wanted = selected and (_missing(trial, asked) or variant.name in asked.forced)
            trials.append(replace(trial, selected=selected, wanted=wanted))
    first = _pretraining_trials(around, pretraining, trials, earlier, torn, asked)
    if torn:
        raise together((*torn, *(find_damage(around.store, before) if before else ())))
    return (*first, *trials)


def _pretraining_trials(
    around: Surroundings,
    pretraining: Sequence[Variant],
    trials: Sequence[Trial],
    earlier: dict[str, PlannedVariant],
    torn: list[Damaged],
    asked: Asked,
) -> tuple[Trial, ...]:
    """From the last that is started from to the first: each is wanted if what is wanted needs its weights."""
    of_selected = {trial.job.after for trial in trials if trial.selected}
    of_wanted = {trial.job.after for trial in trials if trial.wanted}
    found: dict[tuple[str, int], Trial] = {}
    for variant in reversed(pretraining):
        for seed in asked.all_seeds:
            job = around.pretraining_job(variant.name, seed)
            trial = _known(around.store, variant, job, earlier.get(variant.name), torn)
            named = variant.name in asked.variants and seed in asked.seeds
            lost = trial.state == "done" and not last_weights_kept(job.paths)
            needed = job.trial_id in of_wanted and (lost or _missing(trial, asked))
            concerned = named or job.trial_id in of_selected
            forced = concerned and variant.name in asked.forced
            wanted = needed or forced or (named and _missing(trial, asked))
            if concerned:
                of_selected.add(job.after)
            if wanted:
                of_wanted.add(job.after)
            # One that is not there and that nothing needs any more was not asked for.
            selected = wanted or (concerned and trial.state != "pending")
            found[variant.name, seed] = replace(
                trial, selected=selected, wanted=wanted, weights_lost=needed and lost
            )
    return tuple(found[variant.name, seed] for seed in asked.all_seeds for variant in pretraining)


def once(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Every trial once: variants that differ in the file may come to the same."""
    found: dict[str, Trial] = {}
    for trial in trials:
        found.setdefault(trial.job.trial_id, trial)
    return tuple(found.values())


def in_waves(wanted: Sequence[Trial]) -> tuple[tuple[Trial, ...], ...]:
    """In groups, one to be trained after the other: what leaves weights before what starts from them."""
    leaves_weights = {trial.job.after for trial in wanted}
    waves: list[list[Trial]] = []
    wave_of: dict[str, int] = {}
    rest = []
    for trial in wanted:
        if trial.variant.origin != "pretraining" and trial.job.trial_id not in leaves_weights:
            rest.append(trial)
            continue
        number = wave_of.get(trial.job.after or "", -1) + 1
        wave_of[trial.job.trial_id] = number
        waves += [[] for _ in range(number + 1 - len(waves))]
        waves[number].append(trial)
    return tuple(tuple(wave) for wave in (*waves, rest) if wave)


def _missing(trial: Trial, asked: Asked) -> bool:
    return trial.state == "pending" or (trial.state == "failed" and asked.retry_failed)


def _known(
    store: Store, variant: Variant, job: Job, earlier: PlannedVariant | None, torn: list[Damaged]
) -> Trial:
    """What the store says of it; what cannot be read goes to `torn`."""
    known = was = None
    try:
        known = store.read_trial(job.trial_id)
        was = _last_done(store, earlier, job.seed, job.trial_id) if known is None else None
    except Damaged as damage:
        torn.append(damage)
    return Trial(
        variant=variant,
        job=replace(job, replaces=mark_of(known)),
        state=known.status if known is not None else "pending",
        selected=False,
        wanted=False,
        changes=tuple(changed_fields(was.identity, job.identity)) if was else (),
        done_before=was.id if was else None,
    )


def _last_done(store: Store, earlier: PlannedVariant | None, seed: int, trial_id: str) -> TrialRecord | None:
    """The trial that was last done under this name and seed, if it is now another.

    Of the last plan, or, where that one was never finished, of a plan before it.
    """
    if earlier is None:
        return None
    for earlier_id in (earlier.trials.get(seed), earlier.done_before.get(seed)):
        try:
            record = store.read_trial(earlier_id) if earlier_id not in (None, trial_id) else None
        except Damaged:  # of settings that are no more: nothing of this run depends on it
            continue
        if record is not None and record.status == "done":
            return record
    return None
