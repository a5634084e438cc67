"""The study runner: what is left = plan - store; it runs that, measures costs and has the report written."""

from ablate.runner.describe import estimate, plan_json, plan_text
from ablate.runner.job import Job, run_job
from ablate.runner.patience import Teller
from ablate.runner.plan import Plan, Trial, plan_study
from ablate.runner.run import RunSummary, run_study
from ablate.runner.surroundings import Surroundings

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
