"""``timm:NAME``: every attention layer of timm, through its own factory, `timm.layers.create_attn`.

timm's layers swallow arguments that they do not know (``**_``); here the named ones are all there are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import nn

from ablate.errors import did_you_mean
from ablate.models.backbones.from_timm import require_timm
from ablate.models.construct import ModelError

PREFIX = "timm:"

# What `get_attn` of timm answers to, in any version; those that the installed one lacks are left out of lists
NAMES = (
    *(
        "se",
        "ese",
        "eca",
        "ecam",
        "ceca",
        "ge",
        "gc",
        "gca",
        "cbam",
        "lcbam",
        "coord",
        "scoord",
        "ela",
        "strip",
    ),
    *("sk", "splat", "lambda", "bottleneck", "halo", "nl", "bat"),
)
_NOT_THE_STUDYS = ("device", "dtype")


def timm_attention(name: str) -> Callable[..., nn.Module]:
    """The factory of ``timm:NAME``: takes `channels`, the layer's named arguments, and `map_shape`.

    map_shape, (H, W), becomes the `feat_size` of a layer that has one. Raises ModelError for a name that timm
    does not know, and MachineError without timm.
    """
    require_timm()
    factory = _look_up(import_module("timm.layers.create_attn"), name.removeprefix(PREFIX))
    channels, *others = inspect.signature(factory).parameters.values()
    named = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in others
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD and parameter.name not in _NOT_THE_STUDYS
    ]
    sized = any(parameter.name == "feat_size" for parameter in named)

    def build(channels: int, *, map_shape: tuple[int, int] | None = None, **args: Any) -> nn.Module:
        size = {"feat_size": map_shape} if sized and map_shape is not None else {}
        return factory(channels, **size | args)

    own = inspect.Parameter("map_shape", inspect.Parameter.KEYWORD_ONLY, default=None)
    first = channels.replace(name="channels", default=inspect.Parameter.empty)
    build.__signature__ = inspect.Signature([first, *named, own])
    return build


def timm_names() -> tuple[str, ...]:
    """The attention layers of the installed timm. Raises MachineError without timm."""
    require_timm()
    registry = import_module("timm.layers.create_attn")
    return tuple(name for name in NAMES if _get(registry, name) is not None)


def _look_up(registry: ModuleType, name: str) -> Callable[..., nn.Module]:
    factory = _get(registry, name) if name == name.lower() else None
    if factory is None:
        known = timm_names()
        hint = did_you_mean(name.lower(), known)
        raise ModelError(
            f"timm has no attention layer {name!r}\n    allowed: {', '.join(map(PREFIX.__add__, known))}"
            + (f"\n    {hint}" if hint else "")
        )
    return factory


def _get(registry: ModuleType, name: str) -> Callable[..., nn.Module] | None:
    try:
        return registry.get_attn(name)
    except AssertionError:  # how timm says that it does not know the name
        return None
