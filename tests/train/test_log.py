"""Curves, log lines and progress, as files."""

import csv
import json

import pytest
import torch

from ablate.train import CurveFiles, EpochRow, FitState, ProgressFile, StepRow
from ablate.train.log import Progress

ROW = EpochRow(1, 0.1, 2.0 / 3, 50.0, 0.1 + 0.2, 75.0, 1.5, 1000.0 / 7)


def test_curves_give_back_every_float_in_full(tmp_path):
    epochs, steps, log = (tmp_path / name for name in ("epochs.csv", "steps.csv", "log.txt"))
    state = FitState(None, (None,), None, (), history=[ROW], best_epoch=1)
    with CurveFiles(epochs, steps, log) as curves:
        curves.epoch(ROW, [StepRow(1, 1, 1.0 / 3, 50.0), StepRow(2, 1, 1.0, 25.0)], state)
        # What an interrupted process would leave:
        with epochs.open(newline="") as file:
            rows = list(csv.DictReader(file))
    assert EpochRow(int(rows[0]["epoch"]), *(float(rows[0][name]) for name in EpochRow._fields[1:])) == ROW
    assert epochs.read_text().splitlines()[0] == (
        "epoch,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds,images_per_s,stage"
    )
    assert steps.read_text() == "step,epoch,loss,accuracy\n1,1,0.3333333333333333,50.0\n2,1,1.0,25.0\n"
    assert " epoch 1: lr 0.1" in log.read_text() and "(best so far)" in log.read_text()


def test_the_log_says_which_stage_an_epoch_belongs_to(tmp_path):
    epochs, steps, log = (tmp_path / name for name in ("epochs.csv", "steps.csv", "log.txt"))
    second = ROW._replace(epoch=2, stage=2)
    state = FitState(None, (None, None), None, (), history=[ROW, second], best_epoch=1)
    with CurveFiles(epochs, steps, log) as curves:
        curves.epoch(second, [], state)
    assert " stage 2 of 2, epoch 2: lr 0.1" in log.read_text()
    assert epochs.read_text().splitlines()[1].endswith(",2")


def test_progress_is_replaced_whole_and_removed(tmp_path):
    path = tmp_path / "progress.json"
    progress = ProgressFile(path)
    progress({"epoch": 1, "loss": float("nan"), "accuracy": 12.5})
    said = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (said["epoch"], said["loss"], said["accuracy"]) == (1, None, 12.5)
    assert {"pid", "host", "updated"} <= said.keys()
    progress.remove()
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_at_most_twice_a_second(monkeypatch):
    now = 0.0
    monkeypatch.setattr("ablate.train.log.time.monotonic", lambda: now)
    told = []
    progress = Progress(told.append, epochs=3, steps=100, device=torch.device("cpu"))
    for step in range(1, 101):
        now = step * 0.125
        progress.step(0, [4] * step, [torch.tensor(2.0)] * step, [torch.tensor(1)] * step)
    assert [said["step"] for said in told] == list(range(1, 101, 4))
    assert told[-1] == {"epoch": 1, "epochs": 3, "step": 97, "steps": 100, "loss": 2.0, "accuracy": 25.0} | {
        "images_per_s": pytest.approx(4 * 97 / (97 * 0.125))
    }


def test_progress_names_the_stage_where_there_are_several_and_the_steps_of_a_cut_epoch(monkeypatch):
    monkeypatch.setattr(Progress, "INTERVAL_S", 0.0)
    told = []
    progress = Progress(told.append, epochs=3, steps=10, device=torch.device("cuda:0"), stages=2)
    progress.begin(2, 4)
    progress.step(1, [4], [], [])
    assert {key: told[0][key] for key in ("stage", "stages", "epoch", "epochs", "step", "steps")} == {
        "stage": 2,
        "stages": 2,
        "epoch": 2,
        "epochs": 3,
        "step": 1,
        "steps": 4,
    }


def test_on_a_gpu_progress_tells_of_the_epoch_before_and_reads_no_tensor():
    told = []
    progress = Progress(told.append, epochs=3, steps=2, device=torch.device("cuda:0"))
    progress.finished(ROW)
    progress.step(1, [4], ["unreadable"], ["unreadable"])
    assert (told[0]["epoch"], told[0]["loss"], told[0]["images_per_s"]) == (
        2,
        ROW.train_loss,
        ROW.images_per_s,
    )
