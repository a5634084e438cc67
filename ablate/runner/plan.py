"""What a study asks for and what is left of it: variants inspected, trials identified and looked up."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.controls import describe_control
from ablate.environment import require_torch, require_torchvision, resolve_device
from ablate.errors import DataError, Problems, StudyError, did_you_mean
from ablate.record import Environment, PlannedVariant, StudyPlan
from ablate.runner.inspection import add_controls, inspect_all, line_of, no_ops, with_defaults
from ablate.runner.job import Job
from ablate.runner.patience import patience
from ablate.runner.pretraining import check_starts, pretraining_used
from ablate.runner.surroundings import Surroundings
from ablate.runner.trials import Asked, Trial, find_trials, in_waves, once
from ablate.spec import Study, unsupported
from ablate.store import Store
from ablate.variants import (
    Expansion,
    Variant,
    canonical,
    cost_id,
    expand,
    source_fingerprints,
)

if TYPE_CHECKING:
    from ablate.data import Images
    from ablate.trial import Inspection

MIN_SEEDS_FOR_A_VERDICT = 5
_COMMAND_LINE = "command line"


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
    say: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Inspect every variant and find what is left to train. Writes nothing.

    seeds: those to train now. only, exclude: globs over names of variants, likewise. All three limit what is
    trained, while the plan keeps the whole study, and seeds beyond the study's join it; what a variant starts
    from is trained with it. retry_failed: failed trials are wanted again. force: globs; these are wanted
    although done. only, force: over names of pretrainings as well. say: told when a step takes long, since
    the user's own code runs in it. Raises StudyError with every fault of the study, DataError, MachineError,
    StoreError.
    """
    require_torch()
    require_torchvision()
    store = Store(output)
    before = store.read_plan(study.name)
    around = Surroundings(store, resolve_device(device))
    expansion = expand(study, precision=around.precision)
    pretraining = pretraining_used(expansion)
    around.pretraining = {variant.name: variant for variant in pretraining}
    problems = Problems(unsupported(study))
    # Controls have their names before anything is built, so that a slip on the command line shows at once.
    named = (*expansion.variants, *(Variant(c.name(study.baseline), study.defaults) for c in study.controls))
    chosen = _select(named, pretraining, only, exclude, problems)
    forced = _matching((*named, *pretraining), "--force", force, problems)
    inspected = with_defaults(study, (*pretraining, *expansion.variants))
    with patience("reading the images", say):
        images = _images(study, around, inspected, problems)
    had = [one for one in inspected if one.name in images]
    inspections = inspect_all(study, had, images, problems, say)
    problems.raise_if_any()
    check_starts(study, expansion.variants, pretraining, images, problems)
    problems.raise_if_any()
    with patience("searching for the width of the controls", say):
        controlled = add_controls(study, expansion, inspections, images)
    expansion = controlled.expansion
    asked = Asked(
        variants=_as_known(expansion, chosen),
        forced=_as_known(expansion, forced),
        seeds=frozenset(study.seeds if seeds is None else seeds),
        all_seeds=tuple(dict.fromkeys((*study.seeds, *(seeds or ())))),
        retry_failed=retry_failed,
    )
    with patience("comparing variants that cost the same", say):
        alike = no_ops(expansion.variants, inspections, images)
    trials = find_trials(around, expansion.variants, pretraining, before, asked)
    return Plan(
        study=study,
        store=store,
        record=_record(study, expansion, pretraining, trials, inspections, images).model_copy(
            update={"controls": controlled.controls}
        ),
        variants=expansion.variants,
        inspections=inspections,
        images=images,
        trials=trials,
        device=around.device,
        environment=around.environment(),
        warnings=(
            *_warnings(study, trials, images, chosen),
            *_notes(expansion, pretraining, trials),
            *controlled.warnings,
            *map(describe_control, controlled.controls),
            *alike,
        ),
        pretraining=pretraining,
    )


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
    study: Study, trials: Sequence[Trial], images: dict[str, Images], chosen: frozenset[str]
) -> tuple[str, ...]:
    found: list[str] = []
    seeds = len({trial.job.seed for trial in trials})
    if seeds < MIN_SEEDS_FOR_A_VERDICT:
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
    if study.baseline not in chosen:
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


# The plan as a record


def _record(
    study: Study,
    expansion: Expansion,
    pretraining: Sequence[Variant],
    trials: Sequence[Trial],
    inspections: dict[str, Inspection],
    images: dict[str, Images],
) -> StudyPlan:
    of: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        of[trial.variant.name].append(trial)
    analysis = study.analysis.model_dump(mode="json")
    claims = tuple(claim.model_dump(mode="json", exclude_none=True) for claim in study.claims)
    content = json.dumps({"analysis": analysis, "claims": claims}, sort_keys=True)
    return StudyPlan(
        study=study.name,
        title=study.title,
        baseline=study.baseline,
        seeds=tuple(dict.fromkeys(trial.job.seed for trial in trials)),
        variants=tuple(
            _planned(variant, of[variant.name], inspections[variant.name], images[variant.name])
            for variant in expansion.variants
        ),
        pretraining=tuple(
            _planned(variant, of[variant.name], inspections[variant.name], images[variant.name])
            for variant in pretraining
        ),
        sweeps=expansion.sweeps,
        designs=expansion.designs,
        claims=claims,
        analysis=analysis,
        analysis_hash=hashlib.sha256(content.encode()).hexdigest(),
        planned=datetime.now(UTC).isoformat(timespec="seconds"),
        data=_data(expansion.variants[0], images[expansion.variants[0].name]),
        recipe=_recipe(study, of[study.baseline][0].job),
    )


def _planned(
    variant: Variant, trials: Sequence[Trial], inspection: Inspection, images: Images
) -> PlannedVariant:
    return PlannedVariant(
        name=variant.name,
        aliases=variant.aliases,
        id=variant.id,
        origin=variant.origin,
        settings=variant.changed or {},
        switches=variant.switches or {},
        cost_id=cost_id(
            variant.settings,
            input_shape=images.shape,
            classes=len(images.classes),
            sources=source_fingerprints(variant.settings),
        ),
        trials={trial.job.seed: trial.job.trial_id for trial in trials},
        done_before={trial.job.seed: trial.done_before for trial in trials if trial.done_before},
        warnings=inspection.notes,
    )


def _data(baseline: Variant, images: Images) -> dict[str, Any]:
    """What the baseline is trained on; a variant with other data says so in its settings."""
    from ablate.data import split

    settings = baseline.settings.data
    rows = split(
        images.train_labels,
        fraction=settings.fraction,
        validation=settings.validation,
        seed=settings.split_seed,
    )
    return {
        "source": images.source,
        "fingerprint": images.fingerprint,
        "classes": list(images.classes),
        "train_count": len(rows.train),
        "validation_count": len(rows.validation),
        "test_count": len(images.test),
        "image_shape": list(images.shape),
        # Of a part of the classes nobody has counted them; the warnings tell those of the whole.
        "duplicate_count": None if images.part_of else images.duplicate_count,
    }


def _recipe(study: Study, first: Job) -> dict[str, Any]:
    plain = canonical(study.defaults)
    if study.defaults.train.precision == "auto":
        plain["train"]["precision"] = first.identity["precision"]
    return {"data": plain["data"], "train": plain["train"]}
