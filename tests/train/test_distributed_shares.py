"""The shares of a batch against what `Tensor.tensor_split` makes of it in one process."""

import numpy as np
import pytest
import torch

from ablate.train.distributed.shares import parts_of, positions
from ablate.train.step import parts_of_step

CASES = [
    # images of the batch, batch_size, accumulate, processes
    (64, 64, 1, 2),
    (13, 64, 1, 2),
    (10, 10, 1, 3),
    (64, 64, 4, 3),
    (23, 64, 4, 2),
    (7, 64, 3, 4),  # parts of 3, 2 and 2 images among 4
    (2, 64, 1, 3),
]


@pytest.mark.parametrize(("count", "batch_size", "accumulate", "size"), CASES)
def test_the_ranks_take_each_part_of_the_step_between_them(count, batch_size, accumulate, size):
    wanted = torch.arange(count).tensor_split(parts_of_step(count, batch_size, accumulate))
    shape = {"batch_size": batch_size, "accumulate": accumulate, "size": size}
    ranks = [list(parts_of(count, rank=rank, **shape)) for rank in range(size)]
    for whole, parts in zip(wanted, zip(*ranks, strict=True), strict=True):
        taken = [torch.arange(part.first, part.last) for part in parts]
        if len(whole) >= size:
            assert all(part.shared for part in parts)
            assert [each.tolist() for each in taken] == [each.tolist() for each in whole.tensor_split(size)]
        else:
            assert not any(part.shared for part in parts)
            assert all(torch.equal(each, whole) for each in taken), "too few to go round: each has them all"


def test_positions_join_the_parts_of_a_rank():
    # Parts of 12 and 11 images: the first rank has 6 of each, the second 6 and 5.
    shape = {"batch_size": 23, "accumulate": 2, "size": 2}
    np.testing.assert_array_equal(positions(23, rank=0, **shape), [*range(6), *range(12, 18)])
    np.testing.assert_array_equal(positions(23, rank=1, **shape), [*range(6, 12), *range(18, 23)])
