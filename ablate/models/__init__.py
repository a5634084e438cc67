"""Backbones, attention mechanisms, and what joins them. Plain arguments in, a Network out."""

from ablate.models.attach import Place, PlaceError
from ablate.models.attention import MECHANISMS, build_attention, nondeterministic_operators
from ablate.models.backbones import BACKBONES, build_backbone
from ablate.models.construct import ModelError
from ablate.models.network import Network, attach_attention, build_network
from ablate.models.weights import WeightsError, load_weights, locate_weights

__all__ = [
    "BACKBONES",
    "MECHANISMS",
    "ModelError",
    "Network",
    "Place",
    "PlaceError",
    "WeightsError",
    "attach_attention",
    "build_attention",
    "build_backbone",
    "build_network",
    "load_weights",
    "locate_weights",
    "nondeterministic_operators",
]
