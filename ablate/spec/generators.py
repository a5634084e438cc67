"""All that makes variants by itself: sweeps, designs and the matrix."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.spec.matrix import Matrix
from ablate.spec.sweeps import Design, Sweep

Generator = Sweep | Design | Matrix


def generated_names(generators: Sequence[Generator]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(cell.name for generator in generators for cell in generator.cells()))
