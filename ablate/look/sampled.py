"""Every gate of a trial over a sample of the test images, and what becomes of predictions without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ablate.look.capture import capture, evaluating, watching
from ablate.look.gates import CONSTANT, class_means, gate_figures, kind_of, over_images, verdict
from ablate.look.layers import attached_modules
from ablate.look.one import Subject
from ablate.look.rows import Array, GateRow
from ablate.models.gates import ShuffledGate, StaticGate

_BATCH = 64


@dataclass(frozen=True)
class _Gate:
    """module: what gives the gate of an image, inside a shuffled one. acting: what the mechanism applies."""

    place: str
    name: str
    module: nn.Module
    acting: nn.Module
    start: nn.Module | None


def read_gates(subject: Subject, *, replace: bool = True) -> tuple[tuple[GateRow, ...], NDArray[np.int64]]:
    """Every gate over the sample, and the predicted class of each image of the sample.

    replace: also run the sample with each gate that looks at its image replaced by its mean.
    """
    gates = list(_gates(subject))
    values: dict[int, list[tuple[Tensor, ...]]] = {at: [] for at in range(len(gates))}
    starts: dict[int, list[tuple[Tensor, ...]]] = {at: [] for at in range(len(gates))}

    def watch(at: int) -> Callable[..., None]:
        def keep(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            count = len(inputs[0])
            values[at].append(_parts(output, count))
            start = gates[at].start
            if start is not None:
                starts[at].append(_parts(start(inputs[0]), count))

        return keep

    hooks = {gate.module: watch(at) for at, gate in enumerate(gates)}
    predicted = _predicted(subject, hooks)
    rows: list[GateRow] = []
    shown = _shown_gates(subject, gates)
    for at, gate in enumerate(gates):
        if not values[at]:  # it did not run
            continue
        own = _joined(values[at])
        before = _joined(starts[at]) if starts[at] else None
        changed = None
        if replace and any(over_images(part) >= CONSTANT for part in own):
            means = tuple(torch.from_numpy(part.mean(axis=0, keepdims=True)) for part in own)
            others = _predicted(subject, {gate.acting: _replacing(means)})
            changed = int((others != predicted).sum())
        for part, one in enumerate(own):
            start = None if before is None or before[part].shape != one.shape else before[part]
            name = gate.name if len(own) == 1 else f"{gate.name} {part + 1} of {len(own)}"
            static = isinstance(gate.module, StaticGate)
            rows.append(_gate_row(gate.place, name, one, start, changed, static, shown[at][part], subject))
    return tuple(rows), predicted


def _gates(subject: Subject) -> Iterator[_Gate]:
    before = {} if subject.start is None else attached_modules(subject.start)
    for place, module in attached_modules(subject.network).items():
        for name in getattr(module, "gates", ()):
            acting = getattr(module, name, None)
            if acting is None:
                continue
            start = getattr(before.get(place), name, None)
            yield _Gate(place, name, _inside(acting), acting, None if start is None else _inside(start))


def _inside(gate: nn.Module) -> nn.Module:
    return gate.gate if isinstance(gate, ShuffledGate) else gate


def _parts(output: Any, count: int) -> tuple[Tensor, ...]:
    """The gate's tensors, each with a batch of `count`: a static gate has a batch of one."""
    outputs = output if isinstance(output, tuple) else (output,)
    return tuple(one.detach().float().cpu().expand(count, *one.shape[1:]) for one in outputs)


def _joined(batches: Sequence[tuple[Tensor, ...]]) -> tuple[Array, ...]:
    return tuple(torch.cat(list(parts)).numpy() for parts in zip(*batches, strict=True))


def _replacing(means: tuple[Tensor, ...]) -> Callable[..., Any]:
    def give(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        given = output if isinstance(output, tuple) else (output,)
        new = tuple(
            mean.to(one).expand(len(inputs[0]), *mean.shape[1:])
            for mean, one in zip(means, given, strict=True)
        )
        return new if isinstance(output, tuple) else new[0]

    return give


@torch.no_grad()
def _predicted(subject: Subject, hooks: dict[nn.Module, Callable[..., Any]]) -> NDArray[np.int64]:
    found = []
    with evaluating(subject.network), watching(hooks):
        for first in range(0, len(subject.sample), _BATCH):
            found.append(subject.network(subject.sample[first : first + _BATCH]).argmax(1).cpu())
    return torch.cat(found).numpy()


def _shown_gates(subject: Subject, gates: Sequence[_Gate]) -> list[tuple[Array, ...]]:
    """Each gate for the shown images; in a network with shuffled gates each image's own."""
    if not gates:
        return []
    _, seen = capture(subject.network, subject.shown, {str(at): gate.module for at, gate in enumerate(gates)})
    count = len(subject.shown)
    return [
        tuple(one.expand(count, *one.shape[1:]).numpy() for one in seen[str(at)][1])
        if str(at) in seen
        else ()
        for at in range(len(gates))
    ]


def _gate_row(
    place: str,
    name: str,
    values: Array,
    start: Array | None,
    changed: int | None,
    static: bool,
    shown: Array,
    subject: Subject,
) -> GateRow:
    shape = values.shape[1:]
    kind = kind_of(shape)
    figures = gate_figures(values, subject.sample_labels, start=start, changed=changed)
    said, sentence = verdict(figures, kind, static=static)
    return GateRow(
        place=place,
        name=name,
        kind=kind,
        shape=tuple(shape),
        figures=figures,
        verdict=said,
        sentence=sentence,
        element_mean=values.mean(axis=0),
        element_std=values.std(axis=0),
        class_means=class_means(values, subject.sample_labels, subject.classes),
        maps=None if kind == "channel" else shown.reshape(len(shown), -1, *shape[-2:]).mean(axis=1),
        weights=shown.reshape(len(shown), -1) if kind == "channel" else None,
    )
