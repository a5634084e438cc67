"""`evaluate`: what a network says of images that it does not train on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ablate.errors import AblateError
from ablate.train.precision import autocast

if TYPE_CHECKING:
    from ablate.train.distributed import Ranks


class Batches(Protocol):
    """Images in batches on the device. Epoch `e` is the same whenever it is asked for."""

    @property
    def count(self) -> int:
        """Images an epoch."""

    def __len__(self) -> int:
        """Batches an epoch."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(images float32 [B,C,H,W], labels int64 [B]) of epoch 0, 1, …, from the batch `first` on."""


@dataclass(frozen=True)
class Evaluation:
    """Figures over N images in the order of the batches.

    loss: mean cross-entropy in nats, without label smoothing. accuracy: percent. labels, predicted: int64
    [N]. probability: float32 [N], of the predicted class.
    """

    loss: float
    accuracy: float
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: NDArray[np.float32]


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    batches: Batches,
    *,
    device: str | torch.device,
    precision: str = "fp32",
    channels_last: bool = False,
    ranks: Ranks | None = None,
) -> Evaluation:
    """Run every image of `batches` through the network in eval mode, in which it stays.

    The host waits for the device once, at the end. ranks: processes that call this together; each takes whole
    batches, so that every figure is, to the last bit, that of one process, and each gets all of them.
    """
    if not batches.count:
        raise AblateError("there are no images to evaluate on")
    device = torch.device(device)
    network.eval()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    losses, labels, predicted, probability = [], [], [], []
    for x, y in _own_batches(batches, ranks):
        with autocast(precision, device):
            logits = network(x.contiguous(memory_format=layout)).float()
        losses.append(functional.cross_entropy(logits, y, reduction="sum"))
        best = logits.softmax(1).max(1)
        labels.append(y)
        predicted.append(best.indices)
        probability.append(best.values)
    own = [torch.cat(each).cpu() if each else None for each in (labels, predicted, probability)]
    all_losses, *columns = _of_all([torch.stack(losses).cpu() if losses else None, *own], ranks)
    all_labels, all_predicted, all_probability = (column.numpy() for column in columns)
    return Evaluation(
        loss=float(all_losses.double().sum()) / len(all_labels),
        accuracy=percent_correct(all_labels, all_predicted),
        labels=all_labels,
        predicted=all_predicted,
        probability=all_probability,
    )


def _own_batches(batches: Batches, ranks: Ranks | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Neighbours, as many as any other rank has or one less; without ranks all."""
    if ranks is None:
        return batches.epoch(0)
    own = np.array_split(np.arange(len(batches)), ranks.size)[ranks.rank]
    return islice(batches.epoch(0, int(own[0])), len(own)) if len(own) else iter(())


def _of_all(columns: list[Tensor | None], ranks: Ranks | None) -> list[Tensor]:
    """Of each column what all ranks have, one after another; None where a rank has nothing of it."""
    found = [columns] if ranks is None else ranks.objects(columns)
    return [torch.cat([one for one in column if one is not None]) for column in zip(*found, strict=True)]


def percent_correct(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Whole images are counted before dividing: saved predictions give back the recorded figure exactly."""
    return 100 * int((labels == predicted).sum()) / len(labels)
