"""What a study asks for and what is left of it: variants inspected, trials identified and looked up."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ablate.environment import require_torch, require_torchvision, resolve_device
from ablate.errors import DataError, Problems, StoreError, StudyError, did_you_mean
from ablate.record import Environment, PlannedVariant, StudyPlan, TrialRecord
from ablate.runner.inspection import inspect_all, line_of, with_defaults
from ablate.runner.job import Job
from ablate.runner.surroundings import Surroundings
from ablate.spec import Study, unsupported
from ablate.store import Store
from ablate.variants import (
    Expansion,
    Variant,
    canonical,
    changed_fields,
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
class Trial:
    """One variant with one seed. state: what the store knows. wanted: to be trained by this run.

    changes: why it must run although a trial of this name and seed was done ("train.epochs: 4 -> 5").
    done_before: the id of that trial.
    """

    variant: Variant
    job: Job
    state: Literal["done", "failed", "pending"]
    selected: bool
    wanted: bool
    changes: tuple[str, ...] = ()
    done_before: str | None = None


@dataclass(frozen=True)
class Plan:
    """A study, held against the store.

    trials: breadth first, seed by seed, variants in the order of the study. inspections, images: by variant
    name; images are shared where the data are.
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

    @property
    def wanted(self) -> tuple[Trial, ...]:
        """Those to train now, in the order in which they start."""
        return _once(trial for trial in self.trials if trial.wanted)

    @property
    def selected(self) -> tuple[Trial, ...]:
        """Those that this run was asked for, finished or not."""
        return _once(trial for trial in self.trials if trial.selected)

    @property
    def distinct(self) -> tuple[Trial, ...]:
        """Every trial once: variants that differ in the file may be one here (precision auto, fp32)."""
        return _once(self.trials)

    def planned(self, name: str) -> PlannedVariant:
        return next(variant for variant in self.record.variants if variant.name == name)


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
) -> Plan:
    """Inspect every variant and find what is left to train. Writes nothing.

    seeds: those to train now. only, exclude: globs over names of variants, likewise. All three limit what is
    trained, while the plan keeps the whole study, and seeds beyond the study's join it. retry_failed: failed
    trials are wanted again. force: globs; these are wanted although done. Raises StudyError with every fault
    of the study, DataError, MachineError, StoreError.
    """
    require_torch()
    require_torchvision()
    store = Store(output)
    before = store.read_plan(study.name)
    around = Surroundings(store, resolve_device(device))
    expansion = expand(study, precision=around.precision)
    problems = Problems(unsupported(study))
    chosen = _select(expansion, only, exclude, problems)
    forced = _matching(expansion, "--force", force, problems)
    inspected = with_defaults(study, expansion.variants)
    images = _images(study, around, inspected, problems)
    inspections = inspect_all(study, [one for one in inspected if one.name in images], images, problems)
    problems.raise_if_any()
    trials = _trials(
        around,
        expansion.variants,
        tuple(dict.fromkeys((*study.seeds, *(seeds or ())))),
        before=before,
        chosen=chosen,
        asked=frozenset(study.seeds if seeds is None else seeds),
        forced=forced,
        retry_failed=retry_failed,
    )
    return Plan(
        study=study,
        store=store,
        record=_record(study, expansion, trials, inspections, images),
        variants=expansion.variants,
        inspections=inspections,
        images=images,
        trials=trials,
        device=around.device,
        environment=around.environment(),
        warnings=_warnings(study, trials, images, chosen),
    )


def _images(
    study: Study, around: Surroundings, variants: Sequence[Variant], problems: Problems
) -> dict[str, Images]:
    """By name of the variant; those whose data or whose own modules are not to be had are left out."""
    found: dict[str, Images] = {}
    for variant in variants:
        try:
            source_fingerprints(variant.settings)
        except StudyError:
            continue  # `unsupported` has said it, with the line
        try:
            found[variant.name] = around.images(variant.settings)
        except DataError as error:
            problems.add(str(error), where=line_of(study, variant, "data.source"))
    return found


