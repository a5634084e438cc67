"""A real run, killed with kill -9 amid two trials and run again: every point and every final figure once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ablate.store import Store

pytestmark = [
    pytest.mark.tracking,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
]

STUDY = """\
name: killed
baseline: narrow
seeds: [0, 1]
defaults:
  data: {source: digits, fraction: 0.2}
  model:
    backbone: cnn
    args: {width: 0.125}
    attention: {name: "slow:Gate", at: [block2]}
  train: {epochs: 6, batch_size: 32}
variants:
  narrow: {}
  wide: {model.args.width: 0.25}
"""
# Slow enough to be met while it trains; with the file `hold` it stands still after its first epoch.
SLOW = """
import os
import time
from pathlib import Path

import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.steps = 0

    def forward(self, x):
        if "ABLATE_WORKER" in os.environ and self.training:
            self.steps += 1
            time.sleep(0.1)
            while self.steps > 20 and Path("hold").exists():
                time.sleep(0.1)
        return x * self.scale
"""
EPOCHS = 6
FINALS = ("accuracy", "accuracy_best", "best_epoch", "test_loss", "validation_accuracy", "validation_loss")
TRAINED = ("train_accuracy", "train_loss")


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "killed.yaml").write_text(STUDY)
    return tmp_path


def run(folder: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "ablate", "run", "killed.yaml", "--device", "cpu", "-j", "2"]
    command += ["--track", "tensorboard,mlflow"]
    log = (folder / "log").open("a")
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)


def until(condition, folder, seconds=600):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, (folder / "log").read_text()
        time.sleep(0.5)
    return found


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    names = found.Tags()["scalars"]
    return {name: [(event.step, event.value) for event in found.Scalars(name)] for name in names}


class Mlflow:
    def __init__(self, folder: Path) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=f"sqlite:///{folder}/results/killed/mlflow/mlflow.db")

    def runs(self):
        experiment = self.client.get_experiment_by_name("killed")
        if experiment is None:
            return {}
        runs = self.client.search_runs([experiment.experiment_id])
        assert len({run.data.tags["ablate.trial"] for run in runs}) == len(runs)
        return {run.data.tags["ablate.trial"]: run for run in runs}

    def deleted(self):
        from mlflow.entities import ViewType

        experiment = self.client.get_experiment_by_name("killed")
        return self.client.search_runs([experiment.experiment_id], run_view_type=ViewType.DELETED_ONLY)

    def curves(self, run) -> dict[str, list[tuple[int, float]]]:
        return {
            name: sorted(
                (one.step, one.value) for one in self.client.get_metric_history(run.info.run_id, name)
            )
            for name in run.data.metrics
        }


def expected(store: Store, trial_id: str) -> dict[str, list[tuple[int, float]]]:
    """Of a finished trial, from its files alone."""
    found: dict[str, list[tuple[int, float]]] = {}
    for kind, rows in (("epoch", store.read_epochs(trial_id)), ("step", store.read_steps(trial_id))):
        for row in rows:
            for name in row.keys() - {"epoch", "step", "stage"}:
                found.setdefault(f"{kind}/{name}", []).append((int(row[kind]), row[name]))
    record = json.loads(store.trial(trial_id).record.read_text())
    for name in (*FINALS, *TRAINED):
        found[f"final/{name}"] = [(EPOCHS, record["metrics"][name])]
    for name in ("wall_s", "images_per_s"):
        found[f"final/{name}"] = [(EPOCHS, record[name])]
    return found


def in_32_bits(curves):
    return {
        name: [(step, float(np.float32(value))) for step, value in points] for name, points in curves.items()
    }


def without_costs(curves):
    return {name: points for name, points in curves.items() if not name.startswith("cost/")}


def test_a_killed_run_is_tracked_as_one_that_was_not(folder):
    store, board = Store(folder / "results"), folder / "results/killed/tensorboard"
    process = run(folder)
    until(lambda: any(store.trial(one).record.exists() for one in store.trial_ids()), folder)
    (folder / "hold").touch()

    def begun():
        """Two trials that train are in both trackers with all their epochs, and what has ended is, too."""
        plan = store.read_plan("killed")
        ids = {
            trial_id: f"{variant.name}/seed-{seed}"
            for variant in plan.variants
            for seed, trial_id in variant.trials.items()
        }
        open_ones = [one for one in store.trial_ids() if not store.trial(one).record.exists()]
        ended = [one for one in ids if store.trial(one).record.exists()]
        if len(open_ones) < 2 or not (folder / "results/killed/mlflow/mlflow.db").exists():
            return None
        runs = Mlflow(folder).runs()
        for one in (*open_ones, *ended):
            if one not in runs or not (board / ids[one]).exists():
                return None
            rows = len(store.read_epochs(one))
            if one in open_ones and rows == EPOCHS:  # it ends at any moment
                return None
            curves = Mlflow(folder).curves(runs[one])
            if rows < 2 or len(curves.get("epoch/train_loss", ())) != rows:
                return None
            if len(scalars(board / ids[one]).get("epoch/train_loss", ())) != rows:
                return None
        return ids, open_ones, ended

    ids, open_ones, ended = until(begun, folder)
    before = {one: run.info.run_id for one, run in Mlflow(folder).runs().items()}
    assert all(Mlflow(folder).runs()[one].info.status == "FINISHED" for one in ended)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    until(lambda: all(store.holder(one) is None for one in open_ones), folder)
    # One of them goes on after its first epoch: epochs that were tracked come a second time.
    first, *later = sorted(store.trial(open_ones[0]).checkpoints)
    assert first.name.startswith("checkpoint-000001-")
    for path in later:
        path.unlink()
    (folder / "hold").unlink()

    assert run(folder).wait() == 0, (folder / "log").read_text()
    log = (folder / "log").read_text()
    assert "failed" not in log
    records = {one: store.read_trial(one) for one in ids}
    assert [records[one].resumed for one in open_ones] == [1, 1]
    mlflow, runs = Mlflow(folder), Mlflow(folder).runs()
    assert set(runs) == set(ids)
    assert not mlflow.deleted()
    assert {one: runs[one].info.run_id for one in before} == before
    for one, name in ids.items():
        known = expected(store, one)
        assert known["epoch/train_loss"][-1][0] == EPOCHS
        assert without_costs(scalars(board / name)) == in_32_bits(known)
        assert without_costs(mlflow.curves(runs[one])) == known
        assert runs[one].info.status == "FINISHED"
        assert (store.root / runs[one].data.tags["ablate.record"]) == store.trial(one).record
        [(_, param_count)] = scalars(board / name)["cost/param_count"]
        assert mlflow.curves(runs[one])["cost/param_count"] == [(0, param_count)]
        assert param_count == records[one].param_count

    files = {path: path.stat().st_mtime_ns for path in board.rglob("*") if path.is_file()}
    assert run(folder).wait() == 0
    assert {path: path.stat().st_mtime_ns for path in board.rglob("*") if path.is_file()} == files
    assert {one: mlflow.curves(run) for one, run in mlflow.runs().items()} == {
        one: mlflow.curves(run) for one, run in runs.items()
    }
