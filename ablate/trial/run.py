"""One trial from settings to record.

This is where data, models and training meet. Every random stream of a trial is derived from its seed by role,
and the test images are not touched before training has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.data import Batches, load_images
from ablate.errors import AblateError
from ablate.measure import count_parameters
from ablate.models import Network, nondeterministic_operators
from ablate.record import Environment, TrialMetrics, TrialRecord
from ablate.seeds import derive_seed
from ablate.spec.names import pretraining_of
from ablate.spec.settings import Settings
from ablate.store import TrialPaths
from ablate.train import Evaluation, FitResult, Recipe, fit, numerics
from ablate.train.fit import count_steps
from ablate.train.state import EpochRow
from ablate.trial.data import TrialData
from ablate.trial.files import dump_settings, no_files, open_files
from ablate.trial.network import build_for, weights_file
from ablate.trial.recipe import make_recipe
from ablate.trial.resuming import Kept, made_by, watched
from ablate.trial.sharing import in_words, share_of, shared_training
from ablate.trial.testing import read_test_images

if TYPE_CHECKING:
    from ablate.train.distributed import Ranks


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
    ranks: Ranks | None = None,
) -> TrialRecord:
    """Train a variant with one seed, read the test images once, leave every file but record.json in `folder`.

    identity: as `trial_identity` gives it; to meet other data, or another precision, is an error. device: as
    `resolve_device` gives it. cache: of decoded images. weights: the file that `model.weights` stands for,
    found here when not given. other_classes: they were trained on others, so the head starts fresh, be they
    as many. checkpoints: the folder where a trial that is stopped finds how far it came, and goes on from
    there; who writes the record removes them. on_progress: told what progress.json is told. on_epoch:
    told of all epochs so far after each but the last; True ends the trial with StoppedEarly, and leaves a
    checkpoint of that epoch. ranks: the processes that call this together, each with its own device, and
    train the trial between them; the first of them alone writes, and `environment.processes` says how many
    there are. Raises AblateError for what the user can mend, NonFiniteLoss for a run that
    broke down, and what torch raises.
    """
    started, began = datetime.now(UTC), time.perf_counter()
    if weights is None:
        if pretraining_of(settings.model.weights) is not None:
            raise AblateError(f"model.weights: {settings.model.weights!r} comes with no file of its trial")
        weights = weights_file(settings)
    writes = ranks is None or ranks.is_first
    if writes:
        folder.mkdir(parents=True, exist_ok=True)
    paths, recipe = TrialPaths(folder), make_recipe(settings, device)
    if recipe.precision != identity.get("precision", recipe.precision):
        planned = identity["precision"]
        raise AblateError(f"the trial was planned in {planned}, but {device} runs it in {recipe.precision}")
    if writes:
        paths.settings.write_text(dump_settings(settings), encoding="utf-8")
    kept = Kept()
    if checkpoints is not None:
        kept = Kept.read(checkpoints, made_by(settings, trial_id, identity, environment, weights))
    with (
        open_files(paths, on_progress, resumed=kept.resumed > 0) if writes else no_files() as (log, report),
        numerics(deterministic=recipe.deterministic),
    ):
        for said in kept.passed_over:
            log.line(said)
        log.line(f"trial {trial_id}: variant {variant_id}, seed {seed}, {device}, {recipe.precision}")
        if ranks is not None:
            log.line(in_words(recipe, ranks))
        images = load_images(
            settings.data.source,
            root=settings.data.root,
            image_size=settings.data.image_size,
            classes=settings.data.classes,
            cache=cache,
            fingerprint=identity.get("data_fingerprint"),
        )
        data = TrialData.prepare(settings, seed, recipe, device, images)
        network = build_for(settings, images.shape, len(images.classes), seed, weights, other_classes)
        _refuse_nondeterministic(network, recipe, device)
        train = data.train_batches(
            settings, seed, None if ranks is None else share_of(recipe, ranks.rank, ranks.size)
        )
        validation = data.plain_batches(data.split.validation)
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
            saver=watched(kept.saver(began, log.line), on_epoch) if writes else None,
            say=log.line,
            ranks=ranks,
        )
        last, best = read_test_images(network, result, data, paths, settings.train.keep, ranks)
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
        shared=None if ranks is None else shared_training(recipe, ranks, network, result),
    )


def _refuse_nondeterministic(network: Network, recipe: Recipe, device: str) -> None:
    """Operators of attention modules that have no deterministic backward on CUDA, by name."""
    found = nondeterministic_operators(network)
    if recipe.deterministic and device.startswith("cuda") and found:
        raise AblateError(
            f"train.deterministic: {', '.join(found)} has no deterministic backward on CUDA; set it to false "
            "or leave out the attention that needs it"
        )


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
