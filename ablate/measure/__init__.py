"""What a network costs, measured so that it can be believed."""

from ablate.measure.errors import MeasureError
from ablate.measure.macs import MacCount, count_macs
from ablate.measure.parameters import count_parameters

__all__ = ["MacCount", "MeasureError", "count_macs", "count_parameters"]
