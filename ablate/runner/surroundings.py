"""What turns settings and a seed into a job on this machine: the device, the data, the results tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.environment import describe
from ablate.record import Environment
from ablate.runner.job import Job
from ablate.spec import Settings
from ablate.spec.names import pretraining_of
from ablate.store import Store
from ablate.variants import Variant, identity_hash, source_fingerprints, trial_identity, weights_sha256

if TYPE_CHECKING:
    from ablate.data import Images


@dataclass
class Surroundings:
    """Data are loaded once a source. device: as `resolve_device` gives it. threads: of one process.

    processes: that train one trial together. pretraining: by the name that `model.weights:
    pretraining:NAME` gives.
    """

    store: Store
    device: str
    threads: int = 1
    processes: int = 1
    pretraining: Mapping[str, Variant] = field(default_factory=dict)
    _images: dict[tuple[object, ...], Images] = field(default_factory=dict)
    _environments: dict[bool, Environment] = field(default_factory=dict)
    _weights: dict[tuple[Path, int, int], str] = field(default_factory=dict)
    _pretraining_jobs: dict[tuple[str, int], Job] = field(default_factory=dict)

    def images(self, settings: Settings) -> Images:
        from ablate.data import load_images

        data = settings.data
        whole = (data.source, data.root, data.image_size)
        part = (*whole, data.classes)
        if whole not in self._images:
            self._images[whole] = load_images(data.source, root=data.root, image_size=data.image_size)
        if part not in self._images:
            self._images[part] = self._images[whole].of_classes(data.classes)
        return self._images[part]

    def environment(self, *, deterministic: bool = False) -> Environment:
        if deterministic not in self._environments:
            self._environments[deterministic] = describe(
                self.device, threads=self.threads, deterministic=deterministic
            )
        return self._environments[deterministic]

    def precision(self, asked: str) -> str:
        """What `train.precision` comes to on this device."""
        if self.device == "cpu" and asked in ("auto", "fp32"):
            return "fp32"  # as `resolve_precision` says, which loads torch
        from ablate.train import resolve_precision

        return str(resolve_precision(asked, self.device))

    def job(self, settings: Settings, seed: int, variant_id: str) -> Job:
        """Raises StudyError or another AblateError where weights or the user's modules are not to be had."""
        before = self._before(settings, seed)
        weights = self._weights_file(settings) if before is None else before.paths.weights
        digest = self._sha256(weights) if before is None else f"trial:{before.trial_id}"
        environment = self.environment(deterministic=settings.train.deterministic)
        identity = trial_identity(
            settings,
            seed,
            data_fingerprint=self.images(settings).fingerprint,
            precision=self.precision(settings.train.precision),
            weights_sha256=digest,
            sources=source_fingerprints(settings),
        )
        job = Job(
            settings=settings,
            seed=seed,
            trial_id=identity_hash(identity),
            variant_id=variant_id,
            identity=identity,
            root=self.store.root,
            device=self.device,
            environment=environment.model_copy(update={"processes": self.processes}),
            weights=weights,
            after=None if before is None else before.trial_id,
            other_classes=before is not None and self._classes(before.settings) != self._classes(settings),
        )
        return replace(job, again=job.paths.record.exists())

    def pretraining_job(self, name: str, seed: int) -> Job:
        """Which keeps the last weights, whatever its settings say: others start from them."""
        if (name, seed) not in self._pretraining_jobs:
            variant = self.pretraining[name]
            job = self.job(variant.settings, seed, variant.id)
            self._pretraining_jobs[name, seed] = keeping_last_weights(job)
        return self._pretraining_jobs[name, seed]

    def _before(self, settings: Settings, seed: int) -> Job | None:
        name = pretraining_of(settings.model.weights)
        return None if name is None else self.pretraining_job(name, seed)

    def _classes(self, settings: Settings) -> tuple[str, ...]:
        return self.images(settings).classes

    def _weights_file(self, settings: Settings) -> Path | None:
        model = settings.model
        if model.weights is None:
            return None
        from ablate.models.weights import locate_weights

        return Path(locate_weights(model.backbone, model.weights, model.args))

    def _sha256(self, weights: Path | None) -> str | None:
        """Read once a state of the file: every variant and seed asks for it."""
        if weights is None or not weights.is_file():
            return None if weights is None else weights_sha256(weights)
        state = weights.stat()
        key = (weights, state.st_mtime_ns, state.st_size)
        if key not in self._weights:
            self._weights[key] = weights_sha256(weights)
        return self._weights[key]


def keeping_last_weights(job: Job) -> Job:
    train = job.settings.train.model_copy(update={"keep": "last"})
    return replace(job, settings=job.settings.model_copy(update={"train": train}))
