"""What `--gpus-per-trial` cannot do, found before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ablate.environment import devices
from ablate.errors import MachineError, Problems
from ablate.runner.inspection import line_of
from ablate.spec import Settings, Study
from ablate.variants import Variant

OPTION = "--gpus-per-trial"


def refuse_device(device: str, asked: str, processes: int, *, elsewhere: bool) -> None:
    """Raises MachineError where the device is not one that so many processes can have.

    device: as it was resolved; asked: as the user named it. elsewhere: the trials run on other machines.
    """
    if processes == 1 or (device == "cpu" and asked != "auto"):
        return
    if device == "cpu":
        raise MachineError(
            f"{OPTION} {processes}: there is no GPU here\n"
            f"    use --device cpu to try it in {processes} processes on the CPU"
        )
    if not device.startswith("cuda"):
        raise MachineError(f"{OPTION} {processes}: there is one {device} device\n    use {OPTION} 1")
    if asked.startswith("cuda:"):
        raise MachineError(
            f"{OPTION} {processes}: --device {asked} names a single GPU\n    use --device cuda, and "
            "CUDA_VISIBLE_DEVICES to choose among several"
        )
    present = sum(name.startswith("cuda:") for name, _, _ in devices())
    if not elsewhere and processes > present:
        raise MachineError(
            f"{OPTION} {processes}: this machine has {present} GPU{'s' if present != 1 else ''}; allowed: "
            f"1 to {present}"
        )


def check_sharing(study: Study, variants: Sequence[Variant], processes: int, problems: Problems) -> None:
    """Adds a problem for each setting of a variant that several processes cannot share."""
    for variant in variants if processes > 1 else ():
        for setting, message, hint in _faults(variant.settings, processes):
            problems.add(
                message, where=line_of(study, variant, setting), field=setting, hint=f"{hint}, or {OPTION} 1"
            )


def _faults(settings: Settings, processes: int) -> Iterator[tuple[str, str, str]]:
    """(setting, what is wrong, the way out)"""
    train, attention = settings.train, settings.model.attention
    images = train.batch_size // train.accumulate
    if images < processes:
        parts = f" in {train.accumulate} parts" if train.accumulate > 1 else ""
        yield (
            "train.batch_size",
            f"{train.batch_size} images{parts} are too few to share among {processes} processes",
            f"at least {processes * train.accumulate} images",
        )
    if train.compile:
        yield "train.compile", "true: a compiled network is trained by one process", "set it to false"
    if attention is not None and attention.gate == "shuffled":
        message = "'shuffled' takes the gates of other images of the batch, which other processes have"
        yield "model.attention.gate", message, "leave these variants out with --exclude"
