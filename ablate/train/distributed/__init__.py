"""One fit by several processes, each with a share of every batch, to the result of one process but for
rounding.

ranks      the processes that train together, and what they tell one another
shares     which images of a batch each of them takes
norm       batch norm over the whole batch
dropout    the masks of the whole batch
gradients  the gradient of the whole batch, by torch's DistributedDataParallel
probe      what cannot be shared out: modules that look at the other images of the batch

What is drawn for a batch is drawn for the whole of it, by all ranks alike: order, augmentation, and the masks
of torch's dropout.
"""

from ablate.train.distributed.gradients import SharedGradients
from ablate.train.distributed.ranks import Ranks, ranks_joined
from ablate.train.distributed.shares import positions

__all__ = ["Ranks", "SharedGradients", "positions", "ranks_joined"]
