"""The network of a trial: settings and a seed in, modules out."""

from __future__ import annotations

from pathlib import Path

from ablate.models import Network, build_network, locate_weights
from ablate.seeds import derive_seed
from ablate.spec.names import pretraining_of
from ablate.spec.settings import Settings


def build_for(
    settings: Settings,
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
    weights: Path | None = None,
    other_classes: bool = False,
) -> Network:
    attention = settings.model.attention
    return build_network(
        backbone=settings.model.backbone,
        args=settings.model.args,
        attention=None if attention is None else (attention.name, attention.args, attention.at),
        classes=classes,
        image_shape=image_shape,
        backbone_seed=derive_seed(seed, "backbone"),
        attention_seed=derive_seed(seed, "attention"),
        weights=weights,
        other_classes=other_classes,
        place="after" if attention is None else attention.place,
        gate="own" if attention is None else attention.gate,
    )


def weights_file(settings: Settings) -> Path | None:
    """None from scratch, and for a pretraining, whose file only its own trial leaves."""
    model = settings.model
    if model.weights is None or pretraining_of(model.weights) is not None:
        return None
    return locate_weights(model.backbone, model.weights, model.args)
