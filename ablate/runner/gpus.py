"""Trials over the GPUs of one machine: which GPU each worker sees, and how many share one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ablate.environment import available_cores
from ablate.errors import MachineError
from ablate.execute.slots import gpu_slots, workers_for

if TYPE_CHECKING:
    from ablate.runner.plan import Plan


def worker_slots(
    resolved: str,
    asked: str,
    jobs: int | None,
    peak_bytes: Callable[[], int | None],
    per_trial: int = 1,
) -> list[dict[str, str]]:
    """One mapping of environment variables a worker.

    resolved: the device of the plan. asked: as the user named it; `cuda:1` means this GPU alone, `cuda` or
    `auto` all of them. jobs: workers; by default one a core, or on CUDA as many a GPU as its free memory
    bears. peak_bytes: measures what the largest trial takes, and is asked only where that decides. per_trial:
    GPUs, or on the CPU cores, that a worker has for itself; then none are shared but where `jobs` asks for
    more workers than there is room for. Raises MachineError where there are not so many GPUs.
    """
    if not resolved.startswith("cuda"):
        return [{}] * (jobs or (max(1, available_cores() // per_trial) if resolved == "cpu" else 1))
    import torch

    named = asked.startswith("cuda:")
    indices = [int(resolved.partition(":")[2] or 0)] if named else list(range(torch.cuda.device_count()))
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    names = [visible[index] if index < len(visible) else str(index) for index in indices]
    if per_trial > 1:
        if len(names) < per_trial:
            raise MachineError(f"--gpus-per-trial {per_trial}: there are {len(names)} to be had here")
        starts = range(0, len(names) - per_trial + 1, per_trial)
        groups = [",".join(names[start : start + per_trial]) for start in starts]
        return gpu_slots(groups, [1] * len(groups), jobs)
    if jobs is not None:
        return gpu_slots(names, [1] * len(names), jobs)
    peak = peak_bytes()
    capacities = [workers_for(torch.cuda.mem_get_info(index)[0], peak) for index in indices]
    # Each worker keeps a core busy with images; more workers than cores would share these instead.
    return gpu_slots(names, capacities)[: max(len(names), available_cores())]


def largest_peak_bytes(plan: Plan) -> int | None:
    """Of the variants to be trained, the most that one takes on the plan's device; None if that is unknown.

    All of them are measured, as what a network keeps for its backward pass follows from no other figure.
    """
    from ablate.trial import measured_peak_bytes

    wanted = {trial.variant.id: trial.variant for trial in plan.wanted}
    peaks = [
        measured_peak_bytes(variant.settings, plan.images[variant.name], plan.device)
        for variant in wanted.values()
    ]
    return None if None in peaks else max((peak for peak in peaks if peak is not None), default=None)
