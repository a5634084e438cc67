"""Attention mechanisms: one a file. A new one is a class and one line in MECHANISMS.

A mechanism takes ``channels`` and keyword arguments and maps (B, C, H, W) to the same shape. Three attributes
are optional: ``notes`` (what a user should know of this instance), ``switches`` (names of on/off arguments:
with all off, the module is absent) and ``map_notes(height, width)`` (what is lost on a small map).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ablate.models.attention.msa import MultiScaleAttention
from ablate.models.attention.se import SqueezeExcitation
from ablate.models.construct import ModelError, accepted_arguments, construct, resolve

MECHANISMS: dict[str, type[nn.Module]] = {
    "msa": MultiScaleAttention,
    "se": SqueezeExcitation,
}


def build_attention(name: str, channels: int, args: Mapping[str, Any]) -> nn.Module:
    """One module for a map of C channels. `name`: an entry of MECHANISMS or ``package.module:Class``.

    Raises ModelError for a name or an argument that does not fit.
    """
    factory = resolve("attention", name, MECHANISMS)
    if "channels" not in accepted_arguments(factory):
        raise ModelError(
            f"attention {name!r} must take `channels`, the number of channels of the map it sits on"
        )
    module = construct("attention", name, factory, {"channels": channels}, args)
    if not isinstance(module, nn.Module):
        raise ModelError(f"attention {name!r} gave a {type(module).__name__}, not a torch.nn.Module")
    return module


def is_absent(name: str, args: Mapping[str, Any]) -> bool:
    """True when `args` turns every switch of the mechanism off: such an attention is none at all."""
    switches = getattr(resolve("attention", name, MECHANISMS), "switches", ())
    return bool(switches) and all(args.get(switch, True) is False for switch in switches)


__all__ = ["MECHANISMS", "build_attention", "is_absent"]
