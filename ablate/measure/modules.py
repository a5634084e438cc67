"""Where in a network its costs lie: a table of modules whose rows sum to the totals, to the integer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from ablate.measure.activations import activations_by_module
from ablate.measure.errors import MeasureError
from ablate.measure.macs import count_macs
from ablate.measure.parameters import count_parameters, parameters_by_module


@dataclass(frozen=True, slots=True)
class ModuleCost:
    """What one module costs beyond the rows below it. kind: its class; path: empty for the network itself."""

    path: str
    kind: str
    param_count: int
    macs: int
    activations: int


@dataclass(frozen=True, slots=True)
class ModuleTable:
    """rows: in the order of the network, those that cost nothing left out. Totals: of the whole network."""

    rows: tuple[ModuleCost, ...]
    param_count: int
    macs: int
    activations: int


def module_table(network: nn.Module, image_shape: Sequence[int], *, depth: int | None = None) -> ModuleTable:
    """Parameters, MACs and activations of each module for one image of (C, H, W).

    depth: how many names a path may have; what lies deeper counts with the module at that depth. Raises what
    `count_macs` raises, and MeasureError where the rows do not sum to what the counters give for the whole.
    """
    macs = count_macs(network, image_shape)
    activations = activations_by_module(network, image_shape)
    columns = [
        _folded(found, depth) for found in (parameters_by_module(network), macs.by_module, activations)
    ]
    rows = tuple(
        ModuleCost(path, type(module).__name__, *costs)
        for path, module in network.named_modules()
        if any(costs := tuple(column[path] for column in columns))
    )
    totals = (count_parameters(network), macs.total, activations.total())
    sums = tuple(sum(getattr(row, cost) for row in rows) for cost in ("param_count", "macs", "activations"))
    if sums != totals:
        raise MeasureError(
            f"the modules sum to {sums} parameters, MACs and activations and the network to {totals}"
        )
    return ModuleTable(rows, *totals)


def _folded(own: Mapping[str, int], depth: int | None) -> Counter[str]:
    found: Counter[str] = Counter()
    for path, count in own.items():
        found[path if depth is None else ".".join(path.split(".")[:depth])] += count
    return found
