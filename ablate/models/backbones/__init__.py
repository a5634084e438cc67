"""Backbones: a new one is a function and one line in BACKBONES.

A backbone takes ``classes`` and ``image_shape`` (C, H, W) and its own keyword arguments, and gives a module
that maps (B, C, H, W) to logits (B, classes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ablate.models.backbones.cnn import cnn
from ablate.models.backbones.from_timm import from_timm
from ablate.models.backbones.from_torchvision import from_torchvision
from ablate.models.backbones.resnet import resnet18
from ablate.models.backbones.vgg import vgg16
from ablate.models.construct import ModelError, accepted_arguments, construct, resolve

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "cnn": cnn,
    "resnet18": resnet18,
    "vgg16": vgg16,
}

# ``library:NAME`` gives any of a library's models
LIBRARIES: dict[str, Callable[..., nn.Module]] = {
    "torchvision": from_torchvision,
    "timm": from_timm,
}


def build_backbone(
    name: str, *, classes: int, image_shape: tuple[int, int, int], args: Mapping[str, Any]
) -> nn.Module:
    """The backbone `name`: an entry of BACKBONES, ``torchvision:NAME``, ``timm:NAME`` or
    ``package.module:function``; from scratch, in training mode.

    Raises ModelError when it cannot be built as asked.
    """
    library, _, model = name.partition(":")
    if library in LIBRARIES and model:
        return LIBRARIES[library](model, classes=classes, image_shape=tuple(image_shape), args=args)
    factory = resolve("backbone", name, BACKBONES)
    given = {"classes": classes, "image_shape": tuple(image_shape)}
    missing = [
        key for key in given if key not in (accepted := accepted_arguments(factory)) and "**" not in accepted
    ]
    if missing:
        raise ModelError(
            f"backbone {name!r} must take `classes` and `image_shape`; it lacks {', '.join(missing)}"
        )
    backbone = construct("backbone", name, factory, given, args)
    if not isinstance(backbone, nn.Module):
        raise ModelError(f"backbone {name!r} gave a {type(backbone).__name__}, not a torch.nn.Module")
    return backbone


__all__ = ["BACKBONES", "LIBRARIES", "build_backbone"]
