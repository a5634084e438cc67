"""What a network costs, measured so that it can be believed."""

from ablate.measure.activations import count_activations, saved_bytes
from ablate.measure.energy import Energy
from ablate.measure.errors import MeasureError
from ablate.measure.latency import LatencyRatio, Session, Timing, compare, time_interleaved
from ablate.measure.macs import MacCount, count_macs
from ablate.measure.memory import MemoryPeak, inference_peak, peak_memory, training_peak
from ablate.measure.modules import ModuleCost, ModuleTable, module_table
from ablate.measure.parameters import count_parameters

__all__ = [
    "Energy",
    "LatencyRatio",
    "MacCount",
    "MeasureError",
    "MemoryPeak",
    "ModuleCost",
    "ModuleTable",
    "Session",
    "Timing",
    "compare",
    "count_activations",
    "count_macs",
    "count_parameters",
    "inference_peak",
    "module_table",
    "peak_memory",
    "saved_bytes",
    "time_interleaved",
    "training_peak",
]
