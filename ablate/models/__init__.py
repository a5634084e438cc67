"""Backbones, attention mechanisms, and what joins them. Plain arguments in, a Network out."""

from ablate.models.attach import Place, PlaceError
from ablate.models.attention import MECHANISMS, build_attention
from ablate.models.backbones import BACKBONES, build_backbone
from ablate.models.construct import ModelError
from ablate.models.network import Network, attach_attention, build_network

__all__ = [
    "BACKBONES",
    "MECHANISMS",
    "ModelError",
    "Network",
    "Place",
    "PlaceError",
    "attach_attention",
    "build_attention",
    "build_backbone",
    "build_network",
]
