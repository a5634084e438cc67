"""Studies and trials by what a person calls them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ablate.errors import StoreError, did_you_mean
from ablate.store import Damaged, Store

_SHOWN = 6  # of the names that a message lists


def find_study(study: str | None, output: str | Path = "results") -> tuple[Store, str]:
    """The tree and name of a planned study, given its name, its folder or its file; None: the last one run.

    Raises StoreError when there is none, naming those that there are.
    """
    store = Store(output)
    if study is None:
        name = store.read_last()
        if name is None:
            raise StoreError(f"no study was run under {store.root}\n    {known_studies(store)}")
        return store, name
    folder = Path(study)
    if (folder / "plan.json").is_file():
        return Store(folder.absolute().parent), folder.absolute().name
    name = _name_in_file(folder) if folder.is_file() else study
    known = store.studies()
    if name not in known:
        hint = did_you_mean(name, known) or known_studies(store)
        raise StoreError(f"no study {name!r} was run under {store.root}\n    {hint}")
    return store, name


def _name_in_file(path: Path) -> str:
    from ablate.spec import load_study

    return load_study(path).name


def known_studies(store: Store) -> str:
    """A sentence: which there are, or how to get one."""
    known = store.studies()
    if known:
        return f"there is: {', '.join(known)}"
    return "run one with `ablate run STUDY`, or name another tree with --output DIR"


def find_trial(trial: str, store: Store) -> str:
    """The id of a trial, given an id, a beginning of one, VARIANT/SEED (of the study run last, or of the only
    study that has it) or STUDY/VARIANT/SEED.

    Raises StoreError for one that is not there, or not the only one.
    """
    found = _by_name(trial, store) if "/" in trial else _by_id(trial, store)
    if len(found) > 1:
        names = ", ".join(sorted(found)[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
        raise StoreError(f"{trial!r} names {len(found)} trials: {names}\n    say more of it")
    if not found:
        hint = did_you_mean(trial, _all_names(store)) or known_studies(store)
        raise StoreError(
            f"there is no trial {trial!r} under {store.root}\n    {hint}\n"
            "    allowed: an id or its beginning, VARIANT/SEED, STUDY/VARIANT/SEED; "
            "`ablate status --format json` lists them"
        )
    (trial_id,) = found.values()
    return trial_id


def _by_id(beginning: str, store: Store) -> dict[str, str]:
    ids = {*store.trial_ids(), *(trial_id for _, _, trial_id in _planned(store))}
    return {trial_id: trial_id for trial_id in ids if beginning and trial_id.startswith(beginning)}


def _by_name(name: str, store: Store) -> dict[str, str]:
    full = {f"{study}/{short}": trial_id for study, short, trial_id in _planned(store)}
    if name in full:
        return {name: full[name]}
    last = f"{store.read_last()}/{name}"
    if last in full:
        return {last: full[last]}
    found = {f"{study}/{short}": trial_id for study, short, trial_id in _planned(store) if short == name}
    # Studies share trials: one trial under several names is no choice to make.
    return dict(list(found.items())[:1]) if len(set(found.values())) == 1 else found


def _all_names(store: Store) -> list[str]:
    return [name for study, short, _ in _planned(store) for name in (short, f"{study}/{short}")]


def _planned(store: Store) -> Iterator[tuple[str, str, str]]:
    """(study, "VARIANT/SEED", trial id) of every trial of the plans that can be read, aliases included."""
    for study in store.studies():
        try:
            plan = store.read_plan(study)
        except Damaged:  # says nothing of the other studies' trials
            continue
        if plan is None:
            continue
        for variant in (*plan.pretraining, *plan.variants):
            for name in (variant.name, *variant.aliases):
                for seed, trial_id in variant.trials.items():
                    yield study, f"{name}/{seed}", trial_id
