"""What a variant is before any training: its modules, its parameters, its MACs."""

from __future__ import annotations

from pathlib import Path

import torch

from ablate.data import Images
from ablate.measure import count_macs, count_parameters
from ablate.models.weights import load_backbone
from ablate.spec.settings import Settings
from ablate.train import check_recipe
from ablate.trial.inspected import Inspection
from ablate.trial.network import build_for, weights_file
from ablate.trial.recipe import make_recipe


def inspect_variant(settings: Settings, image_shape: tuple[int, int, int], classes: int) -> Inspection:
    """Build the network of a variant on the meta device, and count.

    image_shape: (C, H, W). Raises AblateError for a network that cannot be built, WeightsError for a file
    that does not fit it, PlaceError for a place that matches nothing or gives no feature map, RecipeError for
    a glob of the recipe that names nothing, MeasureError for an operator that nobody counts.
    """
    with torch.device("meta"):
        network = build_for(settings, image_shape, classes, seed=0, weights=weights_file(settings))
    check_recipe(network, make_recipe(settings, "cpu"))
    macs = count_macs(network, image_shape, within="attention")
    return Inspection(
        attached=network.attached,
        param_count=count_parameters(network),
        attention_param_count=count_parameters(network, within="attention"),
        macs=macs.total,
        attention_macs=macs.attention,
        notes=network.notes,
    )


def check_start(
    settings: Settings, images: Images, before: Settings, images_before: Images, *, name: str
) -> tuple[str, ...]:
    """Whether the weights of the pretraining `name` will fit, told on the meta device before any is trained.

    before, images_before: of the pretraining. Gives the notes of `load_weights`; WeightsError where they
    do not fit.
    """
    with torch.device("meta"):
        network = build_for(settings, images.shape, len(images.classes), seed=0)
        trained = build_for(before, images_before.shape, len(images_before.classes), seed=0)
    given = dict(trained.backbone.state_dict())
    path = Path(f"pretraining:{name}")
    return load_backbone(network.backbone, given, path, classes=len(images.classes))
