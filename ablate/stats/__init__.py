"""Intervals, comparisons, equivalence, effects of a factorial design, verdicts. Plain numbers in and out.

Only numpy and scipy; nothing here knows of studies, records or files. Scores are accuracies in percent.
"""

from ablate.stats.chance import learning_limit
from ablate.stats.claims import (
    Asserted,
    ClaimJudgement,
    contrast,
    is_geometric,
    judge_claims,
    judge_exactly,
    ratio,
    slope_weights,
)
from ablate.stats.compare import Comparison, compare, dunnett, evidence, paired, welch
from ablate.stats.correction import holm
from ablate.stats.estimate import Estimate, Summary, summarise
from ablate.stats.explain import explain
from ablate.stats.factorial import Effect, effects
from ablate.stats.power import ASSUMED_STD, minimum_detectable_effect, seeds_needed
from ablate.stats.scopes import on_new_images
from ablate.stats.verdict import Evidence, Judgement, Procedure, Verdict, judge

__all__ = [
    "ASSUMED_STD",
    "Asserted",
    "ClaimJudgement",
    "Comparison",
    "Effect",
    "Estimate",
    "Evidence",
    "Judgement",
    "Procedure",
    "Summary",
    "Verdict",
    "compare",
    "contrast",
    "dunnett",
    "effects",
    "evidence",
    "explain",
    "holm",
    "is_geometric",
    "judge",
    "judge_claims",
    "judge_exactly",
    "learning_limit",
    "minimum_detectable_effect",
    "on_new_images",
    "paired",
    "ratio",
    "seeds_needed",
    "slope_weights",
    "summarise",
    "welch",
]
