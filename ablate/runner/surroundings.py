"""What turns settings and a seed into a job on this machine: the device, the data, the results tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ablate.environment import describe
from ablate.record import Environment
from ablate.runner.job import Job
from ablate.spec import Settings
from ablate.store import Store
from ablate.variants import identity_hash, source_fingerprints, trial_identity, weights_sha256

if TYPE_CHECKING:
    from ablate.data import Images


@dataclass
class Surroundings:
    """Data are loaded once a source. device: as `resolve_device` gives it. threads: of one trial."""

    store: Store
    device: str
    threads: int = 1
    _images: dict[tuple[str, str | None, int | None], Images] = field(default_factory=dict)
    _environments: dict[bool, Environment] = field(default_factory=dict)

    def images(self, settings: Settings) -> Images:
        from ablate.data import load_images

        data = settings.data
        key = (data.source, data.root, data.image_size)
        if key not in self._images:
            self._images[key] = load_images(data.source, root=data.root, image_size=data.image_size)
        return self._images[key]

    def environment(self, *, deterministic: bool = False) -> Environment:
        if deterministic not in self._environments:
            self._environments[deterministic] = describe(
                self.device, threads=self.threads, deterministic=deterministic
            )
        return self._environments[deterministic]

    def precision(self, asked: str) -> str:
        """What `train.precision` comes to on this device."""
        from ablate.train import resolve_precision

        return str(resolve_precision(asked, self.device))

    def job(self, settings: Settings, seed: int, variant_id: str) -> Job:
        identity = trial_identity(
            settings,
            seed,
            data_fingerprint=self.images(settings).fingerprint,
            precision=self.precision(settings.train.precision),
            weights_sha256=weights_sha256(settings),
            sources=source_fingerprints(settings),
        )
        return Job(
            settings=settings,
            seed=seed,
            trial_id=identity_hash(identity),
            variant_id=variant_id,
            identity=identity,
            root=self.store.root,
            device=self.device,
            environment=self.environment(deterministic=settings.train.deterministic),
        )
