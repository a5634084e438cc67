"""A plan in JSON for programs and in text for people, and how long it will take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sized
from typing import Any

from ablate.errors import AblateError
from ablate.record import AttachedModule
from ablate.runner.patience import NOBODY, Teller
from ablate.runner.plan import Plan
from ablate.variants import Variant, complete

# Of attention, and said only where it is something else.
_USUAL = {"place": "after", "gate": "own"}


def plan_json(plan: Plan) -> dict[str, Any]:
    """The contract of `plan --format json`. trials, pending: counts; pending ones would be trained now."""
    return {
        "study": plan.study.name,
        "trials": len(plan.distinct),
        "pending": len(plan.wanted),
        "done": sum(trial.state == "done" for trial in plan.distinct),
        "failed": sum(trial.state == "failed" for trial in plan.distinct),
        "device": plan.device,
        "variants": [_variant_json(plan, variant) for variant in plan.variants],
        "pretraining": [_variant_json(plan, variant) for variant in plan.pretraining],
        "warnings": list(plan.warnings),
        "again": [
            {"variant": trial.variant.name, "seed": trial.job.seed, "changes": list(trial.changes)}
            for trial in plan.trials
            if trial.changes
        ],
    }


def _variant_json(plan: Plan, variant: Variant) -> dict[str, Any]:
    inspection, planned = plan.inspections[variant.name], plan.planned(variant.name)
    return {
        "name": variant.name,
        "aliases": list(variant.aliases),
        "id": variant.id,
        "seeds": list(planned.trials),
        "settings": complete(variant.settings),
        "changed": variant.changed or {},
        "param_count": inspection.param_count,
        "macs": inspection.macs,
        "attention_modules": [module.model_dump() for module in inspection.attached],
        "warnings": list(inspection.notes),
        "trials": {str(seed): trial_id for seed, trial_id in planned.trials.items()},
    }


def plan_text(plan: Plan, *, estimate: bool = False, tell: Teller = NOBODY) -> str:
    """The plan as a page of text. estimate: with the time that it will take."""
    parts = [_heading(plan), _table(plan), *_pretraining(plan), *stale(plan)]
    notes = [f"{name}: {note}" for name, found in plan.inspections.items() for note in found.notes]
    parts += [f"note: {note}" for note in (*plan.warnings, *notes)]
    parts += [f"note: {note}" for note in sharing(plan)]
    if estimate and plan.wanted:
        from ablate.environment import available_cores

        processes = _processes(plan)
        workers = max(1, available_cores() // processes) if plan.device == "cpu" else 1
        alone = "; a step was timed in one process, and what sharing it gains or costs is not in it"
        parts.append(_time(plan, workers, tell) + (alone if processes > 1 else ""))
    return "\n".join(part for part in parts if part)


def sharing(plan: Plan) -> list[str]:
    """A sentence where several processes train each trial."""
    processes = _processes(plan)
    if processes == 1:
        return []
    where = "on the CPU" if plan.device == "cpu" else "with a GPU each"
    return [f"each trial is trained by {processes} processes {where}, which share every batch"]


def _processes(plan: Plan) -> int:
    return plan.wanted[0].job.environment.processes if plan.wanted else 1


def _time(plan: Plan, workers: int, tell: Teller) -> str:
    from ablate.runner.estimates import duration, estimate

    try:
        length = duration(estimate(plan, workers, tell))
    except AblateError as error:
        return f"no estimate of the time: {error}"
    return f"about {length} of training with {workers} worker{'s' if workers > 1 else ''} on {plan.device}"


def _heading(plan: Plan) -> str:
    states = Counter(trial.state for trial in plan.distinct)
    failed = f", {states['failed']} failed" if states["failed"] else ""
    title = f"{plan.study.name}: {plan.study.title}\n" if plan.study.title else f"{plan.study.name}\n"
    title += f"{plan.study.scope}\n" if plan.study.scope else ""
    data = plan.record.data
    own = len({trial.job.trial_id for trial in plan.trials if trial.variant.origin != "pretraining"})
    before = len(plan.distinct) - own
    first = f", after {before} of pretraining" if before else ""
    if not plan.trials:
        shape = "×".join(map(str, data["image_shape"]))
        return f"{title}{_count(plan.variants, 'variant')}, {shape} images: costs alone, nothing to train\n"
    asked = (
        f"{_count(plan.variants, 'variant')} × {_count(plan.record.seeds, 'seed')} = "
        f"{own} trial{'s' if own != 1 else ''}"
    )
    if plan.record.until_decided is not None:
        asked = f"{_count(plan.variants, 'variant')}, seeds until decided: {own} trials so far"
    return (
        f"{title}{data['source']}: {data['train_count']:,} images to train, {data['validation_count']:,} to "
        f"validate, {data['test_count']:,} to test\n"
        f"{asked}{first}: "
        f"{states['done']} done{failed}, {len(plan.wanted)} to train\n"
    )


def _count(found: Sized, what: str) -> str:
    return f"{len(found)} {what}{'s' if len(found) != 1 else ''}"


def _pretraining(plan: Plan) -> list[str]:
    """A line each: what is trained before the variants, and how far that is."""
    lines = []
    for variant in plan.pretraining:
        mine = [trial for trial in plan.trials if trial.variant is variant]
        images = plan.images[variant.name]
        done = sum(trial.state == "done" for trial in mine)
        wanted = sum(trial.wanted for trial in mine)
        lines.append(
            f"trained first: {variant.name}, {len(images.classes)} classes of {images.source}: "
            f"{done}/{len(mine)} seeds done, {wanted} to train"
        )
    return lines


def _table(plan: Plan) -> str:
    base = plan.inspections[plan.record.baseline]
    rows = [("variant", "parameters", "Δ", "MACs", "Δ", "done", "attention", "changes against the baseline")]
    for variant in plan.variants:
        found = plan.inspections[variant.name]
        mine = [trial for trial in plan.trials if trial.variant.name == variant.name]
        rows.append(
            (
                variant.name,
                f"{found.param_count:,}",
                _delta(found.param_count, base.param_count),
                f"{found.macs:,}",
                _delta(found.macs, base.macs),
                f"{sum(trial.state == 'done' for trial in mine)}/{len(mine)}",
                _places(found.attached),
                ", ".join(f"{key}={_setting(key, value)}" for key, value in (variant.changed or {}).items())
                or "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 6) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        )
        + f"  {row[-1]}"
        for row in rows
    )


def _delta(count: int, base: int) -> str:
    return "" if count == base else f"{100 * (count - base) / base:+.2f} %"


def _places(attached: tuple[AttachedModule, ...]) -> str:
    return " ".join(f"{module.path}({module.channels})" for module in attached) or "none"


def _setting(key: str, value: Any) -> str:
    """A changed setting in few words."""
    if key == "train.lr" and value:
        return f"{{{', '.join(f'{glob}: {rate:g}' for glob, rate in value)}}}"
    if key == "train.stages" and value:
        return f"{len(value)} stages of {', '.join(str(stage['epochs']) for stage in value)} epochs"
    return _value(value)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict) and "name" in value:
        said = {key: value[key] for key, usual in _USUAL.items() if value.get(key, usual) != usual}
        args = ", ".join(f"{key}={_value(arg)}" for key, arg in {**value.get("args", {}), **said}.items())
        return f"{value['name']}({args})"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def stale(plan: Plan) -> list[str]:
    """Trials that were done, grouped by what has changed since."""
    groups = Counter(trial.changes for trial in plan.trials if trial.changes)
    return [
        f"{count} trial{'s' if count > 1 else ''} that were done run anew (the old stay), "
        f"since this changed: {'; '.join(changes)}"
        for changes, count in groups.items()
    ]
