"""What a study asks for and what is left of it: variants inspected, trials identified and looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.controls import Controlled, describe_control
from ablate.environment import resolve_device
from ablate.errors import DataError, Problems, StudyError, did_you_mean
from ablate.record import Environment, PlannedLooks, PlannedVariant, StudyPlan
from ablate.runner.inspection import add_controls, inspect_all, line_of, no_ops, with_defaults
from ablate.runner.patience import NOBODY, Teller, patience
from ablate.runner.planned import record_of
from ablate.runner.pretraining import check_starts, pretraining_used
from ablate.runner.recall import Recall
from ablate.runner.sharing import check_sharing, refuse_device
from ablate.runner.surroundings import Surroundings
from ablate.runner.trials import Asked, Trial, find_trials, in_waves, once
from ablate.spec import Study, unsupported
from ablate.store import Store
from ablate.variants import Expansion, Variant, expand, source_fingerprints

if TYPE_CHECKING:
    from ablate.data import Images
    from ablate.trial import Inspection

MIN_SEEDS_FOR_A_VERDICT = 5
_COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Ground:
    """What planning finds out once, however often it looks the trials up after that.

    chosen: names of the variants to train. before: the plan of the last run. rule: that gives the seeds out,
    if one does. notes: to be told with the plan.
    """

    study: Study
    store: Store
    around: Surroundings
    controlled: Controlled
    pretraining: tuple[Variant, ...]
    inspections: dict[str, Inspection]
    images: dict[str, Images]
    chosen: frozenset[str]
    before: StudyPlan | None
    rule: PlannedLooks | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A study, held against the store.

    trials: breadth first, seed by seed, variants in the order of the study; those of pretrainings before all
    others. inspections, images: by variant name; images are shared where the data are. pretraining: those
    that a variant starts from.
    """

    study: Study
    store: Store
    record: StudyPlan
    variants: tuple[Variant, ...]
    inspections: dict[str, Inspection]
    images: dict[str, Images]
    trials: tuple[Trial, ...]
    device: str
    environment: Environment
    warnings: tuple[str, ...] = ()
    pretraining: tuple[Variant, ...] = ()
    ground: Ground | None = None
    asked: Asked | None = None

    @property
    def waves(self) -> tuple[tuple[Trial, ...], ...]:
        """Those to train now, in groups of which each has to end before the next begins."""
        return in_waves(self.wanted)

    @property
    def wanted(self) -> tuple[Trial, ...]:
        """Those to train now, in the order in which they start."""
        return once(trial for trial in self.trials if trial.wanted)

    @property
    def selected(self) -> tuple[Trial, ...]:
        """Those that this run was asked for, finished or not."""
        return once(trial for trial in self.trials if trial.selected)

    @property
    def chosen(self) -> frozenset[str]:
        """Names of the variants that this run was asked for; in a study of costs alone none has a trial."""
        if not self.trials and self.asked is not None:
            return self.asked.variants
        return frozenset(trial.variant.name for trial in self.selected)

    @property
    def distinct(self) -> tuple[Trial, ...]:
        """Every trial once: variants that differ in the file may be one here (precision auto, fp32)."""
        return once(self.trials)

    def planned(self, name: str) -> PlannedVariant:
        known = (*self.record.variants, *self.record.pretraining)
        return next(variant for variant in known if variant.name == name)


