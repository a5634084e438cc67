"""One trial from settings to record, and what a variant is before any training: its modules and its cost.

This is where data, models, training and measuring meet. Every random stream of a trial is derived from its
seed by role, and the test images are not touched before training has ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import yaml

from ablate.data import Augmenter, Batches, Images, Split, load_images, split, statistics
from ablate.environment import installed_version
from ablate.errors import AblateError
from ablate.measure import count_macs, count_parameters
from ablate.models import Network, build_network, locate_weights, nondeterministic_operators
from ablate.models.weights import load_backbone
from ablate.record import AttachedModule, CostRecord, Environment, Failure, TrialMetrics, TrialRecord
from ablate.seeds import derive_seed
from ablate.spec.catalogue import OPTIMIZERS, schedule_arguments, with_defaults
from ablate.spec.names import pretraining_of
from ablate.spec.settings import OptimizerSettings, ScheduleSettings, Settings
from ablate.store import TrialPaths
from ablate.train import (
    Checkpoints,
    CurveFiles,
    Evaluation,
    FitResult,
    FitState,
    NonFiniteLoss,
    ProgressFile,
    Recipe,
    Stage,
    TimedSaver,
    check_recipe,
    evaluate,
    fit,
    numerics,
    resolve_precision,
)
from ablate.train.accelerate import choose
from ablate.train.fit import count_steps
from ablate.train.pooling import fast_pools
from ablate.train.recompute import recomputed
from ablate.train.state import EpochRow, Saver, prepare
from ablate.train.step import in_training_mode, train_step
from ablate.variants import cost_id, source_fingerprints, weights_sha256

LOG_TAIL_LINES = 20


class StoppedEarly(Exception):
    """`run_trial` was told to stop after an epoch: no failure, and no result either.

    epoch: 1-based, the last one trained; it can be gone on from.
    """

    def __init__(self, epoch: int) -> None:
        super().__init__(f"stopped after epoch {epoch}, as asked")
        self.epoch = epoch


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
    weights: Path | None = None,
    other_classes: bool = False,
    checkpoints: Path | None = None,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    on_epoch: Callable[[Sequence[EpochRow]], bool] | None = None,
) -> TrialRecord:
    """Train a variant with one seed, read the test images once, leave every file but record.json in `folder`.

    identity: as `trial_identity` gives it; to meet other data, or another precision, is an error. device: as
    `resolve_device` gives it. cache: of decoded images. weights: the file that `model.weights` stands for,
    found here when not given. other_classes: they were trained on others, so the head starts fresh, be they
    as many. checkpoints: the folder where a trial that is stopped finds how far it came, and goes on from
    there; who writes the record removes them. on_progress: told what progress.json is told. on_epoch:
    told of all epochs so far after each but the last; True ends the trial with StoppedEarly, and leaves a
    checkpoint of that epoch. Raises AblateError for what the user can mend, NonFiniteLoss for a run that
    broke down, and what torch raises.
    """
    started, began = datetime.now(UTC), time.perf_counter()
    if weights is None:
        if pretraining_of(settings.model.weights) is not None:
            raise AblateError(f"model.weights: {settings.model.weights!r} comes with no file of its trial")
        weights = _weights_file(settings)
    folder.mkdir(parents=True, exist_ok=True)
    paths, recipe = TrialPaths(folder), make_recipe(settings, device)
    if recipe.precision != identity.get("precision", recipe.precision):
        planned = identity["precision"]
        raise AblateError(f"the trial was planned in {planned}, but {device} runs it in {recipe.precision}")
    paths.settings.write_text(dump_settings(settings), encoding="utf-8")
    kept = _Kept()
    if checkpoints is not None:
        kept = _Kept.read(checkpoints, _made_by(settings, trial_id, identity, environment, weights))
    with (
        _files(paths, on_progress, resumed=kept.resumed > 0) as (log, report),
        numerics(deterministic=recipe.deterministic),
    ):
        for said in kept.passed_over:
            log.line(said)
        log.line(f"trial {trial_id}: variant {variant_id}, seed {seed}, {device}, {recipe.precision}")
        images = load_images(
            settings.data.source,
            root=settings.data.root,
            image_size=settings.data.image_size,
            classes=settings.data.classes,
            cache=cache,
            fingerprint=identity.get("data_fingerprint"),
        )
        data = _Data.prepare(settings, seed, recipe, device, images)
        network = build_for(settings, images.shape, len(images.classes), seed, weights, other_classes)
        _refuse_nondeterministic(network, recipe, device)
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
            start=kept.hand_over(),
            saver=_watched(kept.saver(began, log.line), on_epoch),
            say=log.line,
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
        warnings=(*network.notes, *_lone_image(train, recipe), *_not_accelerated(result, recipe)),
        environment=environment,
        started=started.isoformat(timespec="seconds"),
        wall_s=kept.wall_s + time.perf_counter() - began,
        images_per_s=result.images_per_s,
        resumed=kept.resumed,
    )


@dataclass
class _Kept:
    """How far the trial came before. fit: the state to go on from. wall_s: spent on it until then.

    checkpoints: None where none are asked for.
    """

    checkpoints: Checkpoints | None = None
    fit: Mapping[str, Any] | None = None
    wall_s: float = 0.0
    resumed: int = 0

    @classmethod
    def read(cls, folder: Path, made_by: Mapping[str, str]) -> _Kept:
        checkpoints = Checkpoints(folder, made_by)
        found = checkpoints.newest()
        if found is None:
            return cls(checkpoints)
        return cls(checkpoints, found["fit"], found["wall_s"], found["resumed"] + 1)

    @property
    def passed_over(self) -> Sequence[str]:
        return self.checkpoints.passed_over if self.checkpoints else ()

    def hand_over(self) -> Mapping[str, Any] | None:
        """`fit`, and no hold on it any more: it is as large as a network and its optimizer."""
        fit, self.fit = self.fit, None
        return fit

    def saver(self, began: float, say: Callable[[str], None]) -> TimedSaver | None:
        """began: `time.perf_counter` at the start of this attempt."""
        if self.checkpoints is None:
            return None

        def extra() -> dict[str, Any]:
            return {"wall_s": self.wall_s + time.perf_counter() - began, "resumed": self.resumed}

        return TimedSaver(self.checkpoints, extra, on_fault=say)


@dataclass
class _Watched:
    """A `Saver` that asks at every epoch's end whether to stop, and saves before it does."""

    saver: Saver | None
    on_epoch: Callable[[Sequence[EpochRow]], bool]

    def due(self, *, epoch_ended: bool) -> bool:
        return epoch_ended or (self.saver is not None and self.saver.due(epoch_ended=False))

    def save(self, state: FitState) -> None:
        ended = state.partial is None
        stop = ended and self.on_epoch(state.history)
        if self.saver is not None and (stop or not ended or self.saver.due(epoch_ended=True)):
            self.saver.save(state)
        if stop:
            raise StoppedEarly(state.epoch)


