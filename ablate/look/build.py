"""`look_at`: from a study in the results tree to the rows of a look."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ablate.data import Images, load_images
from ablate.errors import MachineError
from ablate.look.cam import WAY_OUT, has_captum
from ablate.look.choose import (
    Chosen,
    choose_images,
    choose_trials,
    class_numbers,
    count_wrong,
    sentences,
    stratified_order,
)
from ablate.look.errors import LookError
from ablate.look.layers import cam_layer, choose_layers, feature_maps, modules_by_name
from ablate.look.one import Subject, read_cam, read_maps
from ablate.look.rows import ImageRow, Look, TrialLook
from ablate.look.sampled import read_gates
from ablate.models import Network
from ablate.models.gates import ShuffledGate
from ablate.spec.settings import Settings
from ablate.store import Store, read_settings
from ablate.trial import build_for, load_trained
from ablate.variants import changed_fields, source_fingerprints


@dataclass(frozen=True)
class Wishes:
    """What is to be looked at.

    images: how many. variants, layers, classes: names or globs, all (layers: the default ones) where empty.
    seeds: None for the first two. channels: shown of each layer. top: channels by response to each image.
    wrong_first: images that the most trials get wrong come first. sample: images that gates are measured
    over. replace: also try each gate's mean in its place. cam: class activation; None where captum is there.
    cam_layer: None for the last map with more than one position.
    """

    images: int = 10
    variants: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    layers: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    channels: int = 12
    top: int = 3
    wrong_first: bool = False
    sample: int = 256
    replace: bool = True
    cam: bool | None = None
    cam_layer: str | None = None
    device: str = "cpu"


def look_at(store: Store, study: str, wishes: Wishes, *, say: Callable[[str], None] = lambda _: None) -> Look:
    """Read every trial that is asked for. say: told which is being read.

    Raises LookError for what is not there, MachineError for class activation without captum.
    """
    if wishes.cam and not has_captum():
        raise MachineError(WAY_OUT)
    plan = store.read_plan(study)
    if plan is None:
        raise LookError(f"no study {study!r} was run under {store.root}")
    chosen, left_out = choose_trials(store, plan, variants=wishes.variants, seeds=wishes.seeds)
    chosen, images, more = _with_one_test_set(store, chosen)
    for trial, why in more.items():
        left_out.setdefault(why, []).append(trial)
    networks = _bare_networks(store, chosen, images)
    layers = choose_layers(networks, wishes.layers, images.shape)
    cams = _cam_layers(networks, wishes, images.shape)
    rows, chosen_how, predicted = _rows(store, chosen, images, wishes)
    sample = stratified_order(images.test_labels)[: wishes.sample]
    trials = []
    for number, trial in enumerate(chosen, start=1):
        say(f"{number} of {len(chosen)}: {trial.name}")
        subject = _subject(store, trial, images, rows, sample, wishes.device)
        said, found = read_maps(subject, layers[trial.variant], wishes.channels, wishes.top)
        gates, here = read_gates(subject, replace=wishes.replace)
        layer = cams[trial.variant]
        trials.append(
            TrialLook(
                variant=trial.variant,
                seed=trial.seed,
                trial=trial.record.id,
                accuracy=_accuracy(trial),
                predictions=said,
                gates=gates,
                cam=None if layer is None else read_cam(subject, layer, said),
                notes=tuple(_notes(trial, subject, predicted.get(trial.record.id), sample, here)),
                **found,
            )
        )
    return Look(
        study=study,
        title=plan.title,
        baseline=plan.baseline,
        classes=images.classes,
        images=tuple(
            ImageRow(
                int(images.test_rows[row]), int(images.test_labels[row]), np.array(images.test[int(row)])
            )
            for row in rows
        ),
        chosen=chosen_how,
        trials=tuple(trials),
        layers=tuple(dict.fromkeys(path for paths in layers.values() for path in paths)),
        left_out=tuple(sentences(left_out)),
        notes=tuple(_missing_cam(wishes)),
    )


def _accuracy(trial: Chosen) -> float | None:
    metrics = trial.record.metrics
    if metrics is None:
        return None
    return metrics.accuracy_best if trial.kept == "best" else metrics.accuracy


def _missing_cam(wishes: Wishes) -> list[str]:
    return [WAY_OUT] if wishes.cam is None and not has_captum() else []


def _with_one_test_set(store: Store, chosen: Sequence[Chosen]) -> tuple[list[Chosen], Images, dict[str, str]]:
    """Those trials that have the test images of the first, these, and {another: why it is left out}."""
    kept: list[Chosen] = []
    left_out: dict[str, str] = {}
    first: Images | None = None
    loaded: dict[object, Images] = {}
    for trial in chosen:
        settings = read_settings(store, trial.record.id)
        was = {"sources": trial.record.identity.get("sources")}
        changed = changed_fields(was, {"sources": source_fingerprints(settings)})
        if changed:
            why = "modules of your own have changed since the training: bring them back, or run it again"
            left_out[trial.name] = why
            continue
        images = _images(settings, trial, loaded)
        if first is None:
            first = images
        if (images.fingerprint, images.classes) != (first.fingerprint, first.classes):
            left_out[trial.name] = f"tested on other images than {kept[0].variant}: look with --variants"
            continue
        kept.append(trial)
    if first is None:
        why = next(iter(left_out.values()))
        raise LookError(f"no trial can be looked at: {why}\n    {', '.join(left_out)}")
    return kept, first, left_out


def _images(settings: Settings, trial: Chosen, loaded: dict[object, Images]) -> Images:
    data = settings.data
    fingerprint = trial.record.identity["data_fingerprint"]
    key = (data.source, data.root, data.image_size, data.classes, fingerprint)
    if key not in loaded:
        loaded[key] = load_images(
            data.source,
            root=data.root,
            image_size=data.image_size,
            classes=data.classes,
            fingerprint=fingerprint,
        )
    return loaded[key]


def _bare_networks(store: Store, chosen: Sequence[Chosen], images: Images) -> dict[str, Network]:
    """{variant: its network without numbers}: enough to choose layers."""
    networks: dict[str, Network] = {}
    for trial in chosen:
        if trial.variant not in networks:
            settings = read_settings(store, trial.record.id)
            with torch.device("meta"):
                networks[trial.variant] = build_for(settings, images.shape, len(images.classes), trial.seed)
    return networks


def _cam_layers(
    networks: Mapping[str, Network], wishes: Wishes, image_shape: Sequence[int]
) -> dict[str, str | None]:
    """{variant: the layer that its class activation is taken after}, None for none."""
    if wishes.cam is False or not has_captum():
        return dict.fromkeys(networks)
    if wishes.cam_layer is None:
        return {name: cam_layer(network, image_shape) for name, network in networks.items()}
    wanted = wishes.cam_layer
    found = {
        name: wanted if feature_maps(network, [wanted], image_shape) else None
        for name, network in networks.items()
    }
    if not any(found.values()):
        every = {path for network in networks.values() for path in modules_by_name(network)}
        nearest = difflib.get_close_matches(wanted, sorted(every), n=3, cutoff=0.5)
        hint = f"\n    nearest: {', '.join(nearest)}" if nearest else ""
        raise LookError(f"--cam-layer: {wanted!r} gives no feature map (B, C, H, W) exactly once{hint}")
    return found


def _rows(
    store: Store, chosen: Sequence[Chosen], images: Images, wishes: Wishes
) -> tuple[NDArray[np.int64], str, Mapping[str, NDArray[np.int64]]]:
    """Rows of the images that are shown, how they were chosen, and the saved predictions of each trial."""
    labels = images.test_labels.copy()
    within = ""
    if wishes.classes:
        numbers = class_numbers(wishes.classes, images.classes)
        labels[~np.isin(labels, numbers)] = -1
        within = f" of {', '.join(images.classes[number] for number in numbers)}"
    wrong, predicted = count_wrong(store, chosen, images.test_rows)
    rows = choose_images(labels, wishes.images, wrong=wrong if wishes.wrong_first else None)
    how = f"{len(rows)} test images{within}, "
    if wishes.wrong_first:
        how += f"those first that most of {len(predicted)} trials predict wrongly"
    else:
        how += "drawn evenly over the classes by a fixed seed, whatever the trials say of them"
    return rows, how, predicted


def _subject(
    store: Store,
    trial: Chosen,
    images: Images,
    rows: NDArray[np.int64],
    sample: NDArray[np.int64],
    device: str,
) -> Subject:
    settings = read_settings(store, trial.record.id)
    weights = store.trial(trial.record.id).weights
    network, inputs = load_trained(settings, trial.seed, weights, images=images, device=device)
    start = None
    if settings.model.weights is None and network.attached:
        start = build_for(settings, images.shape, len(images.classes), trial.seed).to(device).eval()
    labels = images.test_labels
    return Subject(
        network=network,
        start=start,
        shown=inputs(rows),
        labels=np.array(labels[rows]),
        sample=inputs(sample),
        sample_labels=np.array(labels[sample]),
        classes=len(images.classes),
    )


def _notes(
    trial: Chosen,
    subject: Subject,
    saved: NDArray[np.int64] | None,
    sample: NDArray[np.int64],
    here: NDArray[np.int64],
) -> list[str]:
    """What a reader should know of this trial."""
    notes = []
    if trial.kept == "best":
        notes.append("the weights of the epoch best in validation are shown, not those of the last")
    if saved is not None:
        apart = int((saved[sample] != here).sum())
        if apart:
            notes.append(
                f"{apart} of {len(sample)} predictions are not those that were recorded: other arithmetic "
                f"(precision {trial.record.identity.get('precision')} there, fp32 here), or other neighbours "
                "in the batch"
            )
    if any(isinstance(module, ShuffledGate) for module in subject.network.modules()):
        notes.append("its gates are shuffled: what an image gets depends on its neighbours in the batch")
    return notes