def plan_study(
    study: Study,
    *,
    output: str | Path = "results",
    seeds: Sequence[int] | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    device: str = "auto",
    retry_failed: bool = False,
    force: Sequence[str] = (),
    until_decided: bool = False,
    gpus_per_trial: int = 1,
    elsewhere: bool = False,
    tell: Teller = NOBODY,
) -> Plan:
    """Inspect every variant and find what is left to train. Writes nothing.

    seeds: those to train now. only, exclude: globs over names of variants, likewise. All three limit what is
    trained, while the plan keeps the whole study, and seeds beyond the study's join it; what a variant starts
    from is trained with it. retry_failed: failed trials are wanted again. force: globs; these are wanted
    although done. only, force: over names of pretrainings as well. until_decided: seeds are given out by the
    looks at the results; a study that was begun so goes on so. gpus_per_trial: as many processes train each
    trial together. elsewhere: on other machines than this, whose GPUs are not known here. tell: of each step
    as it begins, and when it takes long, since the user's own code runs in it. Raises StudyError with every
    fault of the study, DataError, MachineError, StoreError.
    """
    store, recall = Store(output), Recall.usual()
    before = store.read_plan(study.name)
    around = Surroundings(store, resolve_device(device), processes=gpus_per_trial)
    refuse_device(around.device, device, gpus_per_trial, elsewhere=elsewhere)
    expansion = expand(study, precision=around.precision)
    pretraining = pretraining_used(expansion)
    around.pretraining = {variant.name: variant for variant in pretraining}
    problems = Problems(unsupported(study))
    # Controls have their names before anything is built, so that a slip on the command line shows at once.
    named = (*expansion.variants, *(Variant(c.name(study.baseline), study.defaults) for c in study.controls))
    chosen = _select(named, pretraining, only, exclude, problems)
    forced = _matching((*named, *pretraining), "--force", force, problems)
    to_train = [variant for variant in named if variant.name in chosen]
    check_sharing(study, (*pretraining, *to_train), gpus_per_trial, problems)
    inspected = with_defaults(study, (*pretraining, *expansion.variants))
    with patience("reading the images", tell):
        images = _images(study, around, inspected, problems)
    had = [one for one in inspected if one.name in images]
    inspections = inspect_all(study, had, images, problems, recall, tell)
    problems.raise_if_any()
    check_starts(study, expansion.variants, pretraining, images, problems, recall)
    problems.raise_if_any()
    with patience("searching for the width of the controls", tell if study.controls else NOBODY):
        controlled = add_controls(study, expansion, inspections, images, recall)
    expansion = controlled.expansion
    rule = None
    if until_decided or (before is not None and before.until_decided is not None):
        from ablate.runner.looks import make_rule  # and with it the statistics, which take a while to load

        rule = make_rule(study, expansion, before, seeds=seeds, force=force, asked_for=until_decided)
    own_seeds = study.seeds if rule is None else rule.seeds
    asked = Asked(
        variants=_as_known(expansion, chosen),
        forced=_as_known(expansion, forced),
        seeds=frozenset(own_seeds if seeds is None else seeds),
        all_seeds=tuple(dict.fromkeys((*own_seeds, *(seeds or ())))),
        retry_failed=retry_failed,
        given=None if rule is None else _first_seeds(rule, study.baseline),
    )
    with patience("comparing variants that cost the same", tell):
        alike = no_ops(expansion.variants, inspections, images, recall)
    ground = Ground(
        study=study,
        store=store,
        around=around,
        controlled=controlled,
        pretraining=pretraining,
        inspections=inspections,
        images=images,
        chosen=chosen,
        before=before,
        rule=rule,
        notes=(
            *(_describe_rule(rule, study, before) if rule else ()),
            *controlled.warnings,
            *map(describe_control, controlled.controls),
            *alike,
        ),
    )
    return settled(plan_trials(ground, asked))


def _first_seeds(rule: PlannedLooks, baseline: str) -> Mapping[str, tuple[int, ...]]:
    from ablate.runner.looks import first_seeds

    return first_seeds(rule, baseline)


def _describe_rule(rule: PlannedLooks, study: Study, before: StudyPlan | None) -> list[str]:
    from ablate.runner.looks import describe_rule

    return describe_rule(rule, study, before)


def plan_trials(ground: Ground, asked: Asked) -> Plan:
    """Look every trial up: which there are, and which of them this run is to train."""
    study, around, expansion = ground.study, ground.around, ground.controlled.expansion
    trials = find_trials(around, expansion.variants, ground.pretraining, ground.before, asked)
    return Plan(
        study=study,
        store=ground.store,
        record=record_of(
            study,
            expansion,
            ground.pretraining,
            trials,
            ground.inspections,
            ground.images,
            controls=ground.controlled.controls,
            until_decided=ground.rule,
            before=ground.before,
        ),
        variants=expansion.variants,
        inspections=ground.inspections,
        images=ground.images,
        trials=trials,
        device=around.device,
        environment=around.environment(),
        warnings=(
            *_warnings(study, trials, ground.images, ground.chosen, by_rule=ground.rule is not None),
            *_notes(expansion, ground.pretraining, trials),
            *ground.notes,
        ),
        pretraining=ground.pretraining,
        ground=ground,
        asked=asked,
    )


def settled(plan: Plan) -> Plan:
    """Where a rule gives the seeds out: with all that the trials finished so far entitle each variant to."""
    while plan.ground is not None and plan.ground.rule is not None and plan.asked is not None:
        from ablate.report.build import report_of

        found = report_of(plan.store, plan.record).looks.until_decided
        given = plan.asked.given if found is None else found.given()
        if given is None or given == plan.asked.given:
            break
        asked = replace(plan.asked, given=given)
        plan = plan_trials(plan.ground, asked)
    return plan


