"""`ablate bench`: known costs, tables, and one record a variant and machine."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ablate import bench
from ablate.bench import Bench, Conditions, Costs, bench_json, bench_text, network_subjects, with_baseline
from ablate.cli import main
from ablate.environment import describe
from ablate.errors import AblateError
from ablate.measure import LatencyRatio, MemoryPeak, Timing, count_macs
from ablate.store import Store

STUDY = """\
name: tiny
baseline: baseline
seeds: 1
defaults:
  data: {source: digits}
  model:
    args: {width: 0.125}
    attention: {name: se, args: {reduction: 4}, at: [block2]}
  train: {epochs: 1, batch_size: 16}
variants:
  baseline: {model.attention: null}
  se: {}
  se-longer: {train.epochs: 2}
"""


def ablate(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `ablate …`, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATE_MACHINE", "here")
    (tmp_path / "tiny.yaml").write_text(STUDY)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("torchvision:resnet18", 1814.07),
        ("torchvision:vgg16", 15470.26),
        ("timm:vit_tiny_patch16_224", 1253.68),
    ],
)
def test_known_macs_of_the_networks_that_bench_builds(name, millions):
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    [subject] = network_subjects([name], (3, 224, 224), 1000)
    with torch.device("meta"):
        network = subject.build()
    assert round(count_macs(network, subject.image_shape).total / 1e6, 2) == millions


def test_networks_by_name(folder):
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


def test_a_study_leaves_a_cost_record_a_variant_and_machine(folder):
    arguments = ["tiny.yaml", "train.batch_size=8", "--rounds", "2", "--batch", "2", "--device", "cpu"]
    code, out, err = ablate("bench", *arguments)
    assert code == 0, err
    assert "se takes" in out and "of baseline" in out
    assert "se-longer" not in out  # it differs in training alone, and costs what se costs
    store = Store("results")
    assert not list(store.trials())
    assert len(store.cost_ids()) == 2
    costs = {
        bool(cost.attention_modules): cost for name in store.cost_ids() for cost in store.read_costs(name)
    }
    plain, attended = costs[False], costs[True]
    assert attended.param_count - plain.param_count == attended.attention_param_count > 0
    for cost in costs.values():
        assert cost.machine == "here-cpu"
        assert cost.train_batch == 8
        assert cost.peak_memory_bytes > cost.inference_memory_bytes > 4 * cost.param_count
        assert (len(cost.latency_rounds_ms), cost.dtype, cost.throughput_batch) == (2, "fp32", 2)
        assert cost.latency_ms <= cost.latency_p95_ms
        assert cost.latency_graph_ms is None
    assert plain.latency_session == attended.latency_session
    # what lay there stays: records of other machines, and what was counted before
    store.write_cost(plain.model_copy(update={"machine": "there-cpu"}))
    store.write_cost(plain.model_copy(update={"latency_ms": None, "peak_memory_bytes": None}))
    code, _, err = ablate("bench", *arguments, "--only", "baseline")
    assert code == 0, err
    here, there = store.read_costs(plain.id)
    assert there == plain.model_copy(update={"machine": "there-cpu"})
    assert here.latency_ms is not None
    assert here.peak_memory_bytes == plain.peak_memory_bytes
    assert (here.id, here.macs, here.attention_modules) == (plain.id, plain.macs, ())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--image", "32x32"], "'32x32' is not of the form CxHxW, e.g. 3x224x224"),
        (["--dtype", "int8"], "'int8' is not one of fp32, bf16, fp16"),
        (["--compare", "cnn", "vgg"], "--compare: nothing here is called 'vgg'; there is: cnn"),
        (["--format", "yaml"], "'yaml' is not one of text, json"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_measured(folder, monkeypatch, arguments, said):
    monkeypatch.setattr(bench, "_counts", lambda *_: pytest.fail("it was measured"))
    code, _, err = ablate("bench", "cnn", "--device", "cpu", *arguments)
    assert code == 2
    assert said in " ".join(err.replace("│", " ").split())


def test_a_network_that_is_none_is_said(folder):
    code, _, err = ablate("bench", "torchvision:resnet17", "--device", "cpu")
    assert code == 2
    assert "resnet17" in err and "resnet18" in err


def test_everyone_is_compared_with_the_baseline_where_it_is_measured():
    subjects = network_subjects(["a", "b", "c"], (3, 8, 8), 2)
    assert with_baseline(subjects, "b", [("c", "a")]) == (("c", "a"), ("a", "b"), ("c", "b"))
    assert with_baseline(subjects, "elsewhere") == ()


def test_a_training_step_that_would_fill_the_memory_is_not_begun(monkeypatch):
    [subject] = network_subjects(["cnn"], (3, 32, 32), 10)
    monkeypatch.setattr(bench.psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30))
    peak, batch = bench._training(subject, Conditions(), saved=2**30)
    assert (peak.peak_bytes, batch) == (None, 8)
    assert peak.means == (
        "not measured: 8 images keep 8.0 GiB for the backward pass, more than half of the free memory"
    )


@pytest.fixture
def measured() -> Bench:
    missing = MemoryPeak(None, "not measured: planted")
    costs = Costs(
        name="net",
        param_count=1_500_000,
        attention_param_count=0,
        macs=11_375_616,
        attention_macs=0,
        activations=57_866,
        saved_bytes=1000,
        training=missing,
        train_batch=8,
        inference=MemoryPeak(3 * 2**20, "MemTracker"),
        timing=Timing((1.0, 2.0, 3.0), (2.0,)),
        images_per_s=1234.56,
    )
    ratio = LatencyRatio("net", "other", 1.5, 0.0, math.inf, 1.0, 1, "one round tells nothing")
    return Bench(
        Conditions(rounds=1),
        describe("cpu", threads=1),
        "2026-01-01T00:00:00+00:00",
        64,
        None,
        (costs,),
        (ratio,),
        ("the load was 9.0 on 2 cores before it began",),
    )


def test_the_table_says_what_makes_it_uncertain(measured):
    text = bench_text(measured)
    header, row = text.splitlines()[:2]
    assert row.split() == ["net", "1.500", "11.38", "0.058", "–", "3.00", "2.000", "2.900", "1,234.6"]
    assert "graph" not in header
    assert "images/s at batch 64, training memory at batch 8" in text
    assert "net takes 1.500 × other: one round tells nothing" in text
    assert text.splitlines()[-3:] == [
        "note: the load was 9.0 on 2 cores before it began",
        "note: so a ratio tells which is slower here, and not by how much on a machine at rest",
        "note: net: training memory not measured: planted",
    ]


def test_json_has_no_infinity(measured):
    plain = bench_json(measured)
    assert (plain["ratios"][0]["low"], plain["ratios"][0]["high"]) == (0.0, None)
    assert plain["costs"][0]["p50_ms"] == 2.0
    json.dumps(plain, allow_nan=False)


def test_a_network_that_is_no_variant_has_no_record(measured, tmp_path):
    [subject] = network_subjects(["net"], (3, 8, 8), 2)
    with pytest.raises(AblateError, match="'net' is no variant of a study: it has no cost record"):
        bench.write_costs(Store(tmp_path), measured, [subject])
