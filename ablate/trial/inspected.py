"""What an inspection tells; without torch, so that one told before can be read again."""

from __future__ import annotations

from dataclasses import dataclass

from ablate.record import AttachedModule


@dataclass(frozen=True)
class Inspection:
    """A variant as its network shows it, without training. MACs are those of one image."""

    attached: tuple[AttachedModule, ...]
    param_count: int
    attention_param_count: int
    macs: int
    attention_macs: int
    notes: tuple[str, ...]
