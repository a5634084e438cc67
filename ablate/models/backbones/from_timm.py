"""``timm:NAME``: every model of timm, from scratch, through its own factory.

Classes and image channels, and the image size where the network is bound to it, are those of the data.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import nn

from ablate.errors import MachineError, did_you_mean
from ablate.models.construct import ModelError, construct

_WEIGHTS = "say which weights in model.weights"
_DATA = "it follows from the data"
_LOGITS = "a backbone gives logits; models/features.py gives feature maps"
# Arguments of timm's factory that the study says elsewhere, and where
ELSEWHERE = {
    "pretrained": _WEIGHTS,
    "pretrained_cfg": _WEIGHTS,
    "pretrained_cfg_overlay": _WEIGHTS,
    "checkpoint_path": _WEIGHTS,
    "cache_dir": _WEIGHTS,
    "num_classes": _DATA,
    "in_chans": _DATA,
    "img_size": _DATA,
    "features_only": _LOGITS,
    "out_indices": _LOGITS,
}


def require_timm() -> ModuleType:
    """timm, imported. Raises MachineError with the command that installs it."""
    try:
        return import_module("timm")
    except ImportError as error:
        raise MachineError(
            f"timm cannot be imported ({error}); install it: python -m pip install 'timm>=1.0'"
        ) from error


def from_timm(
    name: str, *, classes: int, image_shape: tuple[int, int, int], args: Mapping[str, Any]
) -> nn.Module:
    """timm's model `name` (with or without the tag of its weights), mapping (B, C, H, W) to (B, classes).

    args: what the model's own function takes. Raises ModelError for a name or an argument that does not fit,
    and MachineError without timm.
    """
    timm = require_timm()
    full_name = f"timm:{name}"
    if not timm.is_model(name):
        known = timm.list_models()
        nearest = difflib.get_close_matches(name.partition(".")[0], known, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(map(repr, nearest))}?" if nearest else "timm.list_models() lists all"
        raise ModelError(f"timm has no model {name!r}\n    {hint}")
    for key, value in args.items():
        if key in ELSEWHERE:
            raise ModelError(f"backbone {full_name!r}: {key!r} is no argument here: {ELSEWHERE[key]}")
        if value is None:
            raise ModelError(f"backbone {full_name!r}: timm ignores {key}=null; leave {key!r} out")
    given = {"model_name": name, "num_classes": classes, "in_chans": image_shape[0]}
    config = pretrained_config(name)
    if config is not None and config.fixed_input_size:
        given["img_size"] = tuple(image_shape[1:])
    return construct("backbone", full_name, timm.create_model, given, args)


def pretrained_config(name: str) -> Any:
    """timm's record of a model's weights; None without one. Raises ModelError for a tag that is not known."""
    timm = require_timm()
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        model, _, tag = name.partition(".")
        tags = [known.partition(".")[2] for known in timm.list_models(f"{model}.*", pretrained=True)]
        hint = did_you_mean(tag, tags) or f"weights of {model!r}: {', '.join(tags)}"
        raise ModelError(f"timm has no weights {tag!r} for {model!r}\n    {hint}") from error
