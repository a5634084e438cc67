"""Controls for attention itself: the same mechanism with gates that do not look at their image.

A mechanism that gates names its gate submodules in a class attribute ``gates``. Each maps (B, C, H, W) to a
gate that broadcasts onto what it scales, or to a tuple of such; its attribute ``squash``, the sigmoid where
there is none, turns logits into the gate. One that is switched off is None.

own        as the mechanism defines it
static     a learned gate, the same for every input: what does the gating do without looking?
shuffled   the module's own gate, but that of another image of the batch: is it this image's that matters?
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ablate.models.construct import ModelError
from ablate.models.dry_run import run_copy

GATES = ("own", "static", "shuffled")
Gate = Tensor | tuple[Tensor, ...]


class StaticGate(nn.Module):
    """squash(logits), whatever the input. (B, C, H, W) -> a gate with a batch of 1, or a tuple of them.

    shapes: of the logits, which start at zero, where a sigmoid gives 1/2. A gate with rows or columns belongs
    to one size of map; another is a ModelError.
    """

    def __init__(self, shapes: Sequence[Sequence[int]], squash: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.squash = squash
        self.shapes = tuple(tuple(shape) for shape in shapes)
        # Flat: no tensor of images, which a memory format could be asked of, and no weight that decay is for.
        self.logits = nn.ParameterList(nn.Parameter(torch.zeros(math.prod(shape))) for shape in self.shapes)

    def forward(self, x: Tensor) -> Gate:
        gates = []
        for logits, shape in zip(self.logits, self.shapes, strict=True):
            if any(own not in (1, side) for own, side in zip(shape[-2:], x.shape[-2:], strict=True)):
                own, given = ("×".join(map(str, sides[-2:])) for sides in (shape, x.shape))
                raise ModelError(f"the static gate was learned for maps of {own}, but one of {given} came")
            gates.append(self.squash(logits.view(shape)))
        return gates[0] if len(gates) == 1 else tuple(gates)


class ShuffledGate(nn.Module):
    """The gate of the image before, the first image's that of the last: of B ≥ 2 images, none keeps its own.

    So it is in evaluation as well: what an image gets depends on its neighbours in the batch, hence on the
    batch size and the order. A batch of a single image keeps its own gate.
    """

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Gate:
        gates = self.gate(x)
        if isinstance(gates, tuple):
            return tuple(gate.roll(1, dims=0) for gate in gates)
        return gates.roll(1, dims=0)


def replace_gates(
    module: nn.Module,
    kind: str,
    *,
    name: str,
    channels: int,
    map_shape: tuple[int, int] | None,
    gating: Sequence[str] = (),
) -> None:
    """Turn the gates of `module`, a mechanism called `name` for C channels, into those of `kind`.

    What else the module holds keeps the weights that it was drawn with. gating: names of mechanisms that
    gate, for the message. Raises ModelError for another kind, for a module without gates, or for a static
    gate with rows or columns when map_shape, (H, W), is None.
    """
    if kind not in GATES:
        raise ModelError(f"gate must be one of {', '.join(GATES)}, not {kind!r}")
    if kind == "own":
        return
    named = tuple(getattr(module, "gates", ()))
    present = [gate for gate in named if getattr(module, gate, None) is not None]
    if not named:
        raise ModelError(
            f"gate: {kind} needs a mechanism that gates, and {name!r} names no `gates`; use gate: own"
            + (f"\n    those that gate: {', '.join(gating)}" if gating else "")
        )
    if not present:
        raise ModelError(f"gate: {kind} has nothing to act on: {name!r} has {' and '.join(named)} off")
    for gate in present:
        own = module.get_submodule(gate)
        if kind == "shuffled":
            new: nn.Module = ShuffledGate(own)
        else:
            shapes = _shapes(own, f"{name!r}, {gate}", channels, map_shape)
            new = StaticGate(shapes, getattr(own, "squash", torch.sigmoid))
            gone = getattr(own, "notes", ())
            module.notes = tuple(note for note in getattr(module, "notes", ()) if note not in gone)
        setattr(module, gate, new)


def _shapes(
    gate: nn.Module, label: str, channels: int, map_shape: tuple[int, int] | None
) -> list[tuple[int, ...]]:
    """The shapes of what `gate` gives for one image; found by running it, as its arithmetic is its own."""
    size = (7, 5) if map_shape is None else map_shape
    output, _ = run_copy(gate, (2, channels, *size))
    outputs = output if isinstance(output, tuple) else (output,)
    if map_shape is None and any(tuple(one.shape[-2:]) != (1, 1) for one in outputs):
        raise ModelError(
            f"{label}: a static gate with rows or columns needs the map's size, map_shape=(H, W)"
        )
    return [(1, *one.shape[1:]) for one in outputs]
