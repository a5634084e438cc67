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
from ablate.stats.explain import MANY_SEEDS, assumption, explain
from ablate.stats.factorial import Effect, effect_of, effects
from ablate.stats.latency import (
    LatencyJudgement,
    judge_latencies,
    log_ratio,
    typical_latency,
)
from ablate.stats.power import ASSUMED_STD, minimum_detectable_effect, seeds_needed
from ablate.stats.scopes import on_new_images
from ablate.stats.sequential import NEXT_N, THRESHOLDS, Decision, look, replay
from ablate.stats.shapley import increments, shares
from ablate.stats.verdict import Evidence, Judgement, Procedure, Verdict, judge

__all__ = [
    "ASSUMED_STD",
    "MANY_SEEDS",
    "NEXT_N",
    "THRESHOLDS",
    "Asserted",
    "ClaimJudgement",
    "Comparison",
    "Decision",
    "Effect",
    "Estimate",
    "Evidence",
    "Judgement",
    "LatencyJudgement",
    "Procedure",
    "Summary",
    "Verdict",
    "assumption",
    "compare",
    "contrast",
    "dunnett",
    "effect_of",
    "effects",
    "evidence",
    "explain",
    "holm",
    "increments",
    "is_geometric",
    "judge",
    "judge_claims",
    "judge_exactly",
    "judge_latencies",
    "learning_limit",
    "log_ratio",
    "look",
    "minimum_detectable_effect",
    "on_new_images",
    "paired",
    "ratio",
    "replay",
    "seeds_needed",
    "shares",
    "slope_weights",
    "summarise",
    "typical_latency",
    "welch",
]
