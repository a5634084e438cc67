"""Names and options become executors, or a sentence that says why not."""

from pathlib import Path

import pytest

from ablate.errors import MachineError
from ablate.runner import executors
from ablate.runner.executors import EXECUTORS, ExecutorOptions, Need, make_executor


def need(**changes):
    given = {
        "root": Path("results"),
        "name": "study",
        "device": "cpu",
        "asked": "cpu",
        "jobs": 3,
        "most": 2,
        "timeout_s": None,
        "peak_bytes": lambda: None,
    }
    return Need(**given | changes)


def test_no_more_workers_than_there_can_be_work_for():
    with make_executor("local", need()) as executor:
        assert executor.workers == 2
    with make_executor("local", need(most=None)) as executor:
        assert executor.workers == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ExecutorOptions(ray_address="auto"), "--ray-address goes with --executor ray, not with"),
        (ExecutorOptions(slurm={"time": "60"}), "--slurm goes with --executor slurm, not with"),
    ],
)
def test_an_option_of_another_executor_is_refused(options, words):
    with pytest.raises(MachineError, match=words):
        make_executor("local", need(), options)


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_extra_that_is_missing_is_named_with_the_command(monkeypatch, name, package):
    monkeypatch.setattr(executors, "find_spec", lambda _: None)
    with pytest.raises(MachineError) as raised:
        make_executor(name, need())
    assert str(raised.value).splitlines() == [
        f"--executor {name} needs {package}, which is not installed",
        f'    pip install "ablate-bench[{name}]"',
    ]


def test_ray_gives_the_gpus_out_itself():
    with pytest.raises(MachineError, match="--device cuda:1 names a GPU of this machine"):
        make_executor("ray", need(device="cuda:1", asked="cuda:1"))


def test_every_executor_of_the_help_is_there():
    assert list(EXECUTORS) == ["local", "inline", "ray", "slurm"]
