"""``torchvision:NAME``: every classification model of torchvision, from scratch.

Classes, image channels and, where the network is bound to it, image size are those of the data. Auxiliary
heads are off; pools that have no deterministic backward pass on CUDA are replaced by an equal one.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from torch import nn

from ablate.environment import require_torchvision
from ablate.models.backbones.first_layer import take_channels
from ablate.models.backbones.pool import AveragePool
from ablate.models.construct import ModelError, construct

# What a builder takes beside the arguments of its class, which swallows any other
MORE_ARGUMENTS = {"MobileNetV3": ("width_mult", "reduced_tail", "dilated")}
# Two classes draw truncated normals by default, with a warning that it takes minutes; `init_weights: true` in
# the study brings that back.
QUICK_START = {"GoogLeNet": {"init_weights": False}, "Inception3": {"init_weights": False}}


def from_torchvision(
    name: str, *, classes: int, image_shape: tuple[int, int, int], args: Mapping[str, Any]
) -> nn.Module:
    """torchvision's model `name`, mapping (B, C, H, W) to (B, classes).

    args: those of the model's class. Raises ModelError for a name or an argument that does not exist, and
    MachineError without a working torchvision.
    """
    require_torchvision()
    full_name, builder = f"torchvision:{name}", _builder(name)
    network_class = get_type_hints(builder)["return"]
    known = inspect.signature(network_class).parameters
    given: dict[str, Any] = {"num_classes": classes}
    channels, height, width = image_shape
    if "aux_logits" in known:
        given["aux_logits"] = False
    if "image_size" in known:
        if height != width:
            raise ModelError(f"backbone {full_name!r} takes square images only, not {height}×{width}")
        given["image_size"] = height
    if "input_size" in known:
        given["input_size"] = (height, width)
    args = QUICK_START.get(network_class.__name__, {}) | dict(args)
    network = construct(
        "backbone", full_name, builder, given, args, accepts=(*given, *_choice(network_class))
    )
    try:
        take_channels(network, channels)
    except ValueError as error:
        raise ModelError(f"backbone {full_name!r}: {error}") from error
    _replace_pools(network)
    return network


def _builder(name: str) -> Any:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = (
            f"did you mean {', '.join(map(repr, nearest))}?" if nearest else f"there are {', '.join(known)}"
        )
        raise ModelError(f"torchvision has no classification model {name!r}\n    {hint}")
    return models.get_model_builder(name)


def _choice(network_class: type[nn.Module]) -> tuple[str, ...]:
    """Arguments that a study can give: those without a default are the builder's own business."""
    parameters = inspect.signature(network_class).parameters.values()
    optional = [parameter.name for parameter in parameters if parameter.default is not parameter.empty]
    return (*optional, *MORE_ARGUMENTS.get(network_class.__name__, ()))


def _replace_pools(network: nn.Module) -> None:
    """At 1×1 torch itself takes a plain mean, which is deterministic."""
    for parent in list(network.modules()):
        for name, module in parent.named_children():
            if isinstance(module, nn.AdaptiveAvgPool2d):
                size = module.output_size
                height, width = size if isinstance(size, tuple) else (size, size)
                if height and width and (height, width) != (1, 1):
                    setattr(parent, name, AveragePool(height, width))
