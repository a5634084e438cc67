"""The best of a search as a study of its own, judged on seeds that took no part in the choice."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.errors import StoreError
from ablate.report.tuning import TunedSearch, TunedTrial, Tuning, read_tuning
from ablate.spec import Study, to_yaml
from ablate.spec.names import is_import_path
from ablate.spec.settings import Settings
from ablate.spec.study import variant_data
from ablate.store import Store, write_text
from ablate.tune.search import without_idle_attention
from ablate.tune.space import Space
from ablate.tune.start import DEFAULTS
from ablate.variants import canonical, expand

FIRST_FRESH_SEED = 2000
_LEFT_OUT = ("sweeps", "designs", "matrix", "controls", "claims", "tune")


def promote(
    study: Study,
    count: int,
    *,
    output: str | Path = "results",
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the best `count` settings as variants of the study NAME-tuned, and give back its file.

    The baseline is its own best setting where it was searched with the same budget; where it was not, it
    stays as it is, and the report of that study says so. What held while tuning alone (`tune.set`) holds no
    more. An earlier file with other content is kept under a number. say: told of that, and of variants that
    are one setting. Raises StoreError where there is nothing to promote.
    """
    store = Store(output)
    tuning = read_tuning(store, study.name)
    if tuning is None or study.tune is None:
        raise StoreError(f"{study.name} was not tuned under {store.root}: run `ablate tune` first")
    baseline, others = study.baseline, [s for s in tuning.searches if s.start != study.baseline]
    data: dict[str, dict[str, Any]] = {}
    settings: dict[str, dict[str, Any]] = {}
    budgets: dict[str, int] = {}
    own = next((search for search in tuning.searches if search.start == baseline), None)
    if own is not None and own.dimensions:
        baseline = f"{study.baseline} tuned"
        data[baseline] = _data(study, own, best := _best(own, 1)[0])
        settings[baseline] = dict(best.settings)
    else:
        data[baseline] = _data(study, None, None)
        settings[baseline] = {}
    budgets[baseline] = 0 if own is None else _tried(own)
    for search in others or [search for search in (own,) if search is not None and count > 1]:
        best = _best(search, count)
        for place, trial in enumerate(best, start=1):
            if search is own and place == 1:
                continue  # it is the baseline itself
            name = f"{search.start} tuned" + (f" {place}" if len(best) > 1 else "")
            data[name], settings[name] = _data(study, search, trial), dict(trial.settings)
            budgets[name] = _tried(search)
    for sentence in _alike(data):
        say(sentence)
    name = f"{study.name}-tuned"
    path = store.study(study.name).tune / f"{name}.yaml"
    content = {key: value for key, value in study.document.data.items() if key not in _LEFT_OUT} | {
        "name": name,
        "title": f"Tuned: {study.title or study.name}",
        "baseline": baseline,
        "seeds": list(_fresh(study, tuning)),
        "variants": {each: _dotted(study, settings) for each, settings in data.items()},
    }
    head = f"# The best of `ablate tune` on {study.document.path}, on seeds that took no part in the choice\n"
    text = head + to_yaml(content)
    if (kept := _kept(path, text)) is not None:
        say(f"{path} held another study: that one is kept as {kept.name}")
    write_text(path, text)
    said = {
        "study": study.name,
        "baseline": _state(own),
        "seeds": list(tuning.seeds),
        "budgets": budgets,
        "settings": settings,
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


def _alike(data: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence on each variant that has the settings of one before it: there is nothing to compare."""
    found: list[str] = []
    first: dict[str, str] = {}
    for name, plain in data.items():
        settings = without_idle_attention(Settings.model_validate(plain))
        same = first.setdefault(json.dumps(canonical(settings), sort_keys=True, default=str), name)
        if same != name:
            found.append(
                f"{name!r} has the same settings as {same!r}: the study has one variant of both names"
            )
    return found


def _kept(path: Path, text: str) -> Path | None:
    """Where an earlier file with other content is now; None where there was none."""
    if not path.exists() or path.read_text(encoding="utf-8") == text:
        return None
    numbers = itertools.count(1)
    free = next(p for n in numbers if not (p := path.with_stem(f"{path.stem}.{n}")).exists())
    return path.rename(free)


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


def _data(study: Study, search: TunedSearch | None, trial: TunedTrial | None) -> dict[str, Any]:
    """Nested settings of the baseline, or of a setting that was searched."""
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
    return data


def _dotted(study: Study, data: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the defaults of the file."""
    defaults: Mapping[str, Any] = study.document.data.get("defaults") or {}
    return {
        f"{section}.{key}": value
        for section, settings in data.items()
        for key, value in settings.items()
        if (defaults.get(section) or {}).get(key, ...) != value
    }
