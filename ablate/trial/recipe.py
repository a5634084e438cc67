"""The training settings of a trial as `ablate.train` takes them: plain values, nothing left open."""

from __future__ import annotations

from typing import Any

from ablate.spec.catalogue import OPTIMIZERS, schedule_arguments, with_defaults
from ablate.spec.settings import OptimizerSettings, ScheduleSettings, Settings
from ablate.train.precision import resolve_precision
from ablate.train.recipe import Recipe, Stage


def make_recipe(settings: Settings, device: str) -> Recipe:
    """The training settings as plain values, defaults filled in, the precision resolved for the device."""
    train = settings.train
    stages = tuple(
        Stage(
            epochs=stage.epochs,
            train=stage.train,
            lr_by=stage.lr,
            **_optimization(stage.optimizer or train.optimizer, stage.schedule or train.schedule),
        )
        for stage in train.stages
    )
    return Recipe(
        epochs=train.epochs,
        batch_size=train.batch_size,
        steps=train.steps,
        lr_by=train.lr,
        **_optimization(train.optimizer, train.schedule),
        stages=stages,
        label_smoothing=train.label_smoothing,
        accumulate=train.accumulate,
        gradient_checkpointing=train.gradient_checkpointing,
        clip_norm=train.clip_norm,
        precision=resolve_precision(train.precision, device),
        channels_last=train.channels_last,
        compile=train.compile,
        accelerate=train.accelerate,
        deterministic=train.deterministic,
    )


def _optimization(optimizer: OptimizerSettings, schedule: ScheduleSettings) -> dict[str, Any]:
    """The fields that a stage has in common with the whole recipe."""
    catalogued = OPTIMIZERS.get(optimizer.name)
    return {
        "optimizer": optimizer.name,
        "lr": optimizer.lr,
        "weight_decay": optimizer.weight_decay,
        "decay_on": optimizer.decay_on,
        "optimizer_args": with_defaults(optimizer.args, catalogued.args if catalogued else {}),
        "schedule": schedule.name,
        "schedule_args": schedule_arguments(schedule),
    }
