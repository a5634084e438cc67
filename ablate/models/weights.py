"""Weights from a file into a network: what fits, what is adapted, what stays as it was, what is refused.

The backbone is loaded before attention is attached, and can be loaded after: its names do not change.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ablate.models.backbones.first_layer import adapt_kernel, first_convolution
from ablate.models.weight_files import WeightsError, locate_weights, read_state_dict

# Names of older versions of torchvision's modules, which its own weights files still have
RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
BACKBONE, ATTENTION = "backbone.", "attention."
MOST_HINTS = 2500  # comparisons of names; beyond, the file is of another network altogether

State = dict[str, Tensor]


def load_weights(network: nn.Module, path: Path, *, classes: int | None = None) -> tuple[str, ...]:
    """Load a file into a backbone, or into a Network with its attention; notes on what did not fit as it is.

    classes: outputs of the backbone, by default those of its last layer. The head starts fresh (is left as it
    is) where the file has another number of classes; the first layer is adapted to another number of image
    channels (see `first_layer`). A file of a finished trial also holds attention, which goes in where the
    network has the same. On the meta device names and shapes are checked and nothing is loaded. Raises
    WeightsError listing every name that is missing, unexpected or of another shape; nothing is loaded then.
    """
    is_network = hasattr(network, "detach_attention")
    backbone = network.backbone if is_network else network
    file_backbone, file_attention = open_weights(path, backbone)
    notes = load_backbone(backbone, file_backbone, path, classes=classes)
    return (*notes, *load_attention(network.attention if is_network else nn.ModuleDict(), file_attention))


def open_weights(path: Path, backbone: nn.Module) -> tuple[State, dict[str, State]]:
    """(the backbone's tensors, {place: an attention module's}) of a file, on the meta device if the backbone
    is. Only files of our own trials have both; in any other, all is the backbone's.
    """
    tensors = read_state_dict(path, _device(backbone))
    if _fits_at_once(backbone, tensors):
        return tensors, {}
    if all(name.startswith((BACKBONE, ATTENTION)) for name in tensors):
        own = {name.removeprefix(BACKBONE): t for name, t in tensors.items() if name.startswith(BACKBONE)}
        known = _tensors_of(backbone).keys()
        if len(own.keys() & known) >= len(tensors.keys() & known):  # a user's names may look like ours
            attention: dict[str, State] = {}
            for name, tensor in tensors.items():
                if name.startswith(ATTENTION):
                    _, place, inner = name.split(".", 2)
                    attention.setdefault(place, {})[inner] = tensor
            return own, attention
    return _by_timms_rule(backbone, tensors, path), {}


def load_backbone(
    backbone: nn.Module,
    given: State,
    path: Path,
    *,
    classes: int | None = None,
    other_classes: bool = False,
) -> tuple[str, ...]:
    """Load {name: tensor} into a backbone; see `load_weights`. path: for messages.

    other_classes: the file's are others, be they as many: the head starts fresh in any case.
    """
    wanted = _tensors_of(backbone)
    given = dict(_renamed(given, wanted))
    ready: State = {}
    notes: list[str] = []
    adapted = _adapted_first_layers(backbone, given, wanted)
    fresh = _fresh_heads(backbone, given, wanted, classes, other_classes)
    missing, misshapen = [], []
    for name, tensor in wanted.items():
        if name in adapted:
            ready[name] = adapted[name]
            before, after = given[name].shape[1], tensor.shape[1]
            notes.append(f"weights: {name} was adapted from {before} image channels to {after}")
        elif name in given and name in fresh:
            continue
        elif name in given and given[name].shape == tensor.shape:
            ready[name] = given[name]
        elif name in given:
            misshapen.append(name)
        elif name not in given and not name.endswith("num_batches_tracked"):  # older torch did not count
            missing.append(name)
    unexpected = [name for name in given if name not in wanted]
    off = [name for name in unexpected if _is_switched_off(backbone, name)]
    unexpected = [name for name in unexpected if name not in off]
    if missing or unexpected or misshapen:
        raise _misfit(path, given, wanted, missing, unexpected, misshapen)
    notes += [f"weights: {note}" for note in fresh.values() if note]
    if off:
        tops = ", ".join(dict.fromkeys(name.partition(".")[0] for name in off))
        notes.append(f"weights: {tops} of the file was left out, as the backbone has it switched off")
    _copy(ready, wanted)
    return tuple(notes)


def load_attention(attention: nn.ModuleDict, given: Mapping[str, State]) -> tuple[str, ...]:
    """Load {place: {name: tensor}} into the attention of a Network where it is the same; a note for the rest.

    place: the module's path with "." replaced by "/".
    """
    notes = []
    for place, tensors in given.items():
        wanted = _tensors_of(attention[place]) if place in attention else {}
        if {name: t.shape for name, t in tensors.items()} == {name: t.shape for name, t in wanted.items()}:
            _copy(tensors, wanted)
        else:
            why = "this network has another there" if wanted else "this network has none there"
            notes.append(f"weights: attention at {place.replace('/', '.')} was left out: {why}")
    return tuple(notes)


def _tensors_of(module: nn.Module) -> State:
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def _device(module: nn.Module) -> str:
    return "meta" if any(tensor.is_meta for tensor in _tensors_of(module).values()) else "cpu"


def _copy(ready: State, wanted: State) -> None:
    with torch.no_grad():
        for name, tensor in ready.items():
            if not wanted[name].is_meta:
                wanted[name].copy_(tensor)


def _fits_at_once(backbone: nn.Module, tensors: State) -> bool:
    wanted = _tensors_of(backbone)
    return wanted.keys() == tensors.keys() and all(wanted[k].shape == tensors[k].shape for k in wanted)


def _renamed(given: State, wanted: State) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in given.items():
        names = (name, *(pattern.sub(new, name) for pattern, new in RENAMED))
        yield next((candidate for candidate in names if candidate in wanted), name), tensor


def _by_timms_rule(backbone: nn.Module, tensors: State, path: Path) -> State:
    """What timm makes of a file for this model: names of the authors' own code, position tables resampled."""
    rule = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if rule is None or not hasattr(backbone, "pretrained_cfg"):
        return tensors
    numbers = read_state_dict(path) if _device(backbone) == "meta" else dict(tensors)  # it may calculate
    try:
        return dict(rule(numbers, backbone))
    except Exception:  # a file of another network may fail it in any way; the names then say what is wrong
        return tensors


