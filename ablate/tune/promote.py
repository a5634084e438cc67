"""The best of a search as a study of its own, judged on seeds that took no part in the choice."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.errors import StoreError
from ablate.report.tuning import TunedSearch, TunedTrial, Tuning, read_tuning
from ablate.spec import Study, to_yaml
from ablate.spec.names import is_import_path
from ablate.spec.study import variant_data
from ablate.store import Store, write_text
from ablate.tune.space import Space
from ablate.tune.start import DEFAULTS
from ablate.variants import expand

FIRST_FRESH_SEED = 2000
_LEFT_OUT = ("sweeps", "designs", "matrix", "controls", "claims", "tune")


def promote(study: Study, count: int, *, output: str | Path = "results") -> Path:
    """Write the best `count` settings as variants of the study NAME-tuned, and give back its file.

    The baseline is its own best setting where it was searched with the same budget; where it was not, it
    stays as it is, and the report of that study says so. What held while tuning alone (`tune.set`) holds no
    more. Raises StoreError where there is nothing to promote.
    """
    store = Store(output)
    tuning = read_tuning(store, study.name)
    if tuning is None or study.tune is None:
        raise StoreError(f"{study.name} was not tuned under {store.root}: run `ablate tune` first")
    baseline, others = study.baseline, [s for s in tuning.searches if s.start != study.baseline]
    variants: dict[str, dict[str, Any]] = {}
    budgets: dict[str, int] = {}
    own = next((search for search in tuning.searches if search.start == baseline), None)
    if own is not None and own.dimensions:
        baseline = f"{study.baseline} tuned"
        variants[baseline] = _settings(study, own, _best(own, 1)[0])
    else:
        variants[baseline] = _settings(study, None, None)
    budgets[baseline] = 0 if own is None else _tried(own)
    for search in others or [search for search in (own,) if search is not None and count > 1]:
        best = _best(search, count)
        for place, trial in enumerate(best, start=1):
            if search is own and place == 1:
                continue  # it is the baseline itself
            name = f"{search.start} tuned" + (f" {place}" if len(best) > 1 else "")
            variants[name] = _settings(study, search, trial)
            budgets[name] = _tried(search)
    name = f"{study.name}-tuned"
    path = store.study(study.name).tune / f"{name}.yaml"
    content = {key: value for key, value in study.document.data.items() if key not in _LEFT_OUT} | {
        "name": name,
        "title": f"Tuned: {study.title or study.name}",
        "baseline": baseline,
        "seeds": list(_fresh(study, tuning)),
        "variants": variants,
    }
    head = f"# The best of `ablate tune` on {study.document.path}, on seeds that took no part in the choice\n"
    write_text(path, head + to_yaml(content))
    said = {
        "study": study.name,
        "baseline": _state(own),
        "seeds": list(tuning.seeds),
        "budgets": budgets,
    }
    write_text(store.study(name).promoted, json.dumps(said, indent=1) + "\n")
    return path


def run_command(study: Study, promoted: Path, output: str | Path) -> str:
    """The line that judges what was promoted. Modules of the user's that lie beside the study are found from
    its folder, since they do not lie beside what was written."""
    folder = Path(study.document.path).absolute().parent
    here = not any(map(is_import_path, _words(study.document.data))) or folder == Path.cwd()
    words = ["ablate", "run", promoted if here else promoted.absolute()]
    if Path(output) != Path("results") or not here:
        words += ["-o", output if here else Path(output).absolute()]
    line = shlex.join(map(str, words))
    return line if here else f"cd {shlex.quote(str(folder))} && {line}"


def _words(data: Any) -> Iterator[str]:
    """Every text in nested settings."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping | list | tuple):
        for inner in data.values() if isinstance(data, Mapping) else data:
            yield from _words(inner)


def _state(own: TunedSearch | None) -> str:
    if own is None:
        return "untuned"
    return "tuned" if own.dimensions else "nothing to tune"


def _tried(search: TunedSearch) -> int:
    return sum(trial.state != "open" for trial in search.trials)


def _best(search: TunedSearch, count: int) -> list[TunedTrial]:
    """Different settings, the best first."""
    found: list[TunedTrial] = []
    for trial in search.ranked:
        if all(trial.settings != other.settings for other in found):
            found.append(trial)
    if not found:
        raise StoreError(f"no setting around {search.start} was trained to its end: nothing to promote")
    return found[:count]


def _fresh(study: Study, tuning: Tuning) -> tuple[int, ...]:
    """As many as the study reports, none of which was seen before."""
    seen = {*study.seeds, *tuning.seeds, *tuning.reported_seeds}
    first = range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + len(study.seeds) + len(seen))
    return tuple([seed for seed in first if seed not in seen][: len(study.seeds)])


def _settings(study: Study, search: TunedSearch | None, trial: TunedTrial | None) -> dict[str, Any]:
    """Dotted settings on the defaults of the file: of the baseline, or of a setting that was searched."""
    defaults: Mapping[str, Any] = study.document.data.get("defaults") or {}
    name = study.baseline if search is None else search.start
    if name == DEFAULTS:
        data = dict(defaults)
    elif name in study.variants:
        data = variant_data(defaults, study.variants, name)
    else:
        found = expand(study).find(name)
        if found is None:
            raise StoreError(f"the study has no variant {name!r} any more: tune it again")
        data = found.settings.model_dump(mode="json")
    if trial is not None and study.tune is not None:
        space = Space(data, study.tune.space)
        data = space.laid_over(
            {key: value for key, value in trial.choices.items() if key in space.dimensions}
        )
    return {
        f"{section}.{key}": value
        for section, settings in data.items()
        for key, value in settings.items()
        if (defaults.get(section) or {}).get(key, ...) != value
    }