def _watched(saver: Saver | None, on_epoch: Callable[[Sequence[EpochRow]], bool] | None) -> Saver | None:
    return saver if on_epoch is None else _Watched(saver, on_epoch)


def _made_by(
    settings: Settings,
    trial_id: str,
    identity: Mapping[str, Any],
    environment: Environment,
    weights: Path | None,
) -> dict[str, str]:
    """What a checkpoint depends on beside the trial's identity. One made otherwise is not gone on from: the
    result would belong neither there nor here."""
    names = ("ablate", "torch", "torchvision", "numpy", "device_name", "cuda", "cudnn")
    made_by = {name: str(getattr(environment, name)) for name in (*names, "threads", "deterministic")}
    if settings.model.backbone.startswith("timm:"):
        made_by["timm"] = str(installed_version("timm"))
    if weights is not None and str(identity.get("weights_sha256")).startswith("trial:"):
        made_by["weights"] = weights_sha256(weights)  # that trial may have been trained again elsewhere
    return {"trial": trial_id, **made_by}


def _refuse_nondeterministic(network: Network, recipe: Recipe, device: str) -> None:
    """Operators of attention modules that have no deterministic backward on CUDA, by name."""
    found = nondeterministic_operators(network)
    if recipe.deterministic and device.startswith("cuda") and found:
        raise AblateError(
            f"train.deterministic: {', '.join(found)} has no deterministic backward on CUDA; set it to false "
            "or leave out the attention that needs it"
        )


