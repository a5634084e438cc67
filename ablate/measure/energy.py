"""Energy of calls, where the device counts it: NVML's counter of the whole GPU, read over windows of seconds.

The counter is the board's, with all that runs on it and what it draws when idle, and it advances some ten
times a second: what it gives is an estimate of this machine under this load. It is shown as one and decides
nothing. NVML's `nvmlDeviceGetTotalEnergyConsumption` counts millijoules on GPUs from Volta on; it needs the
package nvidia-ml-py (`pip install "ablate-bench[energy]"`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ablate.measure.latency import Call, abba

WINDOW_S = 5.0  # long against the tenth of a second in which the counter advances
NOT_COUNTED = "not counted"


class EnergyCounter(Protocol):
    """Counts what a device has drawn so far."""

    means: str

    def read_mj(self) -> float:
        """Millijoules since some fixed time."""
        ...


@dataclass(frozen=True)
class Energy:
    """Millijoules of one call. call_mj: None where it was not counted; `means` says how or why not.

    windows_mj: a call's in each window, which tell how far the estimate scatters.
    """

    call_mj: float | None
    means: str
    windows_mj: tuple[float, ...] = ()


class NvmlCounter:
    """Of one GPU, found by its UUID: NVML numbers the GPUs of the machine, torch those that it may see."""

    means = "NVML, the whole GPU: an estimate"

    def __init__(self, nvml: Any, uuid: str) -> None:
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByUUID(uuid)

    def read_mj(self) -> float:
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))


def counter_for(device: torch.device | str) -> EnergyCounter | str:
    """The counter of a device, or why there is none."""
    if torch.device(device).type != "cuda":
        return f"{NOT_COUNTED}: nothing counts the energy of {torch.device(device).type!r}"
    try:
        import pynvml
    except ImportError:
        return f'{NOT_COUNTED}: needs nvidia-ml-py (pip install "ablate-bench[energy]")'
    try:
        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        counter = NvmlCounter(pynvml, uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")
        counter.read_mj()
    except (pynvml.NVMLError, AttributeError) as error:  # an old GPU, a slice of one, a driver that denies it
        return f"{NOT_COUNTED}: {error}"
    return counter


def count_energy(
    calls: Mapping[str, Call],
    counter: EnergyCounter,
    *,
    synchronise: Callable[[], None],
    window_s: float = WINDOW_S,
    rounds: int = 1,
) -> dict[str, Energy]:
    """Energy of one call of each, in windows that are interleaved as latencies are, two a round.

    synchronise: returns when the device has done all that it was told. A counter that stands still in a
    window has counted nothing.
    """
    windows: dict[str, list[float]] = {name: [] for name in calls}
    for order in abba(tuple(calls), rounds):
        for name in order:
            windows[name].append(_window(calls[name], counter, synchronise, window_s))
    return {name: _energy(tuple(found), counter.means) for name, found in windows.items()}


def _window(call: Call, counter: EnergyCounter, synchronise: Callable[[], None], window_s: float) -> float:
    call()
    synchronise()
    before, began, made = counter.read_mj(), time.perf_counter(), 0
    while time.perf_counter() - began < window_s:
        call()
        synchronise()  # or calls would queue up, and the window never end
        made += 1
    return (counter.read_mj() - before) / made if made else 0.0


def _energy(windows: tuple[float, ...], means: str) -> Energy:
    if min(windows) <= 0:
        return Energy(None, f"{NOT_COUNTED}: the counter did not advance within a window")
    return Energy(statistics.fmean(windows), means, windows)