def _adapted_first_layers(backbone: nn.Module, given: State, wanted: State) -> State:
    """{name: kernel} of first layers that differ from the file's in the number of image channels alone."""
    found = first_convolution(backbone)
    paths: Any = getattr(backbone, "pretrained_cfg", {}).get("first_conv") or (found[0] if found else ())
    adapted = {}
    for path in (paths,) if isinstance(paths, str) else paths:
        name = f"{path}.weight"
        if name in given and name in wanted and given[name].ndim == wanted[name].ndim == 4:
            before, after = given[name].shape, wanted[name].shape
            if before[1] != after[1] and (before[0], *before[2:]) == (after[0], *after[2:]):
                adapted[name] = adapt_kernel(given[name], after[1])
    return adapted


def _fresh_heads(
    backbone: nn.Module, given: State, wanted: State, classes: int | None, other_classes: bool
) -> dict[str, str | None]:
    """{name: a note, one a layer} of layers that differ from the file's in the number of classes alone; with
    `other_classes` of the head, the last layer that gives so many, as well."""
    layers = {
        path: module for path, module in backbone.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)
    }
    if classes is None and layers:
        classes = list(layers.values())[-1].weight.shape[0]
    fresh: dict[str, str | None] = {}
    for path in layers:
        name = f"{path}.weight"
        if name in given and name in wanted:
            before, after = given[name].shape, wanted[name].shape
            if before[0] != after[0] == classes and before[1:] == after[1:]:
                fresh[name] = f"{path} starts fresh: {before[0]} classes in the file, {after[0]} here"
                fresh[f"{path}.bias"] = None
    weights = {
        path: wanted.get(f"{path}.weight") for path in layers
    }  # none where it is made of other tensors
    heads = [path for path, weight in weights.items() if weight is not None and weight.shape[0] == classes]
    if other_classes and heads and f"{heads[-1]}.weight" not in fresh:
        fresh[f"{heads[-1]}.weight"] = f"{heads[-1]} starts fresh: the classes are others than the file's"
        fresh[f"{heads[-1]}.bias"] = None
    return fresh


def _is_switched_off(backbone: nn.Module, name: str) -> bool:
    """True for a tensor of a part that the backbone knows by name and holds as None: an auxiliary head."""
    return getattr(backbone, name.partition(".")[0], backbone) is None


def _misfit(
    path: Path,
    given: State,
    wanted: State,
    missing: list[str],
    unexpected: list[str],
    misshapen: list[str],
) -> WeightsError:
    lines = [f"missing in the file: {name}{_nearest(name, unexpected, len(missing))}" for name in missing]
    lines += [f"not in the backbone: {name}{_nearest(name, missing, len(unexpected))}" for name in unexpected]
    lines += [
        f"another shape: {name} is {tuple(given[name].shape)} in the file, {tuple(wanted[name].shape)} here"
        for name in misshapen
    ]
    counts = ((missing, "missing"), (unexpected, "unexpected"), (misshapen, "of another shape"))
    summary = ", ".join(f"{len(names)} {what}" for names, what in counts if names)
    return WeightsError(
        f"the weights file {str(path)!r} does not fit the backbone: {summary}"
        + "".join(f"\n    {line}" for line in lines)
    )


def _nearest(name: str, others: Iterable[str], count: int) -> str:
    others = list(others)
    if not others or count * len(others) > MOST_HINTS:
        return ""
    nearest = difflib.get_close_matches(name, others, n=1, cutoff=0.6)
    return f" (near it: {nearest[0]})" if nearest else ""


__all__ = [
    "WeightsError",
    "load_attention",
    "load_backbone",
    "load_weights",
    "locate_weights",
    "open_weights",
    "read_state_dict",
]
