"""How many workers a GPU bears, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.execute.slots import CONTEXT_BYTES, MARGIN, MOST_PER_GPU, gpu_slots, workers_for

GIB = 2**30


@pytest.mark.parametrize(
    ("free", "peak", "workers"),
    [
        # 0.85 × 24 = 20.4 GiB free to give; each takes 6 + 0.75.
        (24 * GIB, 6 * GIB, 3),
        # 0.85 × 24 / 6.8 = 3 exactly, and a little more than that no longer fits three times.
        (24 * GIB, int(6.05 * GIB), 3 - (3 * (int(6.05 * GIB) + CONTEXT_BYTES) > int(24 * GIB * 0.85))),
        (24 * GIB, 9 * GIB, 2),
        (24 * GIB, 23 * GIB, 1),
        (80 * GIB, GIB // 4, MOST_PER_GPU),
        (2 * GIB, 40 * GIB, 1),
        (0, GIB, 1),
        (80 * GIB, None, 1),
        (80 * GIB, 0, 1),
    ],
)
def test_trials_share_a_gpu_as_far_as_their_peaks_fit(free, peak, workers):
    assert workers_for(free, peak) == workers


@given(st.integers(0, 200 * GIB), st.integers(1, 100 * GIB))
def test_more_than_one_never_ask_for_more_than_is_free(free, peak):
    workers = workers_for(free, peak)
    assert 1 <= workers <= MOST_PER_GPU
    assert workers == 1 or workers * (peak + CONTEXT_BYTES) <= free * (1 - MARGIN)


def visible(*given):
    return [slot["CUDA_VISIBLE_DEVICES"] for slot in gpu_slots(*given)]


def test_workers_go_round_the_gpus_and_a_full_one_sits_out():
    assert visible(["0", "1"], [2, 2]) == ["0", "1", "0", "1"]
    assert visible(["0", "GPU-7", "3"], [3, 1, 2]) == ["0", "GPU-7", "3", "0", "3", "0"]
    assert visible(["0", "1"], [3, 3], 3) == ["0", "1", "0"]


def test_a_number_that_was_asked_for_counts_more_than_what_fits():
    assert visible(["0", "1"], [1, 1], 5) == ["0", "1", "0", "1", "0"]
    assert visible(["4"], [2], 1) == ["4"]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.none() | st.integers(1, 40))
def test_loads_differ_by_one_at_most_among_gpus_that_are_not_full(capacities, workers):
    names = [str(number) for number in range(len(capacities))]
    slots = visible(names, capacities, workers)
    assert len(slots) == (sum(capacities) if workers is None else workers)
    loads = [slots.count(name) for name in names]
    if workers is None:
        assert loads == capacities
    elif workers <= sum(capacities):
        assert all(load <= most for load, most in zip(loads, capacities, strict=True))
        open_loads = [load for load, most in zip(loads, capacities, strict=True) if load < most]
        assert max(loads) - min(open_loads, default=max(loads)) <= 1


def test_a_gpu_without_a_capacity_is_a_fault_of_the_caller():
    with pytest.raises(ValueError, match="2 GPUs with 1 capacities"):
        gpu_slots(["0", "1"], [1])
