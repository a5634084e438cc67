"""The plan as a record: what `plan.json` says of a study."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ablate.record import PlannedControl, PlannedLooks, PlannedVariant, StudyPlan
from ablate.runner.trials import Trial
from ablate.spec import Settings, Study
from ablate.variants import Expansion, Variant, canonical, cost_id, source_fingerprints

if TYPE_CHECKING:
    from ablate.data import Images
    from ablate.trial import Inspection


def record_of(
    study: Study,
    expansion: Expansion,
    pretraining: Sequence[Variant],
    trials: Sequence[Trial],
    inspections: Mapping[str, Inspection],
    images: Mapping[str, Images],
    *,
    controls: tuple[PlannedControl, ...] = (),
    until_decided: PlannedLooks | None = None,
    before: StudyPlan | None = None,
) -> StudyPlan:
    """before: the plan of the last run; trials that it names and this one does not are kept in mind."""
    of: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        of[trial.variant.name].append(trial)
    named = {each.name: each for each in (*before.variants, *before.pretraining)} if before else {}
    analysis = study.analysis.model_dump(mode="json")
    claims = tuple(claim.model_dump(mode="json", exclude_none=True) for claim in study.claims)
    content = json.dumps({"analysis": analysis, "claims": claims}, sort_keys=True)
    return StudyPlan(
        study=study.name,
        title=study.title,
        scope=study.scope,
        baseline=study.baseline,
        seeds=tuple(dict.fromkeys(trial.job.seed for trial in trials)),
        variants=tuple(
            _planned(
                variant,
                of[variant.name],
                inspections[variant.name],
                images[variant.name],
                named.get(variant.name) if until_decided else None,
            )
            for variant in expansion.variants
        ),
        pretraining=tuple(
            _planned(variant, of[variant.name], inspections[variant.name], images[variant.name], None)
            for variant in pretraining
        ),
        sweeps=expansion.sweeps,
        designs=expansion.designs,
        controls=controls,
        claims=claims,
        analysis=analysis,
        analysis_hash=hashlib.sha256(content.encode()).hexdigest(),
        planned=datetime.now(UTC).isoformat(timespec="milliseconds"),
        data=_data(expansion.variants[0], images[expansion.variants[0].name], trains=bool(trials)),
        recipe=_recipe(expansion.variants[0].settings, of[study.baseline]),
        until_decided=until_decided,
    )


def _planned(
    variant: Variant,
    trials: Sequence[Trial],
    inspection: Inspection,
    images: Images,
    before: PlannedVariant | None,
) -> PlannedVariant:
    """before: where a rule may ask for fewer trials than there were; none of them is to be nobody's then."""
    given = {trial.job.seed: trial.job.trial_id for trial in trials}
    spare = {seed: i for seed, i in (before.trials if before else {}).items() if seed not in given}
    known = (before.done_before if before else {}) | spare
    known |= {trial.job.seed: trial.done_before for trial in trials if trial.done_before}
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
        trials=given,
        done_before={seed: i for seed, i in known.items() if given.get(seed) != i},
        warnings=inspection.notes,
    )


def _data(baseline: Variant, images: Images, *, trains: bool) -> dict[str, Any]:
    """What the baseline is trained on; a variant with other data says so in its settings.

    trains: else no image is looked at, and none need be there to train or to validate with.
    """
    return {
        "source": images.source,
        "fingerprint": images.fingerprint,
        "classes": list(images.classes),
        **(_counts(baseline, images) if trains else {}),
        "image_shape": list(images.shape),
        # Of a part of the classes nobody has counted them; the warnings tell those of the whole.
        "duplicate_count": None if images.part_of else images.duplicate_count,
    }


def _counts(baseline: Variant, images: Images) -> dict[str, int]:
    from ablate.data import split

    settings = baseline.settings.data
    rows = split(
        images.train_labels,
        fraction=settings.fraction,
        validation=settings.validation,
        seed=settings.split_seed,
    )
    return {
        "train_count": len(rows.train),
        "validation_count": len(rows.validation),
        "test_count": len(images.test),
    }


def _recipe(settings: Settings, trials: Sequence[Trial]) -> dict[str, Any]:
    """settings, trials: of the baseline, from which those of all others are told as differences; no trials
    in a study of costs alone, whose precision nothing resolves."""
    plain = canonical(settings)
    if settings.train.precision == "auto" and trials:
        plain["train"]["precision"] = trials[0].job.identity["precision"]
    return {"data": plain["data"], "train": plain["train"]}
