"""Batch normalisation inside a mechanism that pools its map to a point, or sits on a map of one point."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d, but a batch with one value a channel goes by the running statistics in training too.

    Such a batch has no variance, and torch refuses it; yet the last batch of an epoch may be a single image.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(x)
