"""`--slurm KEY=VALUE`: how it is read, and what is said where it does not fit."""

from __future__ import annotations

import pytest
import typer

from ablate.cli.options import executor_options
from ablate.errors import MachineError, StudyError
from ablate.execute.on_slurm.executor import SlurmExecutor
from ablate.runner.executors import ExecutorOptions, Need, make_executor


@pytest.fixture
def need(tmp_path):
    def make(device="cpu", jobs=None, most=40):
        return Need(
            root=tmp_path,
            name="study",
            device=device,
            asked="auto",
            jobs=jobs,
            most=most,
            timeout_s=None,
            peak_bytes=lambda: None,
        )

    return make


@pytest.fixture
def slurm_here(tmp_path, monkeypatch):
    """As on a login node: the commands are there; nothing is sent by making an executor."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "srun"):
        (folder / name).write_text("#!/bin/sh\nexit 1\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def made(need, **said) -> SlurmExecutor:
    executor = make_executor("slurm", need, ExecutorOptions(slurm=said))
    assert isinstance(executor, SlurmExecutor)
    return executor


def test_words_are_keys_and_values():
    said = executor_options(["partition=gpu", "constraint=a100&nvlink=4", "exclusive"]).slurm
    assert said == {"partition": "gpu", "constraint": "a100&nvlink=4", "exclusive": ""}
    assert executor_options(None).slurm == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["=gpu"], "'=gpu' is no KEY=VALUE, such as partition=gpu"),
        (["time=1", "time=2"], "'time=2' is said twice"),
    ],
)
def test_a_word_that_is_none_is_an_error(words, message):
    with pytest.raises(typer.BadParameter, match=message):
        executor_options(words)


def test_it_goes_with_slurm_alone(need):
    with pytest.raises(MachineError, match="--slurm goes with --executor slurm, not with --executor local"):
        make_executor("local", need(), ExecutorOptions(slurm={"time": "60"}))


def test_a_key_that_sbatch_does_not_know_stops_the_run(need, slurm_here):
    with pytest.raises(StudyError, match="--slurm: partion: is no option of sbatch"):
        made(need(), partion="gpu")


def test_all_trials_run_at_once_unless_said_otherwise(need, slurm_here):
    assert made(need()).workers == 40
    assert made(need(jobs=3)).workers == 3


def test_on_a_gpu_a_job_has_one_unless_said_otherwise(need, slurm_here):
    assert made(need("cuda:0")).options.flags == {"gpus": "1"}
    assert made(need("cuda:0"), gres="gpu:a100:2").options.flags == {"gres": "gpu:a100:2"}
    assert made(need("cpu")).options.flags == {}


def test_a_trial_over_several_devices_gets_so_many(need, slurm_here):
    def flags(device, **said):
        return make_executor("slurm", need(device), ExecutorOptions(slurm=said, per_trial=2)).options.flags

    assert flags("cuda:0") == {"gpus": "2"}
    assert flags("cpu") == {"cpus-per-task": "2"}
    assert flags("cpu", cpus="8") == {"cpus-per-task": "8"}


def test_without_slurm_nothing_is_begun(need, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="needs sbatch, srun, squeue and scancel of Slurm"):
        made(need())
