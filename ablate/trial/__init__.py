"""One trial from settings to record, and what a variant is before any training: its modules and its cost.

This is where data, models, training and measuring meet. The names load on first use: who inspects a variant
need not load what trains it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablate.trial.cost import measure_cost
    from ablate.trial.data import TrialData
    from ablate.trial.failed import failed_record
    from ablate.trial.files import dump_settings
    from ablate.trial.inspected import Inspection
    from ablate.trial.inspection import check_start, inspect_variant
    from ablate.trial.network import build_for
    from ablate.trial.recipe import make_recipe
    from ablate.trial.resuming import StoppedEarly
    from ablate.trial.run import run_trial
    from ablate.trial.steps import measured_peak_bytes, measured_step
    from ablate.trial.trained import load_trained

_PUBLIC = {
    "Inspection": "ablate.trial.inspected",
    "StoppedEarly": "ablate.trial.resuming",
    "TrialData": "ablate.trial.data",
    "build_for": "ablate.trial.network",
    "check_start": "ablate.trial.inspection",
    "dump_settings": "ablate.trial.files",
    "failed_record": "ablate.trial.failed",
    "inspect_variant": "ablate.trial.inspection",
    "load_trained": "ablate.trial.trained",
    "make_recipe": "ablate.trial.recipe",
    "measure_cost": "ablate.trial.cost",
    "measured_peak_bytes": "ablate.trial.steps",
    "measured_step": "ablate.trial.steps",
    "run_trial": "ablate.trial.run",
}
__all__ = [
    "Inspection",
    "StoppedEarly",
    "TrialData",
    "build_for",
    "check_start",
    "dump_settings",
    "failed_record",
    "inspect_variant",
    "load_trained",
    "make_recipe",
    "measure_cost",
    "measured_peak_bytes",
    "measured_step",
    "run_trial",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ablate.trial' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
