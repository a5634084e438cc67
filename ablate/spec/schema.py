"""A JSON Schema of the study file, for editors that complete and check YAML (yaml-language-server).

It is drawn from the same models and the same catalogue as the checks; what a schema cannot say (names that
refer to one another, arguments that depend on a mechanism) only `validate` finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from ablate.spec.catalogue import (
    ATTENTION,
    BACKBONES,
    OPTIMIZERS,
    SCHEDULES,
    SOURCES,
    Argument,
)
from ablate.spec.claims import CLAIMS
from ablate.spec.dotted import known_keys
from ablate.spec.matrix import Matrix
from ablate.spec.settings import Settings
from ablate.spec.study import Analysis, Control, Head
from ablate.spec.sweeps import Design, Sweep
from ablate.spec.tune import Tune

Schema = dict[str, Any]

_NAMES: dict[str, tuple[str, ...]] = {
    "data.source": tuple(SOURCES),
    "model.backbone": tuple(BACKBONES),
    "model.attention.name": tuple(ATTENTION),
    "train.optimizer.name": tuple(OPTIMIZERS),
    "train.schedule.name": tuple(SCHEDULES),
}
_OPEN = ("data.source", "model.backbone", "model.attention.name")  # an import path is a name too


def _by_name(entries: Iterable[Mapping[str, Argument]]) -> dict[str, tuple[Argument, ...]]:
    """Each argument's name with all that it stands for: two entries may mean different things by one name."""
    found: dict[str, tuple[Argument, ...]] = {}
    for name, argument in (pair for args in entries for pair in args.items()):
        others = found.get(name, ())
        found[name] = others if argument in others else (*others, argument)
    return found


_ARGUMENTS: dict[str, dict[str, tuple[Argument, ...]]] = {
    "model.args": _by_name(entry.args for entry in BACKBONES.values()),
    "model.attention.args": _by_name(entry.args for entry in ATTENTION.values()),
    "train.optimizer.args": _by_name(entry.args for entry in OPTIMIZERS.values()),
}
_SETTING_KEY = r"^(data|model|train)\.[\w.]+$"

DESCRIPTIONS: dict[str, str] = {
    "data.source": "which images; package.module:function for your own",
    "data.root": "where downloaded data, or your own folder, lie",
    "data.classes": "only the images of these classes, by name or number; null: all",
    "data.image_size": "side in pixels to scale to; null keeps the source's",
    "data.fraction": "of the training images, stratified; taken before the validation split",
    "data.validation": "part of the training images that is held out for schedules and choices",
    "data.split": "fixed: one split for the study; per-seed: another for each seed",
    "data.split_seed": "seed of the split",
    "data.augment": "training-time augmentation; left out means off",
    "data.augment.crop": "pixels of zero padding before a random crop",
    "data.augment.flip": "mirror half of the images",
    "data.augment.jitter": "strength of brightness, contrast, saturation and hue changes",
    "data.augment.rotate": "largest angle in degrees",
    "model.backbone": "the network; also torchvision:NAME, timm:NAME or package.module:function",
    "model.args": "the backbone's arguments",
    "model.weights": "null, default, pretraining:NAME, or the path of a weights file",
    "model.attention": "null: none",
    "model.attention.name": "the mechanism; package.module:Class for your own",
    "model.attention.args": "the mechanism's arguments",
    "model.attention.at": "module paths or globs of the backbone where it sits",
    "model.attention.place": "after the module, or on a residual block's branch before the addition",
    "model.attention.gate": "own; static: learned, the same for every input; shuffled: of another image",
    "train.epochs": "passes over the training images",
    "train.steps": "optimiser steps in all, in place of epochs",
    "train.lr": "learning rates by glob over modules; attention is called attention.*",
    "train.accumulate": "parts in which the images of a step go through the network",
    "train.gradient_checkpointing": "compute activations again instead of keeping them",
    "train.batch_size": "images a step",
    "train.optimizer": "name, lr, weight_decay, args",
    "train.optimizer.name": "one of torch.optim, in lower case",
    "train.optimizer.lr": "learning rate",
    "train.optimizer.weight_decay": "weight decay",
    "train.optimizer.decay_on": "all parameters, or weights: biases and norms are spared",
    "train.optimizer.args": "the optimiser's further arguments",
    "train.schedule": "name and the schedule's own keys",
    "train.schedule.name": "how the learning rate changes",
    "train.stages": "stages of a staged recipe",
    "train.label_smoothing": "part of the target spread over all classes",
    "train.clip_norm": "largest norm of the gradient; null: no clipping",
    "train.precision": "auto is resolved per device, and recorded",
    "train.channels_last": "memory layout",
    "train.compile": "torch.compile",
    "train.accelerate": "a faster way to the same gradients, if a probe finds that it is one; off: none",
    "train.deterministic": "only algorithms that repeat bit for bit",
    "train.keep": "weights kept of a finished trial",
} | {
    f"train.schedule.{key}": f"{schedule}: {argument.doc}"
    for schedule, arguments in SCHEDULES.items()
    for key, argument in arguments.items()
}


