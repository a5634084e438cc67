"""Intervals, comparisons, equivalence, effects of a factorial design, verdicts. Plain numbers in and out.

Only numpy and scipy; nothing here knows of studies, records or files. Scores are accuracies in percent.
"""

from ablate.stats.chance import learning_limit
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
    "Comparison",
    "Effect",
    "Estimate",
    "Evidence",
    "Judgement",
    "Procedure",
    "Summary",
    "Verdict",
    "compare",
    "dunnett",
    "effects",
    "evidence",
    "explain",
    "holm",
    "judge",
    "learning_limit",
    "minimum_detectable_effect",
    "on_new_images",
    "paired",
    "seeds_needed",
    "summarise",
    "welch",
]
