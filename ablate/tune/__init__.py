"""`ablate tune`: a search with Optuna, each of whose trials is made of trials of the results tree."""

from ablate.tune.promote import promote
from ablate.tune.run import TuneSummary, tune_study

__all__ = ["TuneSummary", "promote", "tune_study"]
