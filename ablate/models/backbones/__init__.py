"""Backbones: a new one is a function and one line in BACKBONES.

A backbone takes ``classes`` and ``image_shape`` (C, H, W) and its own keyword arguments, and gives a module
that maps (B, C, H, W) to logits (B, classes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ablate.models.backbones.cnn import cnn
from ablate.models.construct import ModelError, accepted_arguments, construct, resolve

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "cnn": cnn,
}


def build_backbone(
    name: str, *, classes: int, image_shape: tuple[int, int, int], args: Mapping[str, Any]
) -> nn.Module:
    """The backbone `name`: an entry of BACKBONES or ``package.module:function``.

    Raises ModelError when it cannot be built as asked.
    """
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


__all__ = ["BACKBONES", "build_backbone"]
