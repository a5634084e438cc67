"""Networks counted, weighed and timed together."""

from __future__ import annotations

import json

import pytest
import torch

from ablate import bench
from ablate.bench import Conditions, network_subjects


def test_networks_by_name(ablate, folder):
    arguments = ["cnn", "cnn", "--image", "3x32x32", "--classes", "10", "--rounds", "2", "--batch", "2"]
    code, out, err = ablate(
        "bench", *arguments, "--compare", "cnn (2)", "cnn", "--device", "cpu", "--format", "json"
    )
    assert code == 0, err
    found = json.loads(out)
    first, second = found["costs"]
    assert (first["name"], second["name"]) == ("cnn", "cnn (2)")
    exact = ("param_count", "macs", "activations", "saved_bytes", "train_batch")
    assert [first[key] for key in exact] == [second[key] for key in exact]
    assert (first["macs"], first["param_count"]) == (11_375_616, 1_147_914)
    assert first["activations"] == 32 * 32 * 32 + 16 * 16 * 64 + 8 * 8 * 128 + 512 + 10
    for kind in ("training", "inference"):
        assert first[kind]["peak_bytes"] == second[kind]["peak_bytes"] > 4 * first["param_count"]
    assert first["training"]["peak_bytes"] > 3 * 4 * first["param_count"]  # weights, gradients, momentum
    assert len(first["timing"]["rounds_ms"]) == 2
    assert (found["batch"], found["conditions"]["threads"], found["environment"]["threads"]) == (2, 1, 1)
    [ratio] = found["ratios"]
    assert (ratio["a"], ratio["b"], ratio["rounds"]) == ("cnn (2)", "cnn", 2)
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"]
    assert not (folder / "results").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_a_network_measured_second_has_the_same_peaks():
    subjects = network_subjects(["cnn", "cnn"], (3, 32, 32), 10)
    first, second = bench.measure(subjects, Conditions("cuda:0", rounds=2, batch=2)).costs
    assert first.inference.peak_bytes == second.inference.peak_bytes
    assert first.training.peak_bytes == second.training.peak_bytes
    assert first.graph is not None and second.graph is not None
