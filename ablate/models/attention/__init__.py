"""Attention mechanisms: one a file. A new one is a class and one line in MECHANISMS.

A mechanism takes ``channels`` and keyword arguments and maps (B, C, H, W) to the same shape; if it has an
argument ``map_shape``, it is given the (H, W) of its map. These attributes are optional:
  notes                        what a user should know of this instance
  map_notes(height, width)     what is lost on a small map
  switches                     names of on/off arguments: with all off, the module is absent
  gates                        names of submodules that give a gate (`ablate.models.gates`)
  scales                       paths of submodules that look at the map at different scales, side by side
  looks_from(x, positions)     where positions look in the map, for those that attend over it
  nondeterministic             on a module inside, too: operators without a deterministic backward on CUDA
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ablate.models.attention.axial import AxialAttention
from ablate.models.attention.cbam import ConvolutionalBlockAttention
from ablate.models.attention.coordinate import CoordinateAttention
from ablate.models.attention.eca import EfficientChannelAttention
from ablate.models.attention.grouped import GroupedAttention
from ablate.models.attention.linear import LinearAttention
from ablate.models.attention.msa import MultiScaleAttention
from ablate.models.attention.registered import check_registered
from ablate.models.attention.se import SqueezeExcitation
from ablate.models.attention.selective_kernel import SelectiveKernel
from ablate.models.attention.self_attention import SelfAttention
from ablate.models.attention.timm_layers import PREFIX, timm_attention, timm_names
from ablate.models.construct import ModelError, accepted_arguments, construct, resolve
from ablate.models.gates import replace_gates

MECHANISMS: dict[str, type[nn.Module]] = {
    "axial": AxialAttention,
    "cbam": ConvolutionalBlockAttention,
    "coordinate": CoordinateAttention,
    "eca": EfficientChannelAttention,
    "grouped": GroupedAttention,
    "linear": LinearAttention,
    "msa": MultiScaleAttention,
    "se": SqueezeExcitation,
    "selective-kernel": SelectiveKernel,
    "self-attention": SelfAttention,
}


def build_attention(
    name: str,
    channels: int,
    args: Mapping[str, Any],
    gate: str = "own",
    map_shape: tuple[int, int] | None = None,
) -> nn.Module:
    """One module for a map of C channels.

    name: an entry of MECHANISMS, ``timm:NAME`` or ``package.module:Class``. gate: own, static or shuffled, as
    `ablate.models.gates` describes them. map_shape: (H, W) of the map, for mechanisms that depend on it and
    for static gates with rows or columns. Raises ModelError for a name or an argument that does not fit.
    """
    factory = _factory(name)
    accepted = accepted_arguments(factory)
    if "channels" not in accepted:
        raise ModelError(
            f"attention {name!r} must take `channels`, the number of channels of the map it sits on"
        )
    given: dict[str, Any] = {"channels": channels}
    if "map_shape" in accepted:
        given["map_shape"] = None if map_shape is None else tuple(map_shape)
    module = construct("attention", name, factory, given, args)
    if not isinstance(module, nn.Module):
        raise ModelError(f"attention {name!r} gave a {type(module).__name__}, not a torch.nn.Module")
    if name not in MECHANISMS:
        check_registered(name, module)
    gating = tuple(known for known, mechanism in MECHANISMS.items() if getattr(mechanism, "gates", ()))
    replace_gates(module, gate, name=name, channels=channels, map_shape=map_shape, gating=gating)
    return module


def is_absent(name: str, args: Mapping[str, Any]) -> bool:
    """True when `args` turns every switch of the mechanism off: such an attention is none at all."""
    switches = getattr(_factory(name), "switches", ())
    return bool(switches) and all(args.get(switch, True) is False for switch in switches)


def nondeterministic_operators(network: nn.Module) -> tuple[str, ...]:
    """Operators in `network` without a deterministic backward on CUDA, as its modules name them."""
    named = (name for module in network.modules() for name in getattr(module, "nondeterministic", ()))
    return tuple(dict.fromkeys(named))


def _factory(name: str) -> Callable[..., Any]:
    if name.startswith(PREFIX):
        return timm_attention(name)
    return resolve("attention", name, MECHANISMS)


__all__ = [
    "MECHANISMS",
    "build_attention",
    "is_absent",
    "nondeterministic_operators",
    "timm_names",
]
