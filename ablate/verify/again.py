"""`verify_trial`: is the trial whole, is it still the same trial, and does it come out the same?

Where device and libraries are those of the record, every bit has to be the same. Elsewhere the arithmetic
itself is another, and small differences grow with every step; what is compared then is what survives that,
the loss of the first step and the accuracy on the test images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ablate.environment import describe, devices, require_torch, resolve_device
from ablate.errors import AblateError, StoreError
from ablate.execute import describe_error
from ablate.record import Environment, TrialRecord
from ablate.spec.names import pretraining_of
from ablate.spec.settings import Settings
from ablate.status import find_trial
from ablate.store import Store, read_settings, sha256_of
from ablate.variants import (
    changed_fields,
    identity_hash,
    source_fingerprints,
    trial_identity,
    weights_sha256,
)
from ablate.verify.compare import differences, disagreements

if TYPE_CHECKING:
    from ablate.data import Images

Outcome = Literal["identical", "agrees within tolerance", "differs"]
_SHOWN = 6


@dataclass(frozen=True)
class Verification:
    """What came of it, in sentences.

    differences: why it differs, the first first; within a tolerance, what differs in bits alone. agreements:
    what was compared within a tolerance, and by how much it differs. conditions: why a tolerance had to do.
    missing: files that are no more there.
    """

    trial: str
    outcome: Outcome
    differences: tuple[str, ...] = ()
    agreements: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        return 1 if self.outcome == "differs" else 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def verify_trial(
    trial: str,
    *,
    output: str | Path = "results",
    device: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> Verification:
    """Train a finished trial again in a temporary folder and compare; nothing in the tree is touched.

    trial: as `find_trial` takes it. device: as `resolve_device` takes it; None: the record's, else the best
    there is. say: told what is about to happen. on_progress: as of `run_trial`. Raises AblateError where it
    cannot be verified: it failed, its data or a source have changed, what it started from is gone.
    """
    store = Store(output)
    record = _finished(store, trial)
    damage = tuple(_damage(store, record))
    vouched = store.trial(record.id).vouched
    missing = tuple(path.name for path in vouched if path.name in record.files and not path.is_file())
    if damage:
        return Verification(record.id, "differs", damage, missing=missing)
    settings = _settings(store, record)
    sources = source_fingerprints(settings)
    _refuse_changed(record, record.identity | {"sources": sources})  # before any of the user's code runs
    images = _images(settings)
    start = _start(store, settings, record, images)
    found = trial_identity(
        settings,
        record.seed,
        data_fingerprint=images.fingerprint,
        precision=record.identity["precision"],
        weights_sha256=start.sha256,
        sources=sources,
    )
    _refuse_changed(record, found)
    device = _device(device, record.environment)
    here = describe(device, threads=record.environment.threads, deterministic=settings.train.deterministic)
    conditions = tuple(_conditions(record.environment, here))
    took = f"took {record.wall_s:.0f} s on {record.environment.device_name}"
    say(f"trial {record.id} is trained again on {device}; the first time it {took}")
    with tempfile.TemporaryDirectory(prefix="ablate-verify-") as folder:
        again = Store(folder)
        try:
            new = _train(settings, record, again, here, start, on_progress)
        except _BrokeDown as error:
            said = f"it did not break down then, and does now: {error}"
            return Verification(record.id, "differs", (said,), conditions=conditions, missing=missing)
        apart = tuple(differences(store, again, record, new))
        if not conditions and (not apart or not _in_any_order(settings, device)):
            outcome: Outcome = "differs" if apart else "identical"
            return Verification(record.id, outcome, apart, missing=missing)
        within, beyond = disagreements(
            store,
            again,
            record,
            new,
            precision=record.identity["precision"],
            same_start=_same_start(settings, images, record.environment, here),
        )
    return Verification(
        record.id,
        "differs" if beyond else "agrees within tolerance",
        (*beyond, *apart),
        tuple(within),
        conditions or (f"on {device} without train.deterministic, sums are taken in any order",),
        missing,
    )


# Whether it is whole


def _finished(store: Store, trial: str) -> TrialRecord:
    trial_id = find_trial(trial, store)
    record = store.read_trial(trial_id)
    if record is None:
        raise AblateError(
            f"trial {trial_id} has not ended: there is nothing to verify yet\n"
            "    `ablate status` shows how far it is"
        )
    if record.status == "failed":
        kind = record.failure.kind if record.failure else "unknown"
        raise AblateError(
            f"trial {trial_id} failed ({kind}): it has no result to verify\n"
            f"    `ablate logs {trial_id}` shows why; `ablate run STUDY --retry-failed` tries it again"
        )
    return record


def _damage(store: Store, record: TrialRecord) -> Iterator[str]:
    """What can be told without training: files and record do not belong together."""
    paths = store.trial(record.id)
    for path in paths.vouched:
        vouched, found = record.files.get(path.name), sha256_of(store.confined(path))
        if vouched is not None and found not in (None, vouched):
            yield (
                f"{path.name} is not the file that record.json vouches for (SHA-256): it was edited, or "
                "belongs to another training"
            )
    if identity_hash(record.identity) != record.id:
        yield "record.json: the identity in it is not that of this trial: it was edited"
    elif record.seed != record.identity.get("seed"):
        yield f"record.json: it says seed {record.seed}, its identity {record.identity.get('seed')}"
    yield from _wrong_accuracies(store, record)


def _wrong_accuracies(store: Store, record: TrialRecord) -> Iterator[str]:
    try:
        arrays = store.read_predictions(record.id)
    except StoreError:  # not the file that is vouched for: said already
        return
    if arrays is None or record.metrics is None or not len(arrays["label"]):
        return
    for name, predicted in (("accuracy", "predicted"), ("accuracy_best", "predicted_best")):
        hits = int((arrays[predicted] == arrays["label"]).sum())
        found, said = 100 * hits / len(arrays["label"]), getattr(record.metrics, name)
        if abs(found - said) > 1e-9:
            yield f"record.json: {name.replace('_', ' ')} was {said}, predictions.npz gives {found}"


def _settings(store: Store, record: TrialRecord) -> Settings:
    """In the precision of the record: `auto` may be another here."""
    settings = read_settings(store, record.id)
    train = settings.train.model_copy(update={"precision": record.identity["precision"]})
    return settings.model_copy(update={"train": train})


# Whether it is still the same


@dataclass(frozen=True)
class _Start:
    """The weights that it starts from, as `run_trial` takes them. sha256: as its identity has it."""

    weights: Path | None = None
    sha256: str | None = None
    other_classes: bool = False


def _images(settings: Settings) -> Images:
    require_torch()
    from ablate.data import load_images

    data = settings.data
    return load_images(data.source, root=data.root, image_size=data.image_size, classes=data.classes)


def _start(store: Store, settings: Settings, record: TrialRecord, images: Images) -> _Start:
    model = settings.model
    if model.weights is None:
        return _Start()
    name = pretraining_of(model.weights)
    if name is None:
        from ablate.models import locate_weights

        path = Path(locate_weights(model.backbone, model.weights, model.args))
        return _Start(path, weights_sha256(path))
    sha256 = str(record.identity["weights_sha256"])
    before_id = sha256.removeprefix("trial:")
    before = store.read_trial(before_id)
    paths = store.trial(before_id)
    way_out = "run its study again, which trains what is missing"
    if before is None or before.status != "done" or not paths.weights.is_file():
        raise AblateError(
            f"the weights of the pretraining {name!r} (trial {before_id}), from which this trial starts, are "
            f"not there\n    {way_out}"
        )
    store.check_files(before_id)
    settings_before = read_settings(store, before_id)
    if settings_before.train.keep != "last":
        kept = settings_before.train.keep
        raise AblateError(
            f"the pretraining {name!r} (trial {before_id}) kept its {kept} weights; this trial started from "
            f"the last ones\n    {way_out}"
        )
    return _Start(paths.weights, sha256, _images(settings_before).classes != images.classes)


def _refuse_changed(record: TrialRecord, found: Mapping[str, Any]) -> None:
    changed = changed_fields(record.identity, found)
    if changed:
        lines = "".join(f"\n  {line}" for line in changed)
        raise AblateError(
            f"trial {record.id} cannot be trained again as it was; nothing was trained. Since then changed:"
            f"{lines}\n    bring back what it was trained with, or run its study again: that is another trial"
        )


def _device(asked: str | None, then: Environment) -> str:
    if asked is not None:
        return resolve_device(asked)
    present = [name for name, _, _ in devices()]
    return then.device if then.device in present else resolve_device("auto")


def _conditions(then: Environment, here: Environment) -> Iterator[str]:
    """What is not as it was and may move the last bit.

    Not the version of ablate: what it changes in results is a part of the identity.
    """
    if then.device.partition(":")[0] != here.device.partition(":")[0]:
        yield f"device: {then.device} then, {here.device} now"
    names = (
        "processes",
        "device_name",
        "torch",
        "torchvision",
        "numpy",
        "cuda",
        "cudnn",
        "threads",
        "deterministic",
    )
    for name in names:
        before, now = getattr(then, name), getattr(here, name)
        if before != now:
            yield f"{name.replace('_', ' ')}: {before} then, {now} now"


def _in_any_order(settings: Settings, device: str) -> bool:
    """Whether two trainings on one machine may differ."""
    return device != "cpu" and not settings.train.deterministic


def _same_start(settings: Settings, images: Images, then: Environment, here: Environment) -> bool:
    """Whether the first step draws the same random numbers; those of dropout come from the device, and are
    drawn by each process for itself."""
    together = then.processes == here.processes
    if together and then.device.partition(":")[0] == here.device.partition(":")[0]:
        return True
    import torch

    from ablate.trial import build_for

    with torch.device("meta"):
        network = build_for(settings, images.shape, len(images.classes), 0)
    names = {type(module).__name__.lower() for module in network.modules()}
    return not any("drop" in name or "stochastic" in name for name in names)


# Training it again


class _BrokeDown(Exception):
    """The new training ended without a result."""


def _train(
    settings: Settings,
    record: TrialRecord,
    again: Store,
    here: Environment,
    start: _Start,
    on_progress: Callable[[dict[str, Any]], None] | None,
) -> TrialRecord:
    from ablate.train import NonFiniteLoss
    from ablate.trial import run_trial

    try:
        with _threads(here.threads):
            return run_trial(
                settings,
                record.seed,
                folder=again.trial(record.id).folder,
                trial_id=record.id,
                variant_id=record.variant_id,
                identity=record.identity,
                device=here.device,
                environment=here,
                weights=start.weights,
                other_classes=start.other_classes,
                on_progress=on_progress,
            )
    except NonFiniteLoss as error:
        raise _BrokeDown(str(error)) from error
    except AblateError:
        raise
    except Exception as error:
        found = describe_error(error)
        where = f", in {found.where}" if found.where else ""
        raise AblateError(
            f"trial {record.id} could not be trained again: {found.error}: {found.message}{where}"
        ) from error


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# In words


def render_verification(found: Verification) -> str:
    """The outcome first, then why."""
    head = {
        "identical": "every loss, figure, prediction and kept weight is the same to the last bit",
        "agrees within tolerance": "not trained under the same conditions, so not compared to the last bit",
        "differs": found.differences[0] if found.differences else "",
    }[found.outcome]
    lines = [f"{found.outcome}: trial {found.trial}: {head}"]
    lines += [f"  conditions: {condition}" for condition in found.conditions]
    lines += [f"  within: {agreement}" for agreement in found.agreements]
    rest = found.differences[1:] if found.outcome == "differs" else found.differences
    lines += [f"  apart: {difference}" for difference in rest[:_SHOWN]]
    if found.conditions and found.outcome != "differs" and not rest:
        lines.append("  every bit is the same all the same")
    lines += [f"  not compared, since it is no more there: {name}" for name in found.missing]
    return "\n".join(lines)