def next_stage(plan: Plan, say: Callable[[str], None]) -> tuple[Plan, bool]:
    """After all that was wanted has ended: the plan that follows from it, written, and whether it goes on.

    say: told what the looks decided. Without a rule nothing follows.
    """
    if plan.ground is None or plan.ground.rule is None or plan.asked is None:
        return plan, False
    from ablate.report.build import report_of
    from ablate.report.looks import note_look
    from ablate.runner.looks import stage_sentences

    report = report_of(plan.store, plan.record)
    note_look(plan.store, report)
    for sentence in stage_sentences(report) if plan.wanted else ():
        say(sentence)
    # What failed in this run has been tried: another attempt is the user's to ask for.
    asked = replace(plan.asked, retry_failed=False)
    further = settled(plan_trials(plan.ground, asked))
    further.store.write_plan(further.record)
    wanted = {trial.job.trial_id for trial in further.wanted}
    return further, bool(wanted - {trial.job.trial_id for trial in plan.wanted})


def _images(
    study: Study, around: Surroundings, variants: Sequence[Variant], problems: Problems
) -> dict[str, Images]:
    """By name of the variant; those whose data or whose own modules are not to be had are left out."""
    from ablate.data.images import UnknownClass

    found: dict[str, Images] = {}
    for variant in variants:
        try:
            source_fingerprints(variant.settings)
        except StudyError:
            continue  # `unsupported` has said it, with the line
        try:
            found[variant.name] = around.images(variant.settings)
        except DataError as error:
            setting = "data.classes" if isinstance(error, UnknownClass) else "data.source"
            # Sources that lack the same files are one fault, told with the first line that asks for them.
            if all(problem.message != str(error) for problem in problems.found):
                problems.add(str(error), where=line_of(study, variant, setting))
    return found


# Which variants


def _select(
    variants: Sequence[Variant],
    pretraining: Sequence[Variant],
    only: Sequence[str],
    exclude: Sequence[str],
    problems: Problems,
) -> frozenset[str]:
    names = {variant.name for variant in variants}
    everything = (*variants, *pretraining)
    kept = _matching(everything, "--only", only, problems) if only else frozenset(names)
    kept -= _matching(variants, "--exclude", exclude, problems)
    if not kept and not problems.found:
        problems.add("--only and --exclude leave no variant", where=_COMMAND_LINE, allowed=sorted(names))
    return kept


def _matching(
    variants: Sequence[Variant], option: str, globs: Sequence[str], problems: Problems
) -> frozenset[str]:
    """Names of the variants whose name or alias matches; a glob that matches nothing is a fault."""
    found: set[str] = set()
    known = [name for variant in variants for name in (variant.name, *variant.aliases)]
    for glob in globs:
        matched = {
            variant.name
            for variant in variants
            if any(fnmatchcase(name, glob) for name in (variant.name, *variant.aliases))
        }
        if not matched:
            hint = did_you_mean(glob, known)
            problems.add(
                f"{option} {glob!r} matches no variant", where=_COMMAND_LINE, allowed=known, hint=hint
            )
        found |= matched
    return frozenset(found)


def _as_known(expansion: Expansion, names: frozenset[str]) -> frozenset[str]:
    """A control that is a variant already goes by that one's name; a pretraining keeps its own."""
    return frozenset(found.name if (found := expansion.find(name)) else name for name in names)


def _warnings(
    study: Study,
    trials: Sequence[Trial],
    images: dict[str, Images],
    chosen: frozenset[str],
    *,
    by_rule: bool,
) -> tuple[str, ...]:
    found: list[str] = []
    seeds = len({trial.job.seed for trial in trials})
    if 0 < seeds < MIN_SEEDS_FOR_A_VERDICT and not by_rule:
        meaning = "one seed never yields a verdict" if seeds == 1 else "its comparisons are exploratory"
        found.append(
            f"{seeds} seed{'s' if seeds > 1 else ''}: {meaning}; a verdict needs {MIN_SEEDS_FOR_A_VERDICT}"
        )
    for data in {id(data.whole): data.whole for data in images.values()}.values():
        if data.duplicate_count:
            found.append(
                f"{data.source}: {data.duplicate_count} of {len(data.test)} test images also stand among "
                "the training images, pixel by pixel"
            )
    to_come = any(t.variant.name == study.baseline and t.state != "done" for t in trials)
    if study.baseline not in chosen and to_come:
        found.append(
            f"the baseline {study.baseline!r} is left out: nothing can be compared with it until it is run"
        )
    return tuple(found)


def _notes(expansion: Expansion, pretraining: Sequence[Variant], trials: Sequence[Trial]) -> tuple[str, ...]:
    """What is to be known of the pretrainings."""
    found = [
        f"the pretraining {variant.name!r} is not trained: no variant starts from it"
        for variant in expansion.pretraining
        if variant not in pretraining
    ]
    for variant in pretraining:
        lost = [str(t.job.seed) for t in trials if t.variant is variant and t.weights_lost]
        if lost:
            found.append(
                f"the pretraining {variant.name!r} was trained without keeping the weights of its last "
                f"epoch, and is trained again for them: seed{'s' if len(lost) > 1 else ''} {', '.join(lost)}"
            )
    return tuple(found)