def json_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a study file."""
    definitions: Schema = {}
    settings = _of(Settings, definitions)
    _enrich(settings, definitions, "")
    variant = {
        "type": ["object", "null"],
        "properties": {
            "extends": {"type": "string", "description": "start from this variant instead of the defaults"}
        }
        | {key: _setting(key, settings, definitions) for key in known_keys()},
        "patternProperties": {rf"^{re.escape(prefix)}\.": {} for prefix in _ARGUMENTS},
        "additionalProperties": False,
    }
    head = _of(Head, definitions)
    lists: dict[str, type[BaseModel]] = {
        "sweeps": Sweep,
        "designs": Design,
        "matrix": Matrix,
        "controls": Control,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study for ablate",
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "baseline", "variants"],
        "properties": head["properties"]
        | {
            "analysis": _of(Analysis, definitions),
            "defaults": {"anyOf": [settings, {"type": "null"}]},
            "pretraining": {
                "type": ["object", "null"],
                "description": "networks trained first, a start for model.weights: pretraining:NAME",
                "additionalProperties": variant,
            },
            "variants": {"type": "object", "minProperties": 1, "additionalProperties": variant},
            "claims": {
                "type": ["array", "null"],
                "items": {"anyOf": [_of(c, definitions) for c in CLAIMS.values()]},
            },
            "tune": {"anyOf": [_tune(definitions), {"type": "null"}]},
        }
        | {
            key: {"type": ["array", "null"], "items": _of(model, definitions)} for key, model in lists.items()
        },
        "$defs": definitions,
    }


def _of(model: type[BaseModel], definitions: Schema) -> Schema:
    """The schema of a model; what it refers to goes to `definitions`."""
    schema = model.model_json_schema(by_alias=True)
    definitions |= schema.pop("$defs", {})
    return schema


def _tune(definitions: Schema) -> Schema:
    schema = _of(Tune, definitions)
    ranges = definitions["Dimension"]
    schema["properties"]["space"] |= {
        "propertyNames": {"pattern": _SETTING_KEY},
        "additionalProperties": {"anyOf": [{"type": "array", "minItems": 1}, ranges]},
    }
    return schema


def _target(schema: Schema, definitions: Schema) -> Schema:
    """The schema itself, that which it refers to, or that which it is when not null."""
    for option in schema.get("anyOf", ()):
        if "$ref" in option:
            return _target(option, definitions)
    if "$ref" in schema:
        found: Schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
        return found
    return schema


def _enrich(schema: Schema, definitions: Schema, prefix: str) -> None:
    """Adds descriptions, names and arguments to every setting below."""
    for name, inner in schema.get("properties", {}).items():
        key = f"{prefix}{name}"
        if key in DESCRIPTIONS:
            inner["description"] = DESCRIPTIONS[key]
        if key in _NAMES:
            options: list[Schema] = [{"enum": list(_NAMES[key])}]
            inner.pop("type", None)
            inner["anyOf"] = [*options, {"type": "string", "pattern": ":"}] if key in _OPEN else options
        if key in _ARGUMENTS:
            inner["properties"] = {name: _any_of(several) for name, several in _ARGUMENTS[key].items()}
        if key != "train.stages":
            _enrich(_target(inner, definitions), definitions, f"{key}.")


def _setting(key: str, settings: Schema, definitions: Schema) -> Schema:
    """The schema of one dotted setting."""
    for prefix, arguments in _ARGUMENTS.items():
        if key.startswith(f"{prefix}."):
            return _any_of(arguments[key.removeprefix(f"{prefix}.")])
    schema = settings
    for part in key.split("."):
        schema = _target(schema, definitions)["properties"][part]
    return schema


def _any_of(arguments: tuple[Argument, ...]) -> Schema:
    """One of the things that go by a name; which one depends on the mechanism, and `validate` knows."""
    schemas = [_argument(argument) for argument in arguments]
    if len(schemas) == 1:
        return schemas[0]
    docs = " · ".join(dict.fromkeys(schema["description"] for schema in schemas))
    return {"anyOf": schemas, "description": docs}


def _argument(argument: Argument) -> Schema:
    types = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}
    limits: Mapping[str, float | None] = {
        "minimum": argument.minimum,
        "maximum": argument.maximum,
        "exclusiveMinimum": argument.above,
        "exclusiveMaximum": argument.below,
    }
    schema: Schema = {"type": types[argument.kind]} | {
        key: limit for key, limit in limits.items() if limit is not None
    }
    if argument.odd:
        schema["not"] = {"multipleOf": 2}
    if argument.choices:
        schema["enum"] = list(argument.choices)
    if argument.length is not None:
        nullable = {"anyOf": [schema, {"type": "null"}]} if None in argument.default else schema
        schema = {
            "type": "array",
            "items": nullable,
            "minItems": argument.length,
            "maxItems": argument.length,
        }
    if argument.optional:
        schema = {"anyOf": [schema, {"type": "null"}]}
    return schema | {"description": argument.doc}