def _once(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    found: dict[str, Trial] = {}
    for trial in trials:
        found.setdefault(trial.job.trial_id, trial)
    return tuple(found.values())


# Which variants


def _select(
    expansion: Expansion, only: Sequence[str], exclude: Sequence[str], problems: Problems
) -> frozenset[str]:
    names = {variant.name for variant in expansion.variants}
    kept = _matching(expansion, "--only", only, problems) if only else frozenset(names)
    kept -= _matching(expansion, "--exclude", exclude, problems)
    if not kept and not problems.found:
        problems.add("--only and --exclude leave no variant", where=_COMMAND_LINE, allowed=sorted(names))
    return kept


def _matching(expansion: Expansion, option: str, globs: Sequence[str], problems: Problems) -> frozenset[str]:
    """Names of the variants whose name or alias matches; a glob that matches nothing is a fault."""
    found: set[str] = set()
    known = [name for variant in expansion.variants for name in (variant.name, *variant.aliases)]
    for glob in globs:
        matched = {
            variant.name
            for variant in expansion.variants
            if any(fnmatchcase(name, glob) for name in (variant.name, *variant.aliases))
        }
        if not matched:
            hint = did_you_mean(glob, known)
            problems.add(
                f"{option} {glob!r} matches no variant", where=_COMMAND_LINE, allowed=known, hint=hint
            )
        found |= matched
    return frozenset(found)


# Which trials


def _trials(
    around: Surroundings,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    *,
    before: StudyPlan | None,
    chosen: frozenset[str],
    asked: frozenset[int],
    forced: frozenset[str],
    retry_failed: bool,
) -> tuple[Trial, ...]:
    """Breadth first: an interrupted study is then a balanced one."""
    earlier = {variant.name: variant for variant in before.variants} if before is not None else {}
    trials: list[Trial] = []
    torn: list[str] = []
    for seed in seeds:
        for variant in variants:
            job = around.job(variant.settings, seed, variant.id)
            try:
                known = around.store.read_trial(job.trial_id)
                was = _last_done(around.store, earlier.get(variant.name), seed, job.trial_id)
            except StoreError as error:
                torn.append(str(error))
                continue
            selected = variant.name in chosen and seed in asked
            missing = known is None or (known.status == "failed" and retry_failed)
            trials.append(
                Trial(
                    variant=variant,
                    job=job,
                    state=known.status if known is not None else "pending",
                    selected=selected,
                    wanted=selected and (missing or variant.name in forced),
                    changes=tuple(changed_fields(was.identity, job.identity))
                    if was and known is None
                    else (),
                    done_before=was.id if was and known is None else None,
                )
            )
    if torn:
        raise StoreError("\n".join(torn))
    return tuple(trials)


def _last_done(store: Store, earlier: PlannedVariant | None, seed: int, trial_id: str) -> TrialRecord | None:
    """The trial that was last done under this name and seed, if it is now another.

    Of the last plan, or, where that one was never finished, of a plan before it.
    """
    if earlier is None:
        return None
    for earlier_id in (earlier.trials.get(seed), earlier.done_before.get(seed)):
        record = store.read_trial(earlier_id) if earlier_id not in (None, trial_id) else None
        if record is not None and record.status == "done":
            return record
    return None


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
    for data in {id(data): data for data in images.values()}.values():
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


# The plan as a record


def _record(
    study: Study,
    expansion: Expansion,
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
        sweeps=expansion.sweeps,
        designs=expansion.designs,
        claims=claims,
        analysis=analysis,
        analysis_hash=hashlib.sha256(content.encode()).hexdigest(),
        planned=datetime.now(UTC).isoformat(timespec="seconds"),
        data=_data(expansion.variants[0], images[expansion.variants[0].name]),
        recipe=_recipe(study, trials[0].job),
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
        "duplicate_count": images.duplicate_count,
    }


def _recipe(study: Study, first: Job) -> dict[str, Any]:
    plain = canonical(study.defaults)
    if study.defaults.train.precision == "auto":
        plain["train"]["precision"] = first.identity["precision"]
    return {"data": plain["data"], "train": plain["train"]}
