"""A comparison in text for people and in JSON for programs; both read nothing but its rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ablate.compare.pairs import Compared, Pair
from ablate.report import numbers
from ablate.report.findings import if_assumed
from ablate.report.json import against_document, finite
from ablate.report.rows import VariantRow

_COSTS = (
    ("param_count", "parameters"),
    ("macs", "MACs"),
    ("attention_param_count", "attention parameters"),
    ("latency_ms", "latency, ms"),
    ("peak_memory_bytes", "peak memory, bytes"),
)


def render_text(found: Compared) -> str:
    head = f"{found.names[0]} against {found.names[1]}: test accuracy in points, the first less the second"
    blocks = [head, *_reproduced(found)]
    blocks += ["\n".join(_pair(found, pair)) for pair in found.pairs]
    if not found.pairs:
        blocks.append("no variant of the one has a namesake in the other")
    blocks += [
        f"only in {name}: {', '.join(only)}"
        for name, only in zip(found.names, found.only, strict=True)
        if only
    ]
    blocks += _costs([(pair.of, pair.against) for pair in found.pairs])
    blocks += [f"note: {note}" for note in found.notes]
    return "\n\n".join(blocks)


def _reproduced(found: Compared) -> list[str]:
    """Of trials that both trees hold, whether they came out the same."""
    if found.question != "trees":
        return []
    both = sum(len(pair.same_trials) for pair in found.pairs)
    if not both:
        return ["reproduced? no trial stands finished in both: other settings, other data, or not run yet"]
    other = [(pair.of.name, pair.not_reproduced) for pair in found.pairs if pair.not_reproduced]
    if not other:
        return [f"reproduced: {both} trials stand in both, and each gave the same result bit for bit"]
    told = "; ".join(f"{name} seed {', '.join(map(str, seeds))}" for name, seeds in other)
    count = sum(len(seeds) for _, seeds in other)
    return [f"not reproduced: {count} of {both} trials that stand in both gave another result: {told}"]


def _pair(found: Compared, pair: Pair) -> list[str]:
    judgement, margin = pair.judged.judgement, found.procedure.margin
    evidence = judgement.evidence
    pair_of = f"{pair.of.name} − {pair.against.name}"
    if not (pair.of.n and pair.against.n):
        return [f"{pair_of}: {pair.judged.reason}", *(f"    {line}" for line in _differences(pair))]
    if judgement.verdict == "no-op":  # nothing but a bug could give it an interval
        return [
            f"{pair_of}: {_verdict(pair)}",
            f"    {_verdict_reason(pair)}",
            *(f"    {line}" for line in _differences(pair)),
        ]
    lines = [
        f"{pair_of}: {judgement.verdict}, {numbers.estimate(judgement)}",
        f"    {_verdict_reason(pair)}",
        f"    accuracy: {numbers.mean_and_std(pair.of.accuracy)} % against "
        f"{numbers.mean_and_std(pair.against.accuracy)} %; n {evidence.n} : {evidence.n_against}",
    ]
    if evidence.estimate.known:
        lines += [
            f"    p {numbers.p_value(judgement.p_value)}, adjusted {numbers.p_value(judgement.p_adjusted)} "
            f"(family: {pair.judged.family}); interval at {numbers.confidence(judgement)}; would show "
            f"{numbers.points(judgement.mde)} points 4 times in 5"
        ]
        paired = pair.judged.paired
        if paired.known:
            low, high = paired.interval(judgement.level)
            lines.append(f"    by paired t: {numbers.with_interval(paired.value, low, high)}")
    assumed = if_assumed(judgement)
    lines.append(
        f"    seeds to show {margin:g}: {numbers.seeds(judgement.seeds, judgement.std)}; to decide: "
        f"{numbers.seeds(judgement.seeds_to_decide, judgement.std)}{assumed}"
    )
    if pair.time:
        lines.append(f"    as many seeds would take {pair.time}")
    new_images = pair.judged.new_images
    if new_images is not None and new_images.known:
        told = numbers.with_interval(new_images.value, *new_images.interval(judgement.level))
        lines.append(f"    on new images: {told}; all else speaks of this test set")
    return [*lines, *(f"    {line}" for line in _differences(pair))]


def _verdict(pair: Pair) -> str:
    """What is one on both sides is no change that did nothing."""
    return "the same trials" if _one_and_the_same(pair) else pair.judged.judgement.verdict


def _verdict_reason(pair: Pair) -> str:
    if _one_and_the_same(pair):
        return "every shared seed is one trial on both sides, with the same predictions"
    return pair.judged.reason


def _one_and_the_same(pair: Pair) -> bool:
    shared = set(pair.seeds[0]) & set(pair.seeds[1])
    return pair.judged.judgement.verdict == "no-op" and set(pair.same_trials) == shared


def _differences(pair: Pair) -> list[str]:
    """What else tells the two apart, and what does not."""
    lines = []
    if pair.mixed:
        lines.append(f"mixed environments: {', '.join(pair.mixed)} differ")
    first, second = pair.seeds
    if first != second:
        lines.append(f"seeds differ: {_seeds(first)} against {_seeds(second)}")
    if pair.settings is None:
        lines.append("settings: known once a trial of either has finished")
    elif pair.settings:
        lines.append(f"settings ({pair.against.name} -> {pair.of.name}): {'; '.join(pair.settings)}")
    else:
        lines.append("settings: the same")
    if pair.same_trials and len(pair.same_trials) < len(first):
        lines.append(f"one and the same trial on both sides: seed {_seeds(pair.same_trials)}")
    if pair.two_runs is not None and not _one_and_the_same(pair):
        runs = pair.two_runs
        lines.append(
            f"these two networks alone: {runs.only_of} images only the first gets right, {runs.only_against} "
            f"only the second (McNemar, p {numbers.p_value(runs.p_value)}); that says whether the two "
            "networks differ, not whether what was changed helps"
        )
    return lines


def _seeds(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) or "none"


def _costs(pairs: Sequence[tuple[VariantRow, VariantRow]]) -> list[str]:
    """Side by side, each difference in percent of the second."""
    rows = [("cost", "", "the first", "the second", "difference", "of the second")]
    for of, against in pairs:
        for key, noun in _COSTS:
            one, other = getattr(of, key), getattr(against, key)
            if one is None and other is None:
                continue
            less = None if one is None or other is None else one - other
            rows.append(
                (
                    f"{of.name} − {against.name}" if key == "param_count" else "",
                    noun,
                    _figure(key, one),
                    _figure(key, other),
                    _figure(key, less, sign=True),
                    numbers.share(less, other),
                )
            )
    if len(rows) == 1:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return ["\n".join(lines)]


def _figure(key: str, value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return numbers.NONE
    if key == "latency_ms":
        return f"{value:{'+' if sign else ''}.3f}".replace("-", "−")
    return numbers.signed_count(value) if sign else numbers.count(value)


def render_json(found: Compared) -> str:
    return json.dumps(finite(document(found)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(found: Compared) -> dict[str, Any]:
    procedure = found.procedure
    return {
        "question": found.question,
        "of": found.names[0],
        "against": found.names[1],
        "metric": "accuracy",
        "analysis": {
            "test": procedure.test,
            "correction": procedure.correction,
            "margin": procedure.margin,
            "level": procedure.level,
        },
        "pairs": [_pair_document(pair) for pair in found.pairs],
        "only_of": list(found.only[0]),
        "only_against": list(found.only[1]),
        "notes": list(found.notes),
    }


def _pair_document(pair: Pair) -> dict[str, Any]:
    return {
        "of": _row(pair.of),
        "against": _row(pair.against),
        **against_document(pair.judged),
        "verdict": _verdict(pair),
        "reason": _verdict_reason(pair),
        "time_to_decide": pair.time,
        "settings": None if pair.settings is None else list(pair.settings),
        "mixed": list(pair.mixed),
        "same_trials": list(pair.same_trials),
        "not_reproduced": list(pair.not_reproduced),
        "two_networks": None
        if pair.two_runs is None
        else {
            "only_of": pair.two_runs.only_of,
            "only_against": pair.two_runs.only_against,
            "p_value": pair.two_runs.p_value,
        },
    }


def _row(row: VariantRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "n": row.n,
        "accuracy_mean": row.accuracy.mean if row.accuracy else None,
        "accuracy_std": row.accuracy.std if row.accuracy else None,
        "accuracy_by_seed": {str(seed): score for seed, score in row.scores.items()},
        "trials": {str(trial.seed): trial.id for trial in row.done},
        "did_not_learn": list(row.did_not_learn),
        **{key: getattr(row, key) for key, _ in _COSTS},
    }
