"""Several seeds of one variant trained together: their parameters are stacked, and one pass serves all.

A small network leaves most of a GPU idle. Networks of one shape can share each operator: `torch.func` maps
the forward pass over the stack, and every seed keeps what is its own: initial weights, order and augmentation
of the images, dropout masks, statistics of batch norm, the optimiser's state, and its learning rate.

The draws are those of `fit`, so that a seed trained here and the same seed trained alone differ by rounding
only: sums run in another order. Over an epoch rounding grows, as it does between two kinds of processors; the
results agree within their noise, and not bit by bit. On a CPU it is slower than one seed after another.
"""

from ablate.train.stacked.fit import fit_stacked
from ablate.train.stacked.rules import NotStackable
from ablate.train.stacked.stack import Stack, StackedFit

__all__ = ["NotStackable", "Stack", "StackedFit", "fit_stacked"]