@contextmanager
def _files(
    paths: TrialPaths, on_progress: Callable[[dict[str, Any]], None] | None, *, resumed: bool
) -> Iterator[tuple[CurveFiles, Callable[[dict[str, Any]], None]]]:
    """The curves and the log, open while the trial runs; progress.json goes when it ends, however it ends."""
    progress = ProgressFile(paths.progress)

    def report(figures: dict[str, Any]) -> None:
        progress(figures)
        if on_progress is not None:
            on_progress(figures)

    try:
        with CurveFiles(paths.epochs, paths.steps, paths.log, resumed=resumed) as log:
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
    mixed: bool

    @classmethod
    def prepare(cls, settings: Settings, seed: int, recipe: Recipe, device: str, images: Images) -> _Data:
        wanted = settings.data
        split_seed = wanted.split_seed if wanted.split == "fixed" else derive_seed(seed, "split")
        rows = split(
            images.train_labels, fraction=wanted.fraction, validation=wanted.validation, seed=split_seed
        )
        mean, std = statistics(images.train, rows.train)
        attention = settings.model.attention
        mixed = attention is not None and attention.gate == "shuffled"
        return cls(images, rows, mean, std, recipe, device, mixed)

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
        """Rows of the training images as they are, in the order of `reading_order`."""
        order = self.reading_order(len(rows))
        return self._batches(self.images.train, self.images.train_labels, rows[order])

    def test_batches(self) -> Batches:
        order = self.reading_order(len(self.images.test))
        return self._batches(self.images.test, self.images.test_labels, order)

    def test_inputs(self, rows: np.ndarray) -> torch.Tensor:
        """These test images, float32 (B, C, H, W), as the network takes them."""
        batches = self._batches(self.images.test, self.images.test_labels, rows)
        return torch.cat([x for x, _ in batches.epoch(0)])

    def reading_order(self, count: int) -> np.ndarray:
        """Rows as they are read for evaluation: one after another, but for a shuffled gate in a fixed mix.

        It takes the gate of the image before, and where images lie class by class, as folders do, that would
        nearly always be one of the same class.
        """
        return np.random.default_rng(0).permutation(count) if self.mixed else np.arange(count)

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


def build_for(
    settings: Settings,
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
    weights: Path | None = None,
    other_classes: bool = False,
) -> Network:
    attention = settings.model.attention
    return build_network(
        backbone=settings.model.backbone,
        args=settings.model.args,
        attention=None if attention is None else (attention.name, attention.args, attention.at),
        classes=classes,
        image_shape=image_shape,
        backbone_seed=derive_seed(seed, "backbone"),
        attention_seed=derive_seed(seed, "attention"),
        weights=weights,
        other_classes=other_classes,
        place="after" if attention is None else attention.place,
        gate="own" if attention is None else attention.gate,
    )


def load_trained(
    settings: Settings, seed: int, weights: Path, *, images: Images, device: str = "cpu"
) -> tuple[Network, Callable[[np.ndarray], torch.Tensor]]:
    """The network of a finished trial, in eval mode, and what turns rows of its test images into its input,
    float32 (B, C, H, W), normalised as in training.

    weights: as the trial left them. Raises AblateError for those of another network.
    """
    train = settings.train.model_copy(update={"precision": "fp32"})  # nothing is trained: any device will do
    settings = settings.model_copy(update={"train": train})
    data = _Data.prepare(settings, seed, make_recipe(settings, device), device, images)
    network = build_for(settings, images.shape, len(images.classes), seed)
    try:
        safetensors.torch.load_model(network, str(weights))
    except (RuntimeError, OSError, safetensors.SafetensorError) as error:
        raise AblateError(
            f"{weights} does not hold the weights of this network: {error}\n"
            "    train it again with `ablate run STUDY --force VARIANT`"
        ) from error
    return network.to(device).eval(), data.test_inputs


def _weights_file(settings: Settings) -> Path | None:
    """None from scratch, and for a pretraining, whose file only its own trial leaves."""
    model = settings.model
    if model.weights is None or pretraining_of(model.weights) is not None:
        return None
    return locate_weights(model.backbone, model.weights, model.args)


def _test(
    network: Network, result: FitResult, data: _Data, paths: TrialPaths, keep: str
) -> tuple[Evaluation, Evaluation]:
    """The one reading of the test images: at the last epoch, and at the epoch best in validation.

    Leaves predictions and the weights to keep; `network` ends with those of the best epoch.
    """
    batches, recipe = data.test_batches(), data.recipe
    back = np.argsort(data.reading_order(batches.count))

    def read() -> Evaluation:
        found = evaluate(
            network,
            batches,
            device=data.device,
            precision=recipe.precision,
            channels_last=recipe.channels_last,
        )
        in_order = {name: getattr(found, name)[back] for name in ("labels", "predicted", "probability")}
        return replace(found, **in_order)

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
        index=data.images.test_rows,
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


