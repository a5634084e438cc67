"""A search in sentences: what was found, from which budget, and what it does not say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ablate.report import numbers
from ablate.report.tuning.rows import Promoted, TunedSearch, TunedTrial, Tuning

if TYPE_CHECKING:
    from ablate.report.rows import Report


def opening_sentences(report: Report) -> list[str]:
    """For the opening of a report."""
    said = promoted_sentence(report.promoted, report.baseline)
    found = [] if said is None else [said]
    if report.tuning is not None:
        found += [
            f"Tuning, on validation images: {answer(s, report.tuning.objectives)}"
            for s in report.tuning.searches
        ]
    return found


def promoted_sentence(promoted: Promoted | None, baseline: str) -> str | None:
    """How the variants of a promoted study were chosen, and whether the baseline had the same chance."""
    if promoted is None:
        return None
    seeds = ", ".join(map(str, promoted.seeds))
    tried = {name: count for name, count in promoted.budgets.items() if name != baseline}
    chosen = "; ".join(f"{name}: of {_settings(count)}" for name, count in tried.items())
    head = f"Chosen by tuning {promoted.study} on validation images and other seeds ({seeds}): {chosen}."
    if promoted.baseline == "tuned":
        return f"{head} The baseline was tuned as well: {_settings(promoted.budgets.get(baseline, 0))}."
    if promoted.baseline == "nothing to tune":
        return f"{head} Nothing of what was searched exists for the baseline: it is as it was."
    return (
        f"{head} The baseline was NOT tuned: a difference in favour of a tuned variant may be owed to the "
        "tuning alone."
    )


def settings_line(promoted: Promoted | None) -> str:
    """What was promoted, variant by variant; empty where nothing was."""
    if promoted is None or not promoted.settings:
        return ""
    told = (f"{name}: {in_words(settings) or 'as it is'}" for name, settings in promoted.settings.items())
    return f"Settings, as tuned: {'; '.join(told)}."


def other_search(others: Iterable[tuple[int, str]]) -> str:
    """``"another search (12 settings, over lr from 0.01 to 1) is kept"``"""
    found = [
        f"{count} setting{'s' * (count != 1)}{f', over {space}' * bool(space)}" for count, space in others
    ]
    if len(found) == 1:
        return f"another search ({found[0]}) is kept"
    return f"{len(found)} other searches are kept ({'; '.join(found)})"


def in_one_line(text: str) -> str:
    """A message and the way out of it, which stand on lines of their own elsewhere."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def ended(sentence: str) -> str:
    """With a full stop, unless it ends as a sentence already."""
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."


def _settings(count: int) -> str:
    return f"{count} setting{'s' if count != 1 else ''} tried"


def notes(tuning: Tuning) -> list[str]:
    """Plain sentences on how the search was made, and what it does not say."""
    seeds, objectives = ", ".join(map(str, tuning.seeds)), ", ".join(tuning.objectives)
    found = [
        f"Each setting was trained with seeds {seeds}, none of which this study reports, and valued by "
        f"{objectives}: accuracy is the mean over these seeds on validation images after the last epoch. The "
        "test images took no part in it. A search chooses; it yields no verdict."
    ]
    if tuning.overrides:
        held = ", ".join(f"{key}: {shown(value)}" for key, value in tuning.overrides.items())
        found.append(f"While tuning, and then alone: {held}.")
    if tuning.constraints:
        found.append(f"Only settings with {' and '.join(tuning.constraints)} were trained.")
    if tuning.pruner != "none":
        found.append(_pruning(tuning))
    budgets = "; ".join(f"{search.start}: {_budget(search)}" for search in tuning.searches)
    found.append(f"Budget: {budgets}. Sampler: {tuning.sampler}.")
    if not tuning.baseline_is_tuned:
        found.append(
            f"The baseline {tuning.baseline} was not tuned: what was tuned has an advantage over it "
            f"(`also: [{tuning.baseline}]` gives it the same budget)."
        )
    for search in tuning.searches:
        for trial in search.of_state("failed"):
            why = ended(in_one_line(trial.why or "without a word"))
            found.append(f"{search.start}, trial {trial.number} ({setting(trial)}) failed: {why}")
        if search.others:
            found.append(
                f"{search.start}: {other_search(search.others)} beside this one, which has "
                f"{_ended(search)} of {search.asked}: its space, its seeds, or what else makes a search, was "
                "another."
            )
    return found


def _pruning(tuning: Tuning) -> str:
    if not tuning.pruned:
        return f"Nothing was stopped early by {tuning.pruner}: Optuna prunes for one objective only."
    stopped = sum(len(search.of_state("pruned")) for search in tuning.searches)
    trained, whole = tuning.epochs
    were = "setting was" if stopped == 1 else "settings were"
    return (
        f"{stopped} {were} stopped early ({tuning.pruner}): {trained} of the {whole} epochs that all "
        "settings would have taken."
    )


def _budget(search: TunedSearch) -> str:
    count = _ended(search)
    whole = f", all of the space's {search.size}" if search.size == count else ""
    return f"{count} of {search.asked} settings{whole}"


def _ended(search: TunedSearch) -> int:
    return len(search.trials) - len(search.of_state("open"))


def answer(search: TunedSearch, objectives: Mapping[str, str]) -> str:
    """What was found, and how many settings failed."""
    bad = len(search.of_state("failed"))
    failed = f" {bad} of {_ended(search)} settings FAILED." if bad else ""
    return _found(search, objectives) + failed


def _found(search: TunedSearch, objectives: Mapping[str, str]) -> str:
    done = search.of_state("done")
    if not done:
        return f"{search.start}: no setting has been trained to its end yet."
    if len(objectives) > 1:
        return (
            f"{search.start}: {len(search.best)} of {len(done)} settings are on the Pareto front, listed by "
            f"{next(iter(objectives))}, best first."
        )
    best = search.ranked[0]
    runner_up = search.ranked[1] if len(search.ranked) > 1 else None
    metric = next(iter(objectives))
    second = f"; next {setting(runner_up)}, {told(metric, runner_up.values)}" if runner_up else ""
    return f"{search.start}: best of {len(done)} is {setting(best)}, {told(metric, best.values)}{second}."


def setting(trial: TunedTrial) -> str:
    return in_words(trial.settings) or "as it is"


def in_words(settings: Mapping[str, Any]) -> str:
    """``"reduction=8 at=block2"``"""
    names = short_names(settings)
    return " ".join(f"{names[key]}={shown(value)}" for key, value in settings.items())


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Dotted setting -> its last part, with as much before it as tells it from the others; of a learning rate
    by glob, the glob with what it is."""
    keys = list(keys)
    found = {}
    for key in keys:
        if key.startswith("train.lr."):
            found[key] = f"lr {key.removeprefix('train.lr.')}"
            continue
        parts, length = key.split("."), 1
        while length < len(parts) and any(
            other != key and other.split(".")[-length:] == parts[-length:] for other in keys
        ):
            length += 1
        found[key] = ".".join(parts[-length:])
    return found


def shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(shown, value))
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {shown(inner)}' for key, inner in value.items())}}}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def told(metric: str, values: Mapping[str, float]) -> str:
    """The value of an objective with its unit."""
    value = values.get(metric)
    if value is None:
        return numbers.NONE
    match metric:
        case "accuracy":
            return f"{value:.2f} %"
        case "param_count":
            return numbers.count(round(value))
        case "macs":
            return numbers.macs(round(value))
        case "latency_ms":
            return f"{value:,.3f} ms"
    return f"{value / 2**20:,.1f} MiB"
