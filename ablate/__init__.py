"""`ablate`: ablation studies for PyTorch vision models.

The public names load on first use, so that `import ablate` stays instant and torch-free.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "AblateError": "ablate.errors",
    "CostRecord": "ablate.record",
    "Settings": "ablate.spec",
    "Store": "ablate.store",
    "Study": "ablate.spec",
    "StudyError": "ablate.errors",
    "TrialRecord": "ablate.record",
    "Variant": "ablate.variants",
    "build_report": "ablate.report",
    "expand": "ablate.variants",
    "load_study": "ablate.spec",
    "measure_cost": "ablate.trial",
    "run_study": "ablate.runner",
    "run_trial": "ablate.trial",
}
__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ablate' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
