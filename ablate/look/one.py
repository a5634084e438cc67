"""One trial, looked at: what its network gives for the images that are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ablate.look.cam import grad_cam
from ablate.look.capture import capture, evaluating
from ablate.look.layers import attached_modules, modules_by_name
from ablate.look.rows import (
    Array,
    AttentionRow,
    BranchRow,
    CamRow,
    ChangeRow,
    LayerRow,
    Prediction,
)
from ablate.models import Network

Captured = dict[str, tuple[Tensor, tuple[Tensor, ...]]]


@dataclass(frozen=True)
class Subject:
    """A trained network and what it is shown.

    start: the same network before training, None where its weights came from elsewhere. shown: (N, C, H, W).
    labels: int64 (N,). sample, sample_labels: the images that gates are measured over.
    """

    network: Network
    start: Network | None
    shown: Tensor
    labels: NDArray[np.int64]
    sample: Tensor
    sample_labels: NDArray[np.int64]
    classes: int


def read_maps(
    subject: Subject, layers: Sequence[str], channels: int, top: int
) -> tuple[tuple[Prediction, ...], dict[str, tuple[Any, ...]]]:
    """Predictions for the shown images, and {field of TrialLook: rows} of all that one forward pass gives."""
    network = subject.network
    named = modules_by_name(network)
    attached = attached_modules(network)
    wanted = {f"layer {path}": named[path] for path in layers}
    wanted |= {f"attention {place}": module for place, module in attached.items()}
    scales = {place: _scales(module) for place, module in attached.items()}
    for place, parts in scales.items():
        wanted |= {f"scale {place} {path}": module for path, module in parts.items()}
    logits, seen = capture(network, subject.shown, wanted)
    rows: dict[str, tuple[Any, ...]] = {
        "layers": tuple(
            _layer(path, seen[f"layer {path}"][1][0].numpy(), channels, top)
            for path in layers
            if f"layer {path}" in seen
        ),
        "changes": tuple(_change(place, *seen[f"attention {place}"]) for place in attached),
        "branches": tuple(_branches(place, parts, seen) for place, parts in scales.items() if parts),
        "attention": tuple(
            row
            for place, module in attached.items()
            if hasattr(module, "looks_from")
            for row in _attention(place, module, seen[f"attention {place}"][0], subject.shown.device)
        ),
    }
    return _predictions(logits, subject.labels), rows


def _predictions(logits: Tensor, labels: NDArray[np.int64]) -> tuple[Prediction, ...]:
    probability = logits.softmax(1)
    best = probability.max(1)
    return tuple(
        Prediction(int(predicted), float(confidence), float(own[label]))
        for predicted, confidence, own, label in zip(
            best.indices, best.values, probability, labels, strict=True
        )
    )


def _layer(path: str, maps: Array, channels: int, top: int) -> LayerRow:
    """maps: (N, C, H, W)."""
    response = np.abs(maps).mean(axis=(2, 3))  # (N, C)
    strongest = np.argsort(-response.mean(axis=0), kind="stable")[:channels]
    per_image = np.argsort(-response, axis=1, kind="stable")[:, :top]  # (N, k)
    images = np.arange(len(maps))[:, None]
    return LayerRow(
        layer=path,
        shape=(maps.shape[1], maps.shape[2], maps.shape[3]),
        channels=tuple(int(channel) for channel in strongest),
        maps=maps[:, strongest],
        top=per_image,
        top_response=response[images, per_image],
        top_maps=maps[images, per_image],
    )


def _change(place: str, given: Tensor, outputs: tuple[Tensor, ...]) -> ChangeRow:
    apart = (outputs[0] - given).norm(dim=1)
    length = given.norm(dim=1)
    share = torch.where(length > 0, apart / length.clamp_min(1e-12), torch.zeros_like(apart))
    return ChangeRow(place, share.numpy())


def _scales(module: nn.Module) -> dict[str, nn.Module]:
    """{path: branch} of a mechanism that names its `scales`, those that are switched on."""
    present = dict(module.named_modules())
    return {path: present[path] for path in getattr(module, "scales", ()) if path in present}


def _branches(place: str, parts: dict[str, nn.Module], seen: Captured) -> BranchRow:
    maps = [seen[f"scale {place} {path}"][1][0].abs().mean(dim=1) for path in parts]
    stacked = torch.stack(maps, dim=1).numpy()  # (N, branches, H, W)
    names = tuple(path.removeprefix("multi_scale.") for path in parts)
    return BranchRow(place, names, stacked, stacked.mean(axis=(2, 3)))


@torch.no_grad()
def _attention(place: str, module: nn.Module, given: Tensor, device: torch.device) -> Iterator[AttentionRow]:
    queries = query_positions(*given.shape[2:])
    with evaluating(module):
        parts = module.looks_from(given.to(device), queries)
    for part, weights in parts.items():
        yield AttentionRow(place, part, queries, weights.mean(dim=1).float().cpu().numpy())


def query_positions(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """The middle of the map and of its four quarters."""
    rows, columns = (
        (side // 2, side // 4, side - 1 - side // 4 if side > 1 else 0) for side in (height, width)
    )
    middle, first, last = zip(rows, columns, strict=True)
    corners = ((r, c) for r in (first[0], last[0]) for c in (first[1], last[1]))
    return tuple(dict.fromkeys((middle, *corners)))


def read_cam(subject: Subject, layer: str, predictions: Sequence[Prediction]) -> CamRow:
    module = modules_by_name(subject.network)[layer]
    said = torch.tensor([prediction.predicted for prediction in predictions])
    predicted, true = (
        grad_cam(subject.network, module, subject.shown, targets.to(subject.shown.device)).numpy()
        for targets in (said, torch.from_numpy(subject.labels))
    )
    return CamRow(layer, predicted, true)
