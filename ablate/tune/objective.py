"""What a setting is worth: validation accuracy over the tuning seeds, and what its network costs.

The records of trials hold test figures, too, for the studies that share them; nothing here looks at these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ablate.errors import AblateError
from ablate.record import TrialRecord
from ablate.runner import Surroundings
from ablate.spec.settings import Settings
from ablate.spec.tune import Constraint
from ablate.stats.estimate import mean
from ablate.variants import canonical

if TYPE_CHECKING:
    from ablate.trial import Inspection

# Measured on this machine, one setting at a time while nothing else runs.
MEASURED = ("latency_ms", "peak_memory_bytes")


def validation_accuracy(records: Sequence[TrialRecord]) -> dict[int, float]:
    """By seed, in percent, after the last epoch."""
    return {
        record.seed: record.metrics.validation_accuracy for record in records if record.metrics is not None
    }


@dataclass
class Costs:
    """Counts of the networks met so far, each built once, on the meta device."""

    around: Surroundings
    _known: dict[str, Inspection | AblateError] = field(default_factory=dict)

    def inspected(self, settings: Settings) -> Inspection:
        """Raises AblateError for a network that cannot be built."""
        from ablate.trial import inspect_variant

        images = self.around.images(settings)
        shape, classes = images.shape, len(images.classes)
        plain = canonical(settings)
        key = json.dumps([plain["model"], plain["train"], shape, classes], sort_keys=True)
        if key not in self._known:
            try:
                self._known[key] = inspect_variant(settings, shape, classes)
            except AblateError as error:
                self._known[key] = error
            except (Exception, SystemExit) as error:  # shapes that do not fit, or the user's own module
                message = f"the network cannot be built: {type(error).__name__}: {error}"
                self._known[key] = AblateError(message)
        found = self._known[key]
        if isinstance(found, AblateError):
            raise found
        return found

    def counts(self, settings: Settings) -> dict[str, float]:
        found = self.inspected(settings)
        return {"param_count": found.param_count, "macs": found.macs}

    def measured(self, settings: Settings, name: str) -> dict[str, float]:
        """Latency in milliseconds and memory in bytes, now: nothing else should run meanwhile."""
        from ablate.bench import Conditions, measure, study_subjects
        from ablate.variants import Variant

        images = self.around.images(settings)
        subjects = study_subjects([Variant(name, settings)], {name: images}, {name: ""})
        bench = measure(subjects, Conditions(device=self.around.device, limit_s=3.0))
        [found] = bench.costs
        return {
            "latency_ms": found.timing.p50_ms,
            "peak_memory_bytes": float(found.training.peak_bytes or "nan"),
        }


@dataclass(frozen=True)
class Limits:
    """The constraints of a search. baseline: what the study's baseline has of each counted metric."""

    constraints: tuple[Constraint, ...]
    baseline: Mapping[str, float]

    def excess(self, counts: Mapping[str, float]) -> list[float]:
        """One figure a constraint, above 0 where it is broken: what Optuna's samplers want."""
        return [
            constraint.excess(counts[constraint.metric], self.baseline[constraint.metric])
            for constraint in self.constraints
        ]

    def kept(self, settings: Callable[[], Settings], costs: Costs) -> bool:
        """True, too, for a network that cannot be built: that is told when its turn comes."""
        if not self.constraints:
            return True
        try:
            return all(excess <= 0 for excess in self.excess(costs.counts(settings())))
        except (AblateError, ValidationError):
            return True


def mean_accuracy(by_seed: Mapping[int, float]) -> float:
    return mean(list(by_seed.values()))
