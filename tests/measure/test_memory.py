"""Peaks of known allocations, to the byte."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ablate.measure import inference_peak, memory, peak_memory, training_peak


def allocate_and_free():
    first = torch.empty(1000, dtype=torch.uint8)
    second = torch.empty(3000, dtype=torch.uint8)
    del first
    third = torch.empty(500, dtype=torch.float32)
    return second, third


def test_the_peak_of_a_known_allocation_is_exact_twice():
    for _ in range(2):
        peak = peak_memory(allocate_and_free)
        assert (peak.peak_bytes, peak.means) == (3000 + 2000, "MemTracker")


def test_a_call_that_allocates_nothing_peaks_at_what_is_held():
    assert peak_memory(lambda: None).peak_bytes == 0
    assert peak_memory(lambda: None, torch.zeros(10), nn.Linear(4, 8)).peak_bytes == 4 * (10 + 4 * 8 + 8)


def test_inference_holds_weights_images_and_the_two_largest_neighbours():
    network = nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 32), nn.Linear(32, 8)).eval()
    weights = 16 * 64 + 64 + 64 * 32 + 32 + 32 * 8 + 8
    for _ in range(2):
        assert inference_peak(network, torch.zeros(5, 16)).peak_bytes == 4 * (weights + 5 * (16 + 64 + 32))


def test_a_training_step_holds_weights_gradients_and_momentum():
    network = nn.Linear(256, 512, bias=False)
    images = torch.zeros(4, 256)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)

    def step():
        optimizer.zero_grad()
        network(images).sum().backward()
        optimizer.step()

    peaks = [training_peak(network, step, optimizer, images, device="cpu").peak_bytes for _ in range(2)]
    weights = 256 * 512
    # while the gradient is made: itself, the images, and the scalar that it began with and the loss
    assert peaks[0] == peaks[1] == 4 * (3 * weights + 4 * 256 + 2)


def test_gradients_that_the_last_step_left_are_not_counted_twice():
    """Without clearing, the new gradient stands beside the old one for a moment."""
    network, images = nn.Linear(64, 64, bias=False), torch.zeros(2, 64)

    def keep():
        network(images).sum().backward()

    def clear():
        network.zero_grad()
        keep()

    kept, cleared = (training_peak(network, step, images, device="cpu").peak_bytes for step in (keep, clear))
    assert kept - cleared == 4 * 64 * 64


def test_the_resident_set_is_an_extra(monkeypatch):
    peak = peak_memory(lambda: torch.ones(2**22))
    assert peak.peak_bytes == 2**24
    assert peak.resident_bytes is None or peak.resident_bytes >= 0
    monkeypatch.setattr(memory, "_restart_high_water", lambda: False)
    assert peak_memory(lambda: None).resident_bytes is None


def test_a_torch_without_the_tracker_is_said(monkeypatch):
    def absent():
        raise ImportError("no module named torch.distributed.tensor")

    monkeypatch.setattr(memory, "_tracker", absent)
    peak = peak_memory(lambda: None)
    assert (peak.peak_bytes, peak.means) == (
        None,
        "not measured: this torch has no MemTracker (ImportError: no module named torch.distributed.tensor)",
    )


def test_what_the_tracker_refuses_is_said():
    network = nn.Linear(2, 2)
    peak = peak_memory(lambda: [network(torch.zeros(1, 2)) for _ in range(2)], network)
    assert peak.peak_bytes is None
    assert peak.means.startswith("not measured: NotImplementedError: MemTracker does not support")
    assert peak_memory(lambda: network(torch.zeros(1, 2)), network).peak_bytes == 4 * (6 + 2 + 2)


def test_a_fault_of_the_call_is_the_callers():
    def fail():
        raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        peak_memory(fail)


def test_another_device_is_not_guessed_at():
    assert peak_memory(lambda: None, device="mps").means == (
        "not measured: nothing counts the memory of 'mps' to the byte"
    )


def test_cuda_forgets_the_peak_before_the_call_and_waits_after_it(monkeypatch):
    seen = []
    figures = {"max_memory_allocated": 5000, "max_memory_reserved": 8192}
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: seen.append(name))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: seen.append("empty_cache"))
    for name, value in figures.items():
        monkeypatch.setattr(
            torch.cuda, name, lambda device, name=name, value=value: seen.append(name) or value
        )
    peak = peak_memory(lambda: seen.append("call"), device="cuda:0")
    assert (peak.peak_bytes, peak.reserved_bytes, peak.means) == (5000, 8192, "CUDA allocator")
    before, after = seen[: seen.index("call")], seen[seen.index("call") + 1 :]
    assert before == ["synchronize", "empty_cache", "reset_peak_memory_stats"]
    assert after == ["synchronize", "max_memory_allocated", "max_memory_reserved"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_peak_of_a_known_allocation_is_exact_twice_on_cuda():
    before = torch.cuda.memory_allocated()
    for _ in range(2):
        peak = peak_memory(lambda: torch.empty(2**20, dtype=torch.uint8, device="cuda"), device="cuda")
        assert peak.peak_bytes - before == 2**20
        assert peak.reserved_bytes >= peak.peak_bytes
