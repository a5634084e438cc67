"""Peak memory of a call, in a pass of its own: watching it costs time, so it never runs beside a clock.

On CUDA the allocator's own count; on the CPU `torch.distributed._tools.mem_tracker.MemTracker`, which sees
every tensor's storage come and go and gives the same bytes on every run. Neither sees what a kernel takes as
scratch outside torch's allocators. The resident set is an extra: it holds whatever else the process has.
"""

from __future__ import annotations

import gc
import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class MemoryPeak:
    """Bytes at the peak of a call, what was held before it included.

    peak_bytes: None where it cannot be told; `means` then says why. reserved_bytes: what CUDA's allocator had
    taken from the device. resident_bytes: how far the resident set rose above its start, where the system
    tells; scattered, and no part of any comparison.
    """

    peak_bytes: int | None
    means: str
    reserved_bytes: int | None = None
    resident_bytes: int | None = None


def peak_memory(call: Callable[[], Any], *held: Any, device: torch.device | str = "cpu") -> MemoryPeak:
    """The peak while `call` runs once.

    held: modules, optimizers and tensors that exist before and count with the peak on the CPU; on CUDA the
    allocator knows all that is held. The call should have run once before, so that buffers and the state of
    an optimizer exist. A network may be called only once in it on the CPU.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return _on_cuda(call, device)
    if device.type != "cpu":
        return MemoryPeak(None, f"{NOT_MEASURED}: nothing counts the memory of {device.type!r} to the byte")
    return _on_cpu(call, held)


def _on_cuda(call: Callable[[], Any], device: torch.device) -> MemoryPeak:
    gc.collect()  # what hangs in a circle of an earlier network would count
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    kept = call()
    torch.cuda.synchronize(device)
    del kept
    return MemoryPeak(
        int(torch.cuda.max_memory_allocated(device)),
        "CUDA allocator",
        reserved_bytes=int(torch.cuda.max_memory_reserved(device)),
    )


def _on_cpu(call: Callable[[], Any], held: tuple[Any, ...]) -> MemoryPeak:
    try:
        tracker = _tracker()
    except (ImportError, AttributeError, RuntimeError) as error:  # a torch built without torch.distributed
        return MemoryPeak(None, f"{NOT_MEASURED}: this torch has no MemTracker ({_line(error)})")
    tracker.track_external(*held)
    before = psutil.Process().memory_info().rss
    tells = _restart_high_water()
    try:
        with tracker:
            kept = call()
    except NotImplementedError as error:
        return MemoryPeak(None, f"{NOT_MEASURED}: {_line(error)}")
    del kept
    resident = _high_water_bytes() if tells else None
    # A device is absent where nothing was ever allocated on it.
    snapshot = tracker.get_tracker_snapshot("peak").get(torch.device("cpu"), {})
    return MemoryPeak(
        int(snapshot.get("Total", 0)),
        "MemTracker",
        resident_bytes=None if resident is None else max(0, resident - before),
    )


def _tracker() -> Any:
    with warnings.catch_warnings():  # torch.distributed warns of what this use has no part in
        warnings.simplefilter("ignore")
        return importlib.import_module("torch.distributed._tools.mem_tracker").MemTracker()


def _restart_high_water() -> bool:
    """Forget the highest resident set so far; False where the system cannot (proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _high_water_bytes() -> int | None:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(lines["VmHWM"].split()[0]) * 1024 if "VmHWM" in lines else None


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(" .")


# The two that a record states


def inference_peak(network: nn.Module, images: Tensor) -> MemoryPeak:
    """Of one forward pass without gradients; parameters, buffers and images [B,C,H,W] are held before."""

    def call() -> Any:
        with torch.no_grad():
            return network(images)

    call()
    return peak_memory(call, network, images, device=images.device)


def training_peak(network: nn.Module, step: Callable[[], Any], *held: Any, device: Any) -> MemoryPeak:
    """Of one whole training step, the optimizer's included, with the state that it keeps between steps.

    step: clears the gradients itself. held: the optimizer and the batch.
    """
    step()
    return peak_memory(step, network, *held, device=device)
