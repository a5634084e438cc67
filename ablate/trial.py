"""One trial from settings to record, and what a variant is before any training: its modules and its cost.

This is where data, models, training and measuring meet. Every random stream of a trial is derived from its
seed by role, and the test images are not touched before training has ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import yaml

from ablate.data import Augmenter, Batches, Images, Split, load_images, split, statistics
from ablate.errors import AblateError
from ablate.measure import count_macs, count_parameters
from ablate.models import Network, build_network
from ablate.record import AttachedModule, CostRecord, Environment, Failure, TrialMetrics, TrialRecord
from ablate.seeds import derive_seed
from ablate.spec.catalogue import LATER_BACKBONES, OPTIMIZERS, schedule_arguments, with_defaults
from ablate.spec.settings import Settings
from ablate.store import TrialPaths
from ablate.train import (
    CurveFiles,
    Evaluation,
    FitResult,
    NonFiniteLoss,
    ProgressFile,
    Recipe,
    evaluate,
    fit,
    numerics,
    resolve_precision,
)
from ablate.train.fit import count_steps, train_step
from ablate.train.state import prepare
from ablate.variants import cost_id, source_fingerprints

LOG_TAIL_LINES = 20


def unsupported(settings: Settings) -> tuple[str, ...]:
    """What a study may say but this version does not do, one sentence each; empty when it can all be run."""
    backbone, found = settings.model.backbone, []
    if backbone in LATER_BACKBONES or backbone.startswith(("torchvision:", "timm:")):
        found.append(
            f"model.backbone: {backbone!r} is not built by this version; use cnn or package.module:function"
        )
    if settings.model.weights is not None:
        found.append("model.weights: this version trains from scratch only; set it to null")
    if settings.train.stages:
        found.append("train.stages: this version trains in one stage only; set it to []")
    return tuple(found)


def make_recipe(settings: Settings, device: str) -> Recipe:
    """The training settings as plain values, defaults filled in, the precision resolved for the device."""
    train = settings.train
    catalogued = OPTIMIZERS.get(train.optimizer.name)
    return Recipe(
        epochs=train.epochs,
        batch_size=train.batch_size,
        optimizer=train.optimizer.name,
        lr=train.optimizer.lr,
        weight_decay=train.optimizer.weight_decay,
        optimizer_args=with_defaults(train.optimizer.args, catalogued.args if catalogued else {}),
        schedule=train.schedule.name,
        schedule_args=schedule_arguments(train.schedule),
        label_smoothing=train.label_smoothing,
        clip_norm=train.clip_norm,
        precision=resolve_precision(train.precision, device),
        channels_last=train.channels_last,
        compile=train.compile,
        deterministic=train.deterministic,
    )


def run_trial(
    settings: Settings,
    seed: int,
    *,
    folder: Path,
    trial_id: str,
    variant_id: str,
    identity: Mapping[str, Any],
    device: str = "cpu",
    environment: Environment,
    cache: Path | None = None,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> TrialRecord:
    """Train a variant with one seed, read the test images once, leave every file but record.json in `folder`.

    identity: as `trial_identity` gives it; to meet other data, or another precision, is an error. device: as
    `resolve_device` gives it. cache: of decoded images. on_progress: told what progress.json is told. Raises
    AblateError for what the user can mend, NonFiniteLoss for a run that broke down, and what torch raises.
    """
    started, began = datetime.now(UTC), time.perf_counter()
    if refused := unsupported(settings):
        raise AblateError("\n".join(refused))
    folder.mkdir(parents=True, exist_ok=True)
    paths, recipe = TrialPaths(folder), make_recipe(settings, device)
    if recipe.precision != identity.get("precision", recipe.precision):
        planned = identity["precision"]
        raise AblateError(f"the trial was planned in {planned}, but {device} runs it in {recipe.precision}")
    paths.settings.write_text(dump_settings(settings), encoding="utf-8")
    with _files(paths, on_progress) as (log, report), numerics(deterministic=recipe.deterministic):
        log.line(f"trial {trial_id}: variant {variant_id}, seed {seed}, {device}, {recipe.precision}")
        images = load_images(
            settings.data.source,
            root=settings.data.root,
            image_size=settings.data.image_size,
            cache=cache,
            fingerprint=identity.get("data_fingerprint"),
        )
        data = _Data.prepare(settings, seed, recipe, device, images)
        network = _build(settings, images.shape, len(images.classes), seed)
        train, validation = data.train_batches(settings, seed), data.plain_batches(data.split.validation)
        log.line(f"{train.count} training and {validation.count} validation images, {_size(network)}")
        result = fit(
            network,
            train,
            validation,
            recipe,
            device=device,
            dropout_seed=derive_seed(seed, "dropout"),
            log=log,
            on_progress=report,
        )
        last, best = _test(network, result, data, paths, settings.train.keep)
        chosen = f"{best.accuracy:.2f} % at epoch {result.state.best_epoch}, the best in validation"
        log.line(f"test accuracy {last.accuracy:.2f} % after the last epoch, {chosen}")
    return TrialRecord(
        id=trial_id,
        variant_id=variant_id,
        seed=seed,
        status="done",
        identity=dict(identity),
        classes=len(images.classes),
        train_count=train.count,
        validation_count=validation.count,
        test_count=len(last.labels),
        param_count=count_parameters(network),
        metrics=_metrics(result, last, best),
        warnings=(*network.notes, *_lone_image(train, recipe)),
        environment=environment,
        started=started.isoformat(timespec="seconds"),
        wall_s=time.perf_counter() - began,
        images_per_s=result.images_per_s,
    )


@contextmanager
def _files(
    paths: TrialPaths, on_progress: Callable[[dict[str, Any]], None] | None
) -> Iterator[tuple[CurveFiles, Callable[[dict[str, Any]], None]]]:
    """The curves and the log, open while the trial runs; progress.json goes when it ends, however it ends."""
    progress = ProgressFile(paths.progress)

    def report(figures: dict[str, Any]) -> None:
        progress(figures)
        if on_progress is not None:
            on_progress(figures)

    try:
        with CurveFiles(paths.epochs, paths.steps, paths.log) as log:
            try:
                yield log, report
            except BaseException as error:
                log.line(f"ended by {type(error).__name__}: {error}")
                raise
    finally:
        progress.remove()


@dataclass(frozen=True)
class _Data:
    """Images, their split, and the statistics of the training part."""

    images: Images
    split: Split
    mean: np.ndarray
    std: np.ndarray
    recipe: Recipe
    device: str

    @classmethod
    def prepare(cls, settings: Settings, seed: int, recipe: Recipe, device: str, images: Images) -> _Data:
        wanted = settings.data
        split_seed = wanted.split_seed if wanted.split == "fixed" else derive_seed(seed, "split")
        rows = split(
            images.train_labels, fraction=wanted.fraction, validation=wanted.validation, seed=split_seed
        )
        mean, std = statistics(images.train, rows.train)
        return cls(images, rows, mean, std, recipe, device)

    def train_batches(self, settings: Settings, seed: int) -> Batches:
        """Shuffled and augmented, each from its own stream of the trial's seed."""
        return self._batches(
            self.images.train,
            self.images.train_labels,
            self.split.train,
            augment=Augmenter(**settings.data.augment.model_dump()),
            order_generator_seed=derive_seed(seed, "order"),
            augment_seed=derive_seed(seed, "augment"),
        )

    def plain_batches(self, rows: np.ndarray) -> Batches:
        """Rows of the training images as they are, in order."""
        return self._batches(self.images.train, self.images.train_labels, rows)

    def test_batches(self) -> Batches:
        return self._batches(self.images.test, self.images.test_labels, np.arange(len(self.images.test)))

    def _batches(self, images: np.ndarray, labels: np.ndarray, rows: np.ndarray, **how: Any) -> Batches:
        return Batches(
            images,
            labels,
            rows,
            batch_size=self.recipe.batch_size,
            mean=self.mean,
            std=self.std,
            device=self.device,
            channels_last=self.recipe.channels_last,
            **how,
        )


