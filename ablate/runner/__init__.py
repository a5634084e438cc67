"""The study runner: what is left = plan - store; it runs that, measures costs and has the report written.

The names load on first use: a plan needs neither executors nor reports.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablate.runner.describe import plan_json, plan_text
    from ablate.runner.estimates import estimate
    from ablate.runner.job import Job, run_job
    from ablate.runner.patience import Teller
    from ablate.runner.plan import Plan, plan_study
    from ablate.runner.run import RunSummary, run_study
    from ablate.runner.surroundings import Surroundings
    from ablate.runner.trials import Trial

_PUBLIC = {
    "Job": "ablate.runner.job",
    "Plan": "ablate.runner.plan",
    "RunSummary": "ablate.runner.run",
    "Surroundings": "ablate.runner.surroundings",
    "Teller": "ablate.runner.patience",
    "Trial": "ablate.runner.trials",
    "estimate": "ablate.runner.estimates",
    "plan_json": "ablate.runner.describe",
    "plan_study": "ablate.runner.plan",
    "plan_text": "ablate.runner.describe",
    "run_job": "ablate.runner.job",
    "run_study": "ablate.runner.run",
}
__all__ = [
    "Job",
    "Plan",
    "RunSummary",
    "Surroundings",
    "Teller",
    "Trial",
    "estimate",
    "plan_json",
    "plan_study",
    "plan_text",
    "run_job",
    "run_study",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ablate.runner' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