def _not_accelerated(result: FitResult, recipe: Recipe) -> tuple[str, ...]:
    return tuple(f"train.accelerate: {recipe.accelerate}: {said}" for said in result.fell_back)


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
    where: str = "",
    attempts: int = 1,
    log: Path | None = None,
) -> TrialRecord:
    """The record of a trial without a result.

    kind, message, traceback, error, where, attempts: as `ablate.execute.ExecutionFailure` holds them.
    started: ISO 8601, UTC. log: log.txt, whose last lines are kept.
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
        failure=Failure(
            kind=kind,
            message=message,
            error=error,
            where=where,
            traceback=traceback,
            log_tail=tail,
            attempts=attempts,
        ),
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

    image_shape: (C, H, W). Raises AblateError for a network that cannot be built, WeightsError for a file
    that does not fit it, PlaceError for a place that matches nothing or gives no feature map, RecipeError for
    a glob of the recipe that names nothing, MeasureError for an operator that nobody counts.
    """
    with torch.device("meta"):
        network = build_for(settings, image_shape, classes, seed=0, weights=_weights_file(settings))
    check_recipe(network, make_recipe(settings, "cpu"))
    macs = count_macs(network, image_shape, within="attention")
    return Inspection(
        attached=network.attached,
        param_count=count_parameters(network),
        attention_param_count=count_parameters(network, within="attention"),
        macs=macs.total,
        attention_macs=macs.attention,
        notes=network.notes,
    )


def check_start(
    settings: Settings, images: Images, before: Settings, images_before: Images, *, name: str
) -> tuple[str, ...]:
    """Whether the weights of the pretraining `name` will fit, told on the meta device before any is trained.

    before, images_before: of the pretraining. Gives the notes of `load_weights`; WeightsError where they
    do not fit.
    """
    with torch.device("meta"):
        network = build_for(settings, images.shape, len(images.classes), seed=0)
        trained = build_for(before, images_before.shape, len(images_before.classes), seed=0)
    given = dict(trained.backbone.state_dict())
    path = Path(f"pretraining:{name}")
    return load_backbone(network.backbone, given, path, classes=len(images.classes))


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
    """Seconds of one training step, augmentation included: the median of a few, after two to warm up.

    Of a recipe of stages: the mean over their epochs.
    """
    recipe = make_recipe(settings, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has it: more threads can be many times slower
    try:
        return _measured_step(settings, recipe, images, device, steps)
    finally:
        torch.set_num_threads(threads)


def measured_peak_bytes(settings: Settings, images: Images, device: str) -> int | None:
    """The most that CUDA's allocator held through a few training steps; None on another device, and where
    not even one such trial fits.

    What is allocated outside it, above all the context itself, is not counted.
    """
    if not device.startswith("cuda"):
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    try:
        _measured_step(settings, make_recipe(settings, device), images, device, steps=3, probes=True)
        return int(torch.cuda.max_memory_reserved(device))
    except torch.OutOfMemoryError:
        return None
    finally:
        torch.cuda.empty_cache()  # workers are to find it free


def _measured_step(
    settings: Settings, recipe: Recipe, images: Images, device: str, steps: int, probes: bool = False
) -> float:
    """probes: also what `train.accelerate` leads to, which takes memory of its own."""
    data = _Data.prepare(settings, 0, recipe, device, images)
    train = data.train_batches(settings, 0)
    network = build_for(settings, images.shape, len(images.classes), 0)
    epoch_steps = count_steps(train, recipe)
    state = prepare(network, recipe, epoch_steps, torch.device(device))
    batches = (batch for epoch in count() for batch in islice(train.epoch(epoch), epoch_steps))
    around = recomputed(network) if recipe.gradient_checkpointing else nullcontext()
    medians: list[float] = []
    with numerics(deterministic=recipe.deterministic), fast_pools(network), around:
        for stage in range(len(state.spans)):
            state.enter(stage)
            in_training_mode(network, state)
            medians.append(_median_step(network, state, islice(batches, steps + 2), recipe))
            if probes:
                choose(network, state, recipe, lambda: next(iter(train.epoch(0))))
    return float(np.average(medians, weights=[span.epochs for span in state.spans]))


def _median_step(
    network: Network, state: FitState, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], recipe: Recipe
) -> float:
    """Seconds, without the first two steps."""
    seconds: list[float] = []
    began = time.perf_counter()
    for x, y in batches:
        float(train_step(network, state, x, y, recipe)[0])  # waits for the device
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    return float(np.median(seconds[2:]))
