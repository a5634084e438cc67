"""`evaluate`: what a network says of images that it does not train on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ablate.errors import AblateError
from ablate.train.precision import autocast


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
) -> Evaluation:
    """Run every image of `batches` through the network in eval mode, in which it stays.

    The host waits for the device once, at the end.
    """
    if not batches.count:
        raise AblateError("there are no images to evaluate on")
    device = torch.device(device)
    network.eval()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    losses, labels, predicted, probability = [], [], [], []
    for x, y in batches.epoch(0):
        with autocast(precision, device):
            logits = network(x.contiguous(memory_format=layout)).float()
        losses.append(functional.cross_entropy(logits, y, reduction="sum"))
        best = logits.softmax(1).max(1)
        labels.append(y)
        predicted.append(best.indices)
        probability.append(best.values)
    all_labels = torch.cat(labels).cpu().numpy()
    all_predicted = torch.cat(predicted).cpu().numpy()
    return Evaluation(
        loss=float(torch.stack(losses).cpu().double().sum()) / len(all_labels),
        accuracy=percent_correct(all_labels, all_predicted),
        labels=all_labels,
        predicted=all_predicted,
        probability=torch.cat(probability).cpu().numpy(),
    )


def percent_correct(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Whole images are counted before dividing: saved predictions give back the recorded figure exactly."""
    return 100 * int((labels == predicted).sum()) / len(labels)
