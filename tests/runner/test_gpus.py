"""Workers over GPUs, on a machine that torch is told it has."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import ablate.trial.steps
from ablate.errors import MachineError
from ablate.execute.slots import CONTEXT_BYTES
from ablate.runner import plan_study
from ablate.runner.gpus import largest_peak_bytes, worker_slots
from ablate.trial import measured_peak_bytes

GIB = 2**30


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs with so many bytes free; 16 cores."""
    state = SimpleNamespace(free=[24 * GIB, 12 * GIB], cores=16)
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(state.free))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda index: (state.free[index], 80 * GIB))
    monkeypatch.setattr("ablate.runner.gpus.available_cores", lambda: state.cores)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return state


def visible(resolved, asked, jobs, peak=None):
    return [slot["CUDA_VISIBLE_DEVICES"] for slot in worker_slots(resolved, asked, jobs, lambda: peak)]


def test_free_memory_decides_how_many_share_a_gpu(gpus):
    peak = 5 * GIB - CONTEXT_BYTES  # with the context 5 GiB: 20.4 GiB hold four, 10.2 GiB hold two
    assert visible("cuda:0", "auto", None, peak) == ["0", "1", "0", "1", "0", "0"]
    assert visible("cuda:1", "cuda:1", None, peak) == ["1", "1"]
    gpus.free[0] = 0
    assert visible("cuda:0", "cuda", None, peak) == ["0", "1", "1"]


def test_without_a_measured_peak_each_gpu_has_one(gpus):
    assert visible("cuda:0", "auto", None, None) == ["0", "1"]


def test_cores_bound_the_workers_but_every_gpu_has_one(gpus):
    gpus.cores = 3
    assert visible("cuda:0", "auto", None, GIB) == ["0", "1", "0"]
    gpus.cores = 1
    assert visible("cuda:0", "auto", None, GIB) == ["0", "1"]


def test_jobs_count_more_than_memory_and_nothing_is_measured(gpus):
    def measured():
        pytest.fail("-j says how many")

    slots = worker_slots("cuda:0", "cuda", 5, measured)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "1", "0", "1", "0"]
    assert worker_slots("cpu", "cpu", 3, measured) == [{}, {}, {}]
    assert len(worker_slots("cpu", "auto", None, measured)) == 16
    assert worker_slots("mps", "auto", None, measured) == [{}]


def test_gpus_go_by_the_names_that_this_process_was_given(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    assert visible("cuda:0", "auto", 3) == ["5", "GPU-7", "5"]
    assert visible("cuda:1", "cuda:1", 1) == ["GPU-7"]


def test_the_largest_of_the_wanted_variants_counts_and_each_is_measured_once(study, root, monkeypatch):
    plan = plan_study(study, output=root)
    measured = []

    def peak(settings, images, device):
        measured.append(settings)
        assert images.shape == (1, 8, 8)
        return {"se": 3, "baseline": 7}.get("baseline" if settings.model.attention is None else "se")

    monkeypatch.setattr("ablate.trial.measured_peak_bytes", peak)
    assert largest_peak_bytes(plan) == 7
    assert len(measured) == 3  # variants, not trials
    monkeypatch.setattr("ablate.trial.measured_peak_bytes", lambda *given: None)
    assert largest_peak_bytes(plan) is None


def test_a_peak_is_measured_through_training_steps_on_cuda_only(study, root, monkeypatch):
    plan = plan_study(study, output=root)
    settings, images = plan.variants[0].settings, plan.images["baseline"]
    assert measured_peak_bytes(settings, images, "cpu") is None
    calls = []
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: calls.append("empty"))
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda device: calls.append("reset"))
    monkeypatch.setattr("torch.cuda.max_memory_reserved", lambda device: 5 * GIB)
    # The training steps themselves are real, on the device that this machine has.
    train, recipe = ablate.trial.steps._measured_step, ablate.trial.make_recipe
    monkeypatch.setattr("ablate.trial.steps.make_recipe", lambda settings, device: recipe(settings, "cpu"))
    monkeypatch.setattr(
        "ablate.trial.steps._measured_step",
        lambda settings, recipe, images, device, **counts: (
            calls.append("train") or train(settings, recipe, images, "cpu", **counts)
        ),
    )
    assert measured_peak_bytes(settings, images, "cuda:0") == 5 * GIB
    assert calls == ["empty", "reset", "train", "empty"]

    def too_large(*given, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("ablate.trial.steps._measured_step", too_large)
    assert measured_peak_bytes(settings, images, "cuda:0") is None
    assert calls[-1] == "empty"


def groups(resolved, asked, jobs, per_trial):
    slots = worker_slots(resolved, asked, jobs, lambda: pytest.fail("nothing is to be measured"), per_trial)
    return [slot["CUDA_VISIBLE_DEVICES"] for slot in slots]


def test_a_trial_of_several_gpus_has_them_for_itself(gpus):
    gpus.free = [GIB] * 5
    assert groups("cuda:0", "cuda", None, 2) == ["0,1", "2,3"]
    assert groups("cuda:0", "cuda", 1, 5) == ["0,1,2,3,4"]
    assert groups("cuda:0", "auto", 3, 2) == ["0,1", "2,3", "0,1"], "-j counts more"
    with pytest.raises(MachineError, match="--gpus-per-trial 6: there are 5 to be had here"):
        groups("cuda:0", "cuda", None, 6)


def test_a_trial_of_several_processes_has_as_many_cores(gpus):
    def workers(jobs, per_trial):
        return len(worker_slots("cpu", "cpu", jobs, lambda: None, per_trial))

    assert (workers(None, 3), workers(None, 40), workers(4, 3)) == (5, 1, 4)
