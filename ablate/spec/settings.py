"""What one variant is made of: data, model and training settings, as frozen and strictly typed values.

Pydantic holds types and ranges; names of mechanisms, backbones, optimisers and schedules, and their
arguments, are held against `ablate.spec.catalogue` by the loader, which knows file and line.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from ablate.spec.words import must_be, refuse


class Frozen(BaseModel):
    """Strict and closed: no coercion ("8" is no number), no unknown key, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _to_tuple(value: Any) -> Any:
    """YAML has lists only; one string stands for a list of one."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _to_classes(value: Any) -> Any:
    """A list of names or of numbers, counted from 0 in the source's order; at least two, none twice."""
    if not isinstance(value, list):
        return value
    for index, item in enumerate(value):
        if isinstance(item, bool) or not isinstance(item, int | str):
            raise must_be("the name of a class, or its number from 0", item, place=(index,))
        if item in value[:index]:
            raise refuse(f"the class {item!r} is given twice", place=(index,))
    if len(value) < 2:
        raise must_be("at least two classes", value)
    return tuple(value)


_CLASSES_SCHEMA = {
    "anyOf": [
        {"type": "null"},
        {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 2, "uniqueItems": True},
    ]
}
Classes = Annotated[
    tuple[int | str, ...] | None, BeforeValidator(_to_classes), WithJsonSchema(_CLASSES_SCHEMA)
]

_TEXT = {"type": "string", "minLength": 1}
Names = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_to_tuple),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}),
]


class Augment(Frozen):
    """Training-time augmentation; zero or false switches a step off.

    crop: pixels of zero padding before a random crop. flip: horizontally, one half of the images.
    jitter: strength of brightness, contrast, saturation and hue changes (hue moves by jitter / 4, at most
    0.5). rotate: largest angle in degrees.
    """

    crop: int = Field(0, ge=0, le=64)
    flip: bool = False
    jitter: float = Field(0.0, ge=0, le=1)
    rotate: float = Field(0.0, ge=0, le=180)


class DataSettings(Frozen):
    """Which images, how many, how they are split and augmented. See the study file in docs/study-file.md.

    classes: only the images of these classes, by name or by number in the source's order, numbered anew in
    the order given; None: all.
    """

    source: str = "fashion-mini"
    root: str | None = None
    classes: Classes = None
    image_size: int | None = Field(None, ge=1, le=4096)
    fraction: float = Field(1.0, gt=0, le=1)
    validation: float = Field(0.1, gt=0, lt=1)
    split: Literal["fixed", "per-seed"] = "fixed"
    split_seed: int = Field(0, ge=0, lt=2**63)
    augment: Augment = Augment()


class AttentionSettings(Frozen):
    """A mechanism, its arguments, and the module paths or globs where it sits.

    place: after the module, or inside a residual block, on its branch before the addition. gate: the
    mechanism's own; "static", a learned gate that is the same for every input; "shuffled", its own gate
    applied to another image of the batch.
    """

    name: str
    args: dict[str, Any] = Field(default_factory=dict)
    at: Names
    place: Literal["after", "before-add"] = "after"
    gate: Literal["own", "static", "shuffled"] = "own"


class ModelSettings(Frozen):
    """A backbone, its arguments and weights, and the attention attached to it (None: none).

    weights: None starts from scratch; "default", the library's own; "pretraining:NAME", of the study's own
    pretraining with the same seed; or the path of a safetensors file or a state dict.
    """

    backbone: str = "cnn"
    args: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    attention: AttentionSettings | None = None


class OptimizerSettings(Frozen):
    """Any of torch.optim by its lower-case name; `args` are the optimiser's own further arguments.

    decay_on: all parameters, or "weights", those with two or more dimensions: biases and norms are spared.
    """

    name: str = "adam"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    decay_on: Literal["all", "weights"] = "all"
    args: dict[str, Any] = Field(default_factory=dict)


class ScheduleSettings(Frozen):
    """constant | plateau | step | cosine. Plateau watches the validation loss, never the test set.

    factor, patience: plateau. step_size (epochs), gamma: step. warmup (epochs), floor (fraction of lr):
    cosine.
    """

    name: str = "constant"
    factor: float | None = Field(None, gt=0, lt=1)
    patience: int | None = Field(None, ge=0)
    step_size: int | None = Field(None, ge=1)
    gamma: float | None = Field(None, gt=0, le=1)
    warmup: float | None = Field(None, ge=0)
    floor: float | None = Field(None, ge=0, lt=1)


class StageSettings(Frozen):
    """One stage of a staged recipe: which modules train (globs), for how long, how fast.

    lr: {glob: learning rate}; the last glob that names a parameter decides, the optimiser's lr where none
    does. optimizer, schedule: None takes those of `train`; a schedule starts anew in every stage.
    """

    epochs: int = Field(ge=1, le=100_000)
    train: Names = ("*",)
    lr: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    optimizer: OptimizerSettings | None = None
    schedule: ScheduleSettings | None = None


def _to_stages(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class TrainSettings(Frozen):
    """The recipe.

    steps: optimiser steps in all, in place of `epochs` (the last epoch may be cut short). lr: {glob: learning
    rate}, as in a stage. stages: one after another, in place of `epochs` and `lr`. accumulate: a step's
    images go through the network in so many parts. gradient_checkpointing: activations are computed again in
    the backward pass instead of being kept. accelerate: "auto" probes CUDA graphs on a GPU, which change no
    result, "graphs" and "compile" ask for one way by name, to be taken if a probe finds it faster.
    """

    epochs: int = Field(8, ge=1, le=100_000)
    steps: int | None = Field(None, ge=1, le=1_000_000_000)
    batch_size: int = Field(128, ge=1, le=1_000_000)
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    lr: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    stages: Annotated[tuple[StageSettings, ...], BeforeValidator(_to_stages)] = ()
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    clip_norm: float | None = Field(None, gt=0)
    accumulate: int = Field(1, ge=1, le=1_000_000)
    gradient_checkpointing: bool = False
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool = False
    compile: bool = False
    accelerate: Literal["auto", "off", "graphs", "compile"] = "auto"
    deterministic: bool = False
    keep: Literal["none", "last", "best"] = "none"


class Settings(Frozen):
    """Everything that makes one variant."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
