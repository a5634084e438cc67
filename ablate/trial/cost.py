"""The counted costs of a variant as a record."""

from __future__ import annotations

from datetime import UTC, datetime

from ablate.record import CostRecord, Environment
from ablate.spec.settings import Settings
from ablate.trial.inspection import inspect_variant
from ablate.variants import cost_id, source_fingerprints


def measure_cost(
    settings: Settings, *, image_shape: tuple[int, int, int], classes: int, environment: Environment
) -> CostRecord:
    """Parameters and MACs of a variant for one image of (C, H, W)."""
    found = inspect_variant(settings, image_shape, classes)
    return CostRecord(
        id=cost_id(settings, input_shape=image_shape, classes=classes, sources=source_fingerprints(settings)),
        machine=environment.machine,
        settings=settings.model.model_dump(mode="json"),
        input_shape=image_shape,
        param_count=found.param_count,
        attention_param_count=found.attention_param_count,
        attention_modules=found.attached,
        macs=found.macs,
        attention_macs=found.attention_macs,
        environment=environment,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )
