"""Studies on a real Slurm cluster of this one machine (`scripts/slurm_cluster.py`), started and ended here:
`make test-slurm`. Jobs are requeued by hand and by their time limit, cancelled and killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ablate.errors import MachineError
from ablate.execute.on_slurm.executor import SlurmExecutor
from ablate.execute.on_slurm.options import SBATCH, read_options
from ablate.report import MEASURED_KEYS, without_measured
from ablate.store import Store

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]
SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_cluster.py"
STUDY = """
name: queued
baseline: baseline
seeds: [0, 1]
defaults:
  data: {source: digits}
  model: {backbone: cnn, args: {width: 0.125}}
  train: {epochs: 6, batch_size: 64, optimizer: {name: adam, lr: 0.01}}
variants:
  baseline: {}
  slow: {model.attention: {name: "slowly:Scale", at: [block1]}}
"""
# Of no influence on what is learned, so the local run, which does not wait, must come to the same.
MODULE = '''
import os
import time

from torch import nn


class Scale(nn.Module):
    """Takes as long, in training, as the environment says."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Conv2d(channels, channels, 1, groups=channels)

    def forward(self, x):
        if self.training:
            time.sleep(float(os.environ.get("SLOWLY_S", "0")))
        return self.scale(x)
'''


@pytest.fixture(scope="module")
def hidden(tmp_path_factory) -> Path:
    """A folder that the node does not share: it sees an empty one in its place."""
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory, hidden):
    folder = tmp_path_factory.mktemp("cluster") / "slurm"
    said = subprocess.run(
        [sys.executable, str(SCRIPT), "start", str(folder), "--cpus", "4", "--hide", str(hidden)],
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", said.stdout.strip().partition("SLURM_CONF=")[2])
        yield
        subprocess.run([sys.executable, str(SCRIPT), "stop", str(folder)], check=True)


@pytest.fixture
def study(tmp_path) -> Path:
    (tmp_path / "queued.yaml").write_text(STUDY)
    (tmp_path / "slowly.py").write_text(MODULE)
    return tmp_path


def start(folder: Path, *words: str, slowly_s: float = 0.0, output: str = "results") -> subprocess.Popen[str]:
    environment = {**os.environ, "SLOWLY_S": str(slowly_s), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "ablate", "run", "queued.yaml", "--device", "cpu", "-o", output, *words]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def job_states() -> dict[str, str]:
    lines = slurm("squeue", "--array", "--noheader", "--states=all", "--format=%i %T").splitlines()
    return dict(line.split() for line in lines)


def in_the_queue() -> list[str]:
    return slurm("squeue", "--array", "--noheader", "--format=%i").split()


def array_of(job: str) -> str:
    return job.partition("_")[0]


def wait_for(found, what: str, limit_s: float = 120.0):
    until = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < until, f"waited {limit_s:g} s for {what}"
        time.sleep(0.3)
    return value


def job_of(results: Path, trial: Path) -> str:
    """The job that trains a trial: its supervisor is the parent of the process that holds the lock."""
    supervisor = json.loads(trial.with_suffix(".lock").read_text())["run_pid"]
    for begun in results.glob(".slurm/*/*/*.begun"):
        if begun.read_text().split()[1] == str(supervisor):
            lines = map(json.loads, (begun.parent / "jobs.jsonl").read_text().splitlines())
            return next(line["job"] for line in lines if line["name"] == begun.stem)
    raise AssertionError(f"nobody trains {trial}")


def first_checkpoint(results: Path) -> Path | None:
    """The folder of a slow trial that has one."""
    for path in results.glob("trials/*/checkpoint-000001-*"):
        if "slowly" in (path.parent / "settings.yaml").read_text():
            return path.parent
    return None


def learned(results: Path) -> dict[str, object]:
    """All of the report and of each trial that was not measured with a clock."""
    at = results / "queued"
    found: dict[str, object] = {
        "report.md": without_measured((at / "report.md").read_text()),
        "report.json": without_times(json.loads((at / "report.json").read_text())),
    }
    store = Store(results)
    for record in store.trials():
        predictions = store.read_predictions(record.id)
        found[record.id] = (
            record.metrics,
            store.trial(record.id).steps.read_bytes(),
            [without_times(row) for row in store.read_epochs(record.id)],
            {name: np.asarray(one).tobytes() for name, one in predictions.items()},
        )
    return found


def without_times(document):
    measured = {*MEASURED_KEYS, "seconds"}
    if isinstance(document, dict):
        return {key: without_times(value) for key, value in document.items() if key not in measured}
    return [without_times(value) for value in document] if isinstance(document, list) else document


def logs(results: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in (results / "trials").glob("*/log.txt")}


def test_a_study_that_is_requeued_comes_to_what_the_local_executor_does(study):
    results = study / "results"
    # A slow trial takes two minutes and a half, and its job has two at most.
    run = start(study, "--executor", "slurm", "--slurm", "time=2", "--slurm", "signal-before=5", slowly_s=1.2)
    try:
        requeued = wait_for(lambda: first_checkpoint(results), "a first epoch of a slow trial")
        slurm("scontrol", "requeue", job_of(results, requeued))
        said, _ = run.communicate(timeout=800)
    finally:
        run.kill()
    assert run.returncode == 0, said
    assert len(re.findall(r"^\[ ?\d/4\]", said, re.MULTILINE)) == 4, said
    records = {record.id: record for record in Store(results).trials()}
    assert len(records) == 4
    assert {record.status for record in records.values()} == {"done"}
    slow = [record for record in records.values() if record.identity["settings"]["model"]["attention"]]
    assert [record.resumed >= 1 for record in slow] == [True, True]
    assert records[requeued.name].resumed >= 1
    for record in slow:
        log = logs(results)[record.id]
        assert "goes on after epoch" in log
        assert [len(re.findall(f" epoch {epoch}: lr", log)) for epoch in range(1, 7)] == [1] * 6, log
    assert not in_the_queue()
    assert not (results / ".slurm").exists()
    local = start(study, "-j", "1", output="local")
    said, _ = local.communicate(timeout=300)
    assert local.returncode == 0, said
    assert learned(results) == learned(study / "local")
    assert not list((results / "trials").glob("*.lock"))


def test_jobs_outlive_the_run_and_are_taken_over_by_the_next(study):
    results = study / "results"
    run = start(study, "--executor", "slurm", "-j", "2", slowly_s=0.15)
    try:
        wait_for(lambda: len(list(results.glob("trials/*.lock"))) >= 2, "two trials at work")
    finally:
        run.kill()
        run.wait()
    arrays = set(map(array_of, job_states()))
    assert len(in_the_queue()) >= 2
    again = start(study, "--executor", "slurm", "-j", "2", slowly_s=0.15)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert re.search(r"an earlier run left in the queue: (\d), of which this one waits for \1\b", said), said
    assert set(map(array_of, job_states())) <= arrays, "the second run sent jobs that were there already"
    trained = logs(results)
    assert len(trained) == 4
    assert all(len(re.findall(" epoch 1: lr", log)) == 1 for log in trained.values())
    assert not (results / ".slurm").exists()


def test_an_interrupt_takes_the_jobs_back(study):
    results = study / "results"
    run = start(study, "--executor", "slurm", "-j", "1", slowly_s=1.0)
    try:
        wait_for(lambda: list(results.glob("trials/*/progress.json")), "a trial at work")
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130, said
    assert not in_the_queue()
    assert not (results / ".slurm").exists()
    assert not list(results.glob("trials/*/record.json")) or "of 4 trials are done and kept" in said


def test_a_tree_that_the_nodes_do_not_share_is_said(study, hidden):
    run = start(study, "--executor", "slurm", output=str(hidden / "results"))
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 2, said
    assert "the results tree is not on a file system that the nodes share" in said
    assert "--output DIR" in said


def test_a_partition_that_is_not_there_is_said_in_the_words_of_sbatch(study):
    run = start(study, "--executor", "slurm", "--slurm", "partition=nonesuch")
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 2, said
    assert "sbatch takes no such job" in said
    assert "nvalid partition" in said
    assert "Traceback" not in said


def test_faults_are_told_apart(jobs, tmp_path):
    items = ["good", "raise", "segfault", "kill", "kill the job", "hang"]
    with SlurmExecutor(
        tmp_path / "f", 4, read_options({}), {"MARK": "seen"}, queue_look_s=1.0, name="faults"
    ) as executor:
        found = {each.item: each for each in executor.run(jobs.on_a_cluster, items, timeout_s=20.0)}
    assert sorted(found) == sorted(items)
    assert found["good"].value == "seen"
    kinds = {item: each.failure.kind for item, each in found.items() if each.failure}
    assert kinds == {
        "raise": "exception",
        "segfault": "crashed",
        "kill": "crashed",
        "kill the job": "crashed",
        "hang": "timeout",
    }
    assert "died of SIGSEGV" in found["segfault"].failure.message
    assert "ended in FAILED" in found["kill the job"].failure.message
    assert re.fullmatch(r".*planted_jobs\.py:\d+ in on_a_cluster", found["hang"].failure.where)
    assert not (tmp_path / "f").exists()


def test_a_job_that_somebody_cancels_leaves_its_item_undone(jobs, tmp_path):
    marker, notes = tmp_path / "begun", []
    with SlurmExecutor(tmp_path / "f", 1, queue_look_s=1.0, name="cancelled") as executor:
        outcomes = executor.run(jobs.wait_for_ever, [str(marker)], on_note=notes.append)
        for outcome in with_help(outcomes, marker, lambda: slurm("scancel", "--name=cancelled")):
            assert outcome.failure.kind == "cancelled"
    assert any("was cancelled (scancel)" in note for note in notes)


def with_help(outcomes, marker: Path, act):
    """Iterates, and does something beside that once the marker is there."""
    import threading

    def wait_and_act() -> None:
        wait_for(marker.exists, "the item to begin")
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield from outcomes
    thread.join()


def test_every_key_is_an_option_of_sbatch():
    """But for those that came after the version that is here."""
    unknown = {
        key
        for key in SBATCH
        if "unrecognized option"
        in subprocess.run(["sbatch", f"--{key}=1", "--version"], capture_output=True, text=True).stderr
    }
    assert unknown <= {"extra", "prefer", "tres-per-task"}


def test_a_job_whose_python_cannot_start_ends_the_run(jobs, tmp_path):
    options = read_options({"setup": "export PYTHONHOME=/nonexistent"})
    with (
        SlurmExecutor(tmp_path / "f", 4, options, queue_look_s=1.0) as executor,
        pytest.raises(MachineError, match=r"the Slurm jobs cannot start: .* ended in FAILED"),
    ):
        list(executor.run(jobs.double, [1, 2, 3, 4]))
