"""Counts and memory of one network."""

from __future__ import annotations

from types import SimpleNamespace

from ablate.bench import Conditions, footprints, network_subjects


def test_a_training_step_that_would_fill_the_memory_is_not_begun(monkeypatch):
    [subject] = network_subjects(["cnn"], (3, 32, 32), 10)
    monkeypatch.setattr(footprints.psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30))
    peak, batch = footprints.training_memory(subject, Conditions(), saved=2**30)
    assert (peak.peak_bytes, batch) == (None, 8)
    assert peak.means == (
        "not measured: 8 images keep 8.0 GiB for the backward pass, more than half of the free memory"
    )


def test_a_training_step_beyond_the_limit_is_left_to_bench():
    [subject] = network_subjects(["cnn"], (3, 32, 32), 10)
    slow = {"saved": 1000, "forward_s": 0.1}  # 8 images, 3 forward passes' worth of work each, twice: 4.8 s
    peak, batch = footprints.training_memory(subject, Conditions(limit_s=4.7), **slow)
    assert (peak.peak_bytes, batch) == (None, 8)
    assert "a training step of 8 images takes long here; `ablate bench` measures it" in peak.means
    assert footprints.training_memory(subject, Conditions(limit_s=4.9), **slow)[0].peak_bytes
    assert footprints.training_memory(subject, Conditions(), **slow)[0].peak_bytes


def test_what_a_footprint_says_is_the_same_on_every_run():
    [subject] = network_subjects(["cnn"], (3, 32, 32), 10)
    first, second = (footprints.footprint(subject, Conditions()) for _ in range(2))
    assert first.training.peak_bytes == second.training.peak_bytes
    assert (first.inference.peak_bytes, first.saved_bytes) == (
        second.inference.peak_bytes,
        second.saved_bytes,
    )