def _build(settings: Settings, image_shape: tuple[int, int, int], classes: int, seed: int) -> Network:
    attention = settings.model.attention
    return build_network(
        backbone=settings.model.backbone,
        args=settings.model.args,
        attention=None if attention is None else (attention.name, attention.args, attention.at),
        classes=classes,
        image_shape=image_shape,
        backbone_seed=derive_seed(seed, "backbone"),
        attention_seed=derive_seed(seed, "attention"),
    )


def _test(
    network: Network, result: FitResult, data: _Data, paths: TrialPaths, keep: str
) -> tuple[Evaluation, Evaluation]:
    """The one reading of the test images: at the last epoch, and at the epoch best in validation.

    Leaves predictions and the weights to keep; `network` ends with those of the best epoch.
    """
    batches, recipe = data.test_batches(), data.recipe

    def read() -> Evaluation:
        return evaluate(
            network,
            batches,
            device=data.device,
            precision=recipe.precision,
            channels_last=recipe.channels_last,
        )

    paths.weights.unlink(missing_ok=True)
    last = best = read()
    if keep == "last":
        _write_weights(network, paths.weights)
    if result.state.best_epoch != result.state.epoch:
        network.load_state_dict(result.state.best_weights)
        best = read()
    if keep == "best":
        _write_weights(network, paths.weights)
    np.savez_compressed(
        paths.predictions,
        label=last.labels,
        predicted=last.predicted,
        predicted_best=best.predicted,
        probability=last.probability,
        index=np.arange(len(last.labels), dtype=np.int64),
    )
    _sync(paths.predictions)
    return last, best


def _write_weights(network: Network, path: Path) -> None:
    safetensors.torch.save_model(network, str(path))
    path.chmod(0o644)  # safetensors leaves it to its owner alone, and trees are shared
    _sync(path)


