"""What a network costs, measured so that it can be believed.

The names load on first use: who counts MACs need not load what times them.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Energy": "ablate.measure.energy",
    "LatencyRatio": "ablate.measure.latency",
    "MacCount": "ablate.measure.macs",
    "MeasureError": "ablate.measure.errors",
    "MemoryPeak": "ablate.measure.memory",
    "ModuleCost": "ablate.measure.modules",
    "ModuleTable": "ablate.measure.modules",
    "Session": "ablate.measure.latency",
    "Timing": "ablate.measure.latency",
    "compare": "ablate.measure.latency",
    "count_activations": "ablate.measure.activations",
    "count_macs": "ablate.measure.macs",
    "count_parameters": "ablate.measure.parameters",
    "inference_peak": "ablate.measure.memory",
    "module_table": "ablate.measure.modules",
    "peak_memory": "ablate.measure.memory",
    "saved_bytes": "ablate.measure.activations",
    "time_interleaved": "ablate.measure.latency",
    "training_peak": "ablate.measure.memory",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ablate.measure' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
