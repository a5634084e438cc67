"""Training: recipes, `fit`, `evaluate`. Knows nothing of studies, data sets, attention or results trees."""

from ablate.train.checkpoint import Checkpoints, TimedSaver
from ablate.train.evaluate import Batches, Evaluation, evaluate
from ablate.train.fit import FitResult, NonFiniteLoss, fit
from ablate.train.groups import RecipeError, check_recipe
from ablate.train.log import CurveFiles, ProgressFile
from ablate.train.precision import numerics, resolve_precision
from ablate.train.recipe import OPTIMIZERS, Recipe, Stage, make_optimizer
from ablate.train.schedule import SCHEDULES, make_schedule
from ablate.train.state import EpochLog, EpochRow, FitState, StepRow

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Batches",
    "Checkpoints",
    "CurveFiles",
    "EpochLog",
    "EpochRow",
    "Evaluation",
    "FitResult",
    "FitState",
    "NonFiniteLoss",
    "ProgressFile",
    "Recipe",
    "RecipeError",
    "Stage",
    "StepRow",
    "TimedSaver",
    "check_recipe",
    "evaluate",
    "fit",
    "make_optimizer",
    "make_schedule",
    "numerics",
    "resolve_precision",
]
