"""look.json: the figures' numbers, each in as many digits as it has."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from ablate.look.rows import AttentionRow, BranchRow, GateRow, LayerRow, Look, TrialLook

SCHEMA_VERSION = 1


def render_json(look: Look) -> str:
    return json.dumps(document(look), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def document(look: Look) -> dict[str, Any]:
    """Feature maps themselves are left out: the weights and the rows of the images give them again."""
    return {
        "schema_version": SCHEMA_VERSION,
        "study": look.study,
        "baseline": look.baseline,
        "classes": list(look.classes),
        "chosen": look.chosen,
        "images": [{"row": image.row, "label": image.label} for image in look.images],
        "layers": list(look.layers),
        "trials": [_trial(trial) for trial in look.trials],
        "left_out": list(look.left_out),
        "notes": list(look.notes),
    }


def _trial(trial: TrialLook) -> dict[str, Any]:
    return {
        "variant": trial.variant,
        "seed": trial.seed,
        "trial": trial.trial,
        "accuracy": trial.accuracy,
        "predictions": [asdict(prediction) for prediction in trial.predictions],
        "layers": [_layer(row) for row in trial.layers],
        "gates": [_gate(row) for row in trial.gates],
        "branches": [_branches(row) for row in trial.branches],
        "attention": [_attention(row) for row in trial.attention],
        "changes": [{"place": row.place, "maps": _list(row.maps)} for row in trial.changes],
        "class_activation": None
        if trial.cam is None
        else {
            "layer": trial.cam.layer,
            "predicted": _list(trial.cam.predicted),
            "true": _list(trial.cam.true),
        },
        "notes": list(trial.notes),
    }


def _layer(row: LayerRow) -> dict[str, Any]:
    return {
        "layer": row.layer,
        "shape": list(row.shape),
        "channels": list(row.channels),
        "top": row.top.tolist(),
        "top_response": _list(row.top_response),
    }


def _gate(row: GateRow) -> dict[str, Any]:
    return {
        "place": row.place,
        "name": row.name,
        "kind": row.kind,
        "shape": list(row.shape),
        "verdict": row.verdict,
        "sentence": row.sentence,
        **asdict(row.figures),
        "element_mean": _list(row.element_mean),
        "element_std": _list(row.element_std),
        "class_means": _list(row.class_means),
        "maps": None if row.maps is None else _list(row.maps),
        "weights": None if row.weights is None else _list(row.weights),
    }


def _branches(row: BranchRow) -> dict[str, Any]:
    return {"place": row.place, "names": list(row.names), "strength": _list(row.strength)}


def _attention(row: AttentionRow) -> dict[str, Any]:
    return {
        "place": row.place,
        "part": row.part,
        "queries": [list(query) for query in row.queries],
        "maps": _list(row.maps),
    }


def _list(values: Any) -> Any:
    """Nested lists; a float32 in the fewest digits that give it back, None for what is no number."""
    if values.ndim:
        return [_list(value) for value in values]
    number = float(np.format_float_positional(values, unique=True, trim="-"))
    return number if math.isfinite(number) else None
