"""`ablate tune`: a search with Optuna, each of whose trials is made of trials of the results tree."""

from ablate.tune.promote import promote, run_command
from ablate.tune.run import tune_study
from ablate.tune.summary import TuneSummary

__all__ = ["TuneSummary", "promote", "run_command", "tune_study"]