def _sync(path: Path) -> None:
    """The record that comes after vouches for this file, so it has to be on the disk by then."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _metrics(result: FitResult, last: Evaluation, best: Evaluation) -> TrialMetrics:
    row = result.history[-1]
    return TrialMetrics(
        accuracy=last.accuracy,
        accuracy_best=best.accuracy,
        best_epoch=result.state.best_epoch,
        test_loss=last.loss,
        validation_accuracy=row.validation_accuracy,
        validation_loss=row.validation_loss,
        train_accuracy=row.train_accuracy,
        train_loss=row.train_loss,
    )


def _lone_image(train: Batches, recipe: Recipe) -> tuple[str, ...]:
    if count_steps(train, recipe) == len(train):
        return ()
    return (
        f"{train.count} training images in batches of {recipe.batch_size} leave a last batch of one image; "
        "another image was left out of each epoch",
    )


def _size(network: Network) -> str:
    places = ", ".join(f"{module.path} ({module.channels} channels)" for module in network.attached)
    return f"{count_parameters(network):,} parameters, attention at {places or 'no place'}"


def dump_settings(settings: Settings) -> str:
    """settings.yaml: every setting of the trial, defaults included."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def failed_record(
    *,
    trial_id: str,
    variant_id: str,
    seed: int,
    identity: Mapping[str, Any],
    environment: Environment,
    started: str,
    wall_s: float,
    kind: str,
    message: str,
    traceback: str = "",
    error: str = "",
    log: Path | None = None,
) -> TrialRecord:
    """The record of a trial without a result.

    kind, message, traceback, error: as `ablate.execute.ExecutionFailure` holds them. started: ISO 8601, UTC.
    log: log.txt, whose last lines are kept.
    """
    if error == f"{NonFiniteLoss.__module__}.{NonFiniteLoss.__qualname__}":
        kind = "non-finite"
    elif kind == "cancelled":
        kind = "interrupted"
    tail: tuple[str, ...] = ()
    if log is not None and log.is_file():
        tail = tuple(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:])
    return TrialRecord(
        id=trial_id,
        variant_id=variant_id,
        seed=seed,
        status="failed",
        identity=dict(identity),
        failure=Failure(kind=kind, message=message, traceback=traceback, log_tail=tail),
        environment=environment,
        started=started,
        wall_s=wall_s,
    )


@dataclass(frozen=True)
class Inspection:
    """A variant as its network shows it, without training. MACs are those of one image."""

    attached: tuple[AttachedModule, ...]
    param_count: int
    attention_param_count: int
    macs: int
    attention_macs: int
    notes: tuple[str, ...]


def inspect_variant(settings: Settings, image_shape: tuple[int, int, int], classes: int) -> Inspection:
    """Build the network of a variant on the meta device, and count.

    image_shape: (C, H, W). Raises AblateError for what this version does not run, PlaceError for a place that
    matches nothing or gives no feature map, MeasureError for an operator that nobody counts.
    """
    if refused := unsupported(settings):
        raise AblateError("\n".join(refused))
    with torch.device("meta"):
        network = _build(settings, image_shape, classes, seed=0)
    macs = count_macs(network, image_shape, within="attention")
    return Inspection(
        attached=network.attached,
        param_count=count_parameters(network),
        attention_param_count=count_parameters(network, within="attention"),
        macs=macs.total,
        attention_macs=macs.attention,
        notes=network.notes,
    )


def measure_cost(
    settings: Settings, *, image_shape: tuple[int, int, int], classes: int, environment: Environment
) -> CostRecord:
    """Parameters and MACs of a variant for one image of (C, H, W)."""
    found = inspect_variant(settings, image_shape, classes)
    return CostRecord(
        id=cost_id(settings, input_shape=image_shape, classes=classes, sources=source_fingerprints(settings)),
        machine=environment.machine,
        settings=settings.model.model_dump(mode="json"),
        input_shape=image_shape,
        param_count=found.param_count,
        attention_param_count=found.attention_param_count,
        attention_modules=found.attached,
        macs=found.macs,
        attention_macs=found.attention_macs,
        environment=environment,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def measured_step(settings: Settings, images: Images, device: str, *, steps: int = 5) -> float:
    """Seconds of one training step, augmentation included: the median of a few, after two to warm up."""
    recipe = make_recipe(settings, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has it: more threads can be many times slower
    try:
        return _measured_step(settings, recipe, images, device, steps)
    finally:
        torch.set_num_threads(threads)


def _measured_step(settings: Settings, recipe: Recipe, images: Images, device: str, steps: int) -> float:
    data = _Data.prepare(settings, 0, recipe, device, images)
    train = data.train_batches(settings, 0)
    network = _build(settings, images.shape, len(images.classes), 0)
    epoch_steps = count_steps(train, recipe)
    state = prepare(network, recipe, epoch_steps, torch.device(device))
    network.train()
    seconds: list[float] = []
    batches = (batch for epoch in range(steps + 2) for batch in islice(train.epoch(epoch), epoch_steps))
    with numerics(deterministic=recipe.deterministic):
        began = time.perf_counter()
        for x, y in islice(batches, steps + 2):
            float(train_step(network, state, x, y, recipe)[0])  # waits for the device
            seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
    return float(np.median(seconds[2:]))
