"""What a database holds of this file's search, and of searches that an edited file left behind."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
import sqlalchemy

from ablate.report.tuning import other_search
from ablate.tune.search import FINISHED, REPLACES
from ablate.tune.storage import STORAGE_ERRORS, Place

_DIGITS = 8  # of the digest at the end of a search's name


@dataclass(frozen=True)
class Standing:
    """finished: settings of this search. others: (settings, space) of each other around the same start."""

    finished: int = 0
    others: tuple[tuple[int, str], ...] = ()

    def sentence(self, asked: int) -> str:
        """Empty where this search is new and alone."""
        if self.others:
            return f"{other_search(self.others)}; this file's search has {self.finished} of {asked}"
        return f"{self.finished} of {asked} trials were there already" if self.finished else ""


def standing(storage: optuna.storages.BaseStorage, search: str) -> Standing:
    """search: its name in the storage, the digest of its content at the end."""
    finished, others = 0, []
    for found in optuna.get_all_study_summaries(storage, include_best_trial=False):
        if found.study_name == search:
            trials = optuna.load_study(study_name=search, storage=storage).get_trials(deepcopy=False)
            replaced = {trial.user_attrs.get(REPLACES) for trial in trials}
            finished = sum(trial.state in FINISHED and trial.number not in replaced for trial in trials)
        elif found.study_name[:-_DIGITS] == search[:-_DIGITS] and found.n_trials:
            others.append((found.n_trials, str(found.user_attrs.get("space", ""))))
    return Standing(finished, tuple(others))


def looked_up(place: Place, search: str) -> Standing:
    """Without making a storage that is not there."""
    if not _is_there(place):
        return Standing()
    with place.explained():
        return standing(place.open(), search)


def _is_there(place: Place) -> bool:
    if place.file is not None:
        return place.file.exists()
    try:
        engine = sqlalchemy.create_engine(place.url)
        try:
            return sqlalchemy.inspect(engine).has_table("studies")
        finally:
            engine.dispose()
    except (ImportError, *STORAGE_ERRORS):
        return True  # opening it says what is wrong
