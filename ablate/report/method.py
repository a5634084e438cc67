"""How it was measured, in sentences; and apart from them, line by line, what differs between equal runs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from ablate.record import Environment
from ablate.report import numbers, tuning
from ablate.report.rows import Report
from ablate.spec.checks import at

# What may differ in the markdown of two equal runs: lines that start so, and tables between these two.
MEASURED_PREFIX = "Measured: "
MEASURED_START, MEASURED_END = "<!-- measured -->", "<!-- /measured -->"

MOST_SETTINGS = 24  # variants whose settings a line holds

_TESTS = {
    "welch": "Welch's t test",
    "paired": "the paired t test over shared seeds",
    "dunnett": "Dunnett's test (effects of a design: Welch's t test and Holm)",
}


def without_measured(markdown: str) -> list[str]:
    """The lines of a `report.md` in which two equal runs agree. ValueError: a region does not close."""
    kept, is_measured = [], False
    for line in markdown.splitlines():
        if line in (MEASURED_START, MEASURED_END):
            if is_measured == (line == MEASURED_START):
                raise ValueError(
                    f"{line} stands where a measured region is {'open' if is_measured else 'closed'}"
                )
            is_measured = not is_measured
        elif not is_measured and not line.startswith(MEASURED_PREFIX):
            kept.append(line)
    if is_measured:
        raise ValueError(f"{MEASURED_START} without {MEASURED_END}")
    return kept


def method_lines(report: Report) -> list[str]:
    """Plain text, one line a topic."""
    if report.costs_alone:
        return [_input(report.data), *filter(None, [_costs(report)])]
    lines = [_data(report.data, report.recipe.get("data", {})), _recipe(report)]
    lines += [_of_their_own(report), _seeds(report), _test(report), _families(report), _costs(report)]
    lines += [_environment(environment, trials) for environment, trials in report.environments]
    return [line for line in lines if line]


def in_brief(report: Report) -> str:
    """Seeds, data, recipe and machine in one line, for a caption."""
    if report.costs_alone:
        return _input(report.data).removesuffix(".")
    counts = dict.fromkeys(row.n for row in report.variants if row.n) or {0: None}
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    settings = report.recipe.get("data", {})
    source = report.data.get("source") or settings.get("source") or "?"
    images = [
        f"{numbers.count(report.data[key])} {purpose}"
        for key, purpose in (("train_count", "training"), ("test_count", "test"))
        if report.data.get(key) is not None
    ]
    recipe = _brief_recipe(report)
    machines = dict.fromkeys(
        f"{environment.device_name} ({environment.device}), torch {environment.torch}"
        for environment, _ in report.environments
    )
    return "; ".join(
        part
        for part in (
            f"n = {seeds} seed{'' if seeds == '1' else 's'} ({', '.join(map(str, report.seeds))})",
            f"{source} ({', '.join(images)} images)" if images else str(source),
            recipe,
            " and ".join(machines),
        )
        if part
    )


def _brief_recipe(report: Report) -> str:
    train = report.recipe.get("train") or {}
    if not train:
        return ""
    optimizer, schedule = train.get("optimizer") or {}, train.get("schedule") or {}
    return (
        f"{_length(train)}, batches of {train.get('batch_size')}, {_optimizer(report, optimizer)}, "
        f"schedule {schedule.get('name')}, precision {train.get('precision')}"
    )


def measured_lines(report: Report) -> list[str]:
    """Dates, times and what hangs on them, each line with `MEASURED_PREFIX`."""
    done = [trial for trial in report.trials if trial.metrics is not None]
    lines = [f"planned {report.planned_at}"]
    if done:
        started = sorted(trial.started for trial in done if trial.started)
        wall_s = sum(trial.wall_s for trial in done if trial.wall_s is not None)
        rates = [trial.images_per_s for trial in done if trial.images_per_s is not None]
        rate = f", {statistics.median(rates):,.0f} training images/s (median)" if rates else ""
        lines.append(
            f"first trial {started[0]}, last {started[-1]}, {wall_s / 60:,.1f} minutes in all trials{rate}"
        )
    # Two spaces at the end break the line.
    return [f"{MEASURED_PREFIX}{line}  " for line in lines]


def _input(data: Mapping[str, Any]) -> str:
    """What a network is built for, which is all that its costs depend on."""
    shape, classes = data.get("image_shape"), data.get("classes")
    images = f"images of {'×'.join(map(str, shape))}" if shape else "images"
    count = f" of {classes if isinstance(classes, int) else len(classes)} classes" if classes else ""
    return f"Nothing was trained. Counted and measured for {images}{count}; their pixels play no part."


def _data(data: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    source = data.get("source") or settings.get("source") or "?"
    counts = [
        f"{numbers.count(data[key])} images to {purpose}"
        for key, purpose in (
            ("train_count", "train"),
            ("validation_count", "validate"),
            ("test_count", "test"),
        )
        if data.get(key) is not None
    ]
    details = [f"Data: {source}", *counts]
    classes = data.get("classes")
    if classes:
        details.append(f"{classes if isinstance(classes, int) else len(classes)} classes")
    if data.get("duplicate_count"):
        details.append(f"{numbers.count(data['duplicate_count'])} test images also among the training images")
    if settings.get("fraction") not in (None, 1, 1.0):
        details.append(f"{100 * settings['fraction']:g} % of the training images")
    if settings.get("split") == "per-seed":
        details.append("another split for every seed")
    elif settings:
        details.append(f"one split for all seeds (split seed {settings.get('split_seed', 0)})")
    augment = {key: value for key, value in (settings.get("augment") or {}).items() if value}
    said = ", ".join(key if value is True else f"{key} {value}" for key, value in augment.items())
    fingerprint = f" Fingerprint {str(data['fingerprint'])[:16]}." if data.get("fingerprint") else ""
    return f"{', '.join(details)}; augmentation: {said or 'none'}.{fingerprint}"


def _recipe(report: Report) -> str:
    train = report.recipe.get("train", {})
    if not train:
        return ""
    optimizer, schedule = train.get("optimizer") or {}, train.get("schedule") or {}
    parts = [
        _length(train),
        f"batches of {train.get('batch_size')}",
        f"{_optimizer(report, optimizer)}, weight decay {optimizer.get('weight_decay', 0)}",
        _named("schedule", schedule),
        *(
            f"{key.replace('_', ' ')} {train[key]}"
            for key in ("label_smoothing", "clip_norm")
            if train.get(key)
        ),
        *(f"learning rates {_rates(train['lr'])}" for _ in range(1) if train.get("lr")),
        *(f"each step in {train['accumulate']} parts" for _ in range(1) if train.get("accumulate", 1) > 1),
        f"precision {train.get('precision')}",
    ]
    return f"Recipe (a variant may differ where its settings say so): {', '.join(parts)}."


def _optimizer(report: Report, optimizer: Mapping[str, Any]) -> str:
    """With its learning rate, where all variants have the same."""
    if any("train.optimizer.lr" in row.settings for row in report.variants):
        return f"{optimizer.get('name')} (learning rate: see the settings)"
    return f"{optimizer.get('name')} at {optimizer.get('lr')}"


def _of_their_own(report: Report) -> str:
    """What variants have another value of than the baseline, in training."""
    own = {
        row.name: {key: value for key, value in row.settings.items() if key.startswith("train.")}
        for row in report.variants
    }
    keys = dict.fromkeys(key for settings in own.values() for key in settings)
    if not keys:
        return ""
    train = report.recipe.get("train", {})
    base = {key: at(train, *key.split(".")[1:]) for key in keys}
    told = [f"{report.baseline}: {tuning.in_words(base)}"]
    told += [f"{name}: {tuning.in_words(settings)}" for name, settings in own.items() if settings]
    rest = f"; and {len(told) - MOST_SETTINGS} more" if len(told) > MOST_SETTINGS else ""
    return f"Settings in training that differ: {'; '.join(told[:MOST_SETTINGS])}{rest}."


def _length(train: Mapping[str, Any]) -> str:
    """How long training lasts: stages, or steps, or epochs."""
    if stages := train.get("stages"):
        epochs = ", ".join(str(stage["epochs"]) for stage in stages)
        return f"{len(stages)} stages of {epochs} epochs"
    if train.get("steps"):
        return f"{train['steps']:,} optimiser steps"
    return f"{train.get('epochs')} epoch{'' if train.get('epochs') == 1 else 's'}"


def _rates(rates: Any) -> str:
    pairs = rates.items() if isinstance(rates, Mapping) else rates  # a plan holds them in order, as pairs
    return ", ".join(f"{glob} {rate:g}" for glob, rate in pairs)


def _named(what: str, settings: Mapping[str, Any]) -> str:
    given = ", ".join(
        f"{key} {value}" for key, value in settings.items() if key != "name" and value is not None
    )
    return f"{what} {settings.get('name')}{f' ({given})' if given else ''}"


def _seeds(report: Report) -> str:
    seeds = f"Seed{'' if len(report.seeds) == 1 else 's'} {', '.join(map(str, report.seeds))}"
    return (
        f"{seeds}, shared by all variants. Accuracy is that of the test images after the last epoch; "
        "the test set was read once, after fitting, and chose nothing. A trial at or below chance + 3 "
        "standard errors did not learn: it is counted and named."
    )


def _test(report: Report) -> str:
    procedure = report.procedure
    per_seed = ", since every seed has a split of its own" if report.per_seed_split else ""
    correction = "Holm's correction within each family" if procedure.correction == "holm" else "no correction"
    if procedure.test == "dunnett":
        correction = "which corrects each family by itself"
    return (
        f"Comparisons by {_TESTS[procedure.test]}{per_seed}, {correction}, level {procedure.level:g}, "
        "two-sided. An interval stands at its own Holm step if rejected, else at the first failing "
        f"step's. Equivalence by two one-sided tests, margin ±{procedure.margin:g} points, corrected "
        "alike. Verdicts from 5 seeds on; 3 or 4 are exploratory, one decides nothing. Undecided does not "
        "mean that there is no effect."
    )


def _families(report: Report) -> str:
    families = dict.fromkeys(
        [
            *["claims on accuracy" for row in report.claims if row.metric == "accuracy"],
            *(row.family for row in report.effects),
            *(level.against.family for sweep in report.sweeps for level in sweep.levels if level.against),
            *(row.against.family for row in report.controls),
            *(f"{row.against.family} against {report.baseline}" for row in report.variants if row.against),
        ]
    )
    return f"Families, each corrected on its own: {'; '.join(families)}." if families else ""


def _costs(report: Report) -> str:
    if all(row.macs is None for row in report.variants):
        return ""
    return (
        "1 MAC is one multiply-add of convolutions, linear layers, matrix products and attention, for one "
        "image."
    )


def _environment(environment: Environment, trials: int) -> str:
    on_gpu = environment.device.startswith("cuda")
    cuda = f", CUDA {environment.cuda}, cuDNN {environment.cudnn}" if on_gpu else ""
    vision = f", torchvision {environment.torchvision}" if environment.torchvision else ""
    together = ""
    if environment.processes > 1:
        together = (
            f"each trial by {environment.processes} processes that share every batch, with batch norm over "
            "all of it, as one process would up to rounding; "
        )
    of = "process" if together else "trial"
    return (
        f"Machine ({trials} trials): {environment.device_name} ({environment.device}), "
        f"{environment.cpu_count} CPU cores, {environment.threads} "
        f"thread{'s' if environment.threads != 1 else ''} a {of}, "
        f"deterministic algorithms {'on' if environment.deterministic else 'not enforced'}; "
        f"{together}{environment.platform}, Python {environment.python}, "
        f"torch {environment.torch}{vision}{cuda}, numpy {environment.numpy}, ablate {environment.ablate}."
    )
