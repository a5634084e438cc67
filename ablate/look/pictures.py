"""What the page's script draws: every picture of a look as a small data: address."""

from __future__ import annotations

from typing import Any

import numpy as np

from ablate.look.rows import Array, AttentionRow, BranchRow, ChangeRow, LayerRow, Look, TrialLook
from ablate.look.thumbs import heat, photo, sprite, unit


def data_of(look: Look) -> dict[str, Any]:
    return {
        "classes": list(look.classes),
        "images": [
            {"src": photo(image.pixels), "label": image.label, "row": image.row} for image in look.images
        ],
        "trials": [_trial(trial, look) for trial in look.trials],
    }


def _trial(trial: TrialLook, look: Look) -> dict[str, Any]:
    cam = trial.cam
    return {
        "variant": trial.variant,
        "seed": trial.seed,
        "accuracy": trial.accuracy,
        "says": [
            [said.predicted, round(said.confidence, 4), round(said.true_confidence, 4)]
            for said in trial.predictions
        ],
        "cam": None
        if cam is None
        else {
            "layer": cam.layer,
            "predicted": [_own_heat(one) for one in cam.predicted],
            # only where the prediction is another: else it is the map of the predicted class
            "true": [
                None if said.predicted == image.label else _own_heat(one)
                for one, said, image in zip(cam.true, trial.predictions, look.images, strict=True)
            ],
        },
        "layers": {row.layer: _layer(row) for row in trial.layers},
        "modules": _modules(trial),
    }


def _own_heat(values: Array) -> str | None:
    """From 0 to its own highest value; None where there is none."""
    high = float(values.max())
    return heat(unit(values, 0.0, high)) if high > 0 else None


def _layer(row: LayerRow) -> dict[str, Any]:
    low = row.maps.min(axis=(0, 2, 3), keepdims=True)
    span = np.maximum(row.maps.max(axis=(0, 2, 3), keepdims=True) - low, 1e-12)
    return {
        "shape": "×".join(map(str, row.shape)),
        "channels": list(row.channels),
        "maps": [sprite(one) for one in (row.maps - low) / span],
        "top": row.top.tolist(),
        "heat": [
            [heat(unit(one, float(one.min()), float(one.max()))) for one in of_image]
            for of_image in row.top_maps
        ],
    }


def _modules(trial: TrialLook) -> list[dict[str, Any]]:
    """A module a place: its maps, and what lies over the image."""
    found = []
    for change in trial.changes:
        gates = [gate for gate in trial.gates if gate.place == change.place and gate.maps is not None]
        branches = [row for row in trial.branches if row.place == change.place]
        attention = [row for row in trial.attention if row.place == change.place]
        maps = [_change_strip(change)]
        maps += [
            _strip(gate.label.removeprefix(f"{gate.place}, "), gate.maps)
            for gate in gates
            if gate.maps is not None
        ]
        maps += [strip for row in branches for strip in _branch_strips(row)]
        over = [strip for row in attention for strip in _attention_strips(row)]
        found.append({"place": change.place, "maps": maps, "over": over})
    return found


def _strip(name: str, maps: Array, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    ends = (float(maps.min()) if low is None else low, float(maps.max()) if high is None else high)
    return {
        "name": name,
        "range": f"{ends[0]:.3g} to {ends[1]:.3g}",
        "images": [sprite(unit(one, *ends)[None]) for one in maps],
    }


def _change_strip(row: ChangeRow) -> dict[str, Any]:
    return _strip("change", row.maps, low=0.0)


def _branch_strips(row: BranchRow) -> list[dict[str, Any]]:
    high = float(row.maps.max())  # one scale, so that their strengths can be compared
    return [_strip(name, row.maps[:, at], 0.0, high) for at, name in enumerate(row.names)]


def _attention_strips(row: AttentionRow) -> list[dict[str, Any]]:
    height, width = row.maps.shape[2:]
    part = f" along {row.part}" if row.part else ""
    return [
        {
            "name": f"looks{part} from {down}, {across}",
            "dot": [round((across + 0.5) / width, 4), round((down + 0.5) / height, 4)],
            "images": [_own_heat(one) for one in row.maps[:, at]],
        }
        for at, (down, across) in enumerate(row.queries)
    ]
