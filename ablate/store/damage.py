"""All damage of a study at once: whoever has to mend files wants to know of every one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablate.record import StudyPlan
from ablate.store.reading import Damaged, together
from ablate.store.tree import Store


def find_damage(store: Store, plan: StudyPlan) -> tuple[Damaged, ...]:
    """Every file that a report of this study reads and that cannot be taken as it is."""
    found: list[Damaged] = []

    def is_damaged(read: Callable[[Any], object], at: str | Path) -> bool:
        try:
            read(at)
        except Damaged as damage:
            found.append(damage)
            return True
        return False

    variants = (*plan.pretraining, *plan.variants)
    for trial_id in dict.fromkeys(trial_id for each in variants for trial_id in each.trials.values()):
        if is_damaged(store.read_trial, trial_id):
            continue
        is_damaged(store.read_epochs, trial_id)
        is_damaged(store.read_predictions, trial_id)
    for cost_id in dict.fromkeys(each.cost_id for each in variants):
        for path in store.cost_paths(cost_id):
            is_damaged(store.read_cost, path)
    return tuple(found)


@contextmanager
def naming_all_damage(store: Store, study: str) -> Iterator[None]:
    """Within: whoever meets one damaged file of the study raises the error that names all of them."""
    try:
        yield
    except Damaged as damage:
        plan = store.read_plan(study)  # where this is the torn one, its own error says all
        raise together((damage, *(find_damage(store, plan) if plan is not None else ()))) from damage
