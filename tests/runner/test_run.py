"""Running what is left: order, resuming, failures, interrupts, and what a run leaves behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from ablate.display import WatchedTrial
from ablate.errors import MachineError, StoreError
from ablate.report import MEASURED_KEYS, build_report, without_measured
from ablate.report.figures import accuracy_rows, cost_rows, curve_rows, effect_rows, sweep_rows
from ablate.runner import plan_study, run_study
from ablate.runner.run import _for_worker
from ablate.spec import load_study
from ablate.store import Store
from ablate.variants import expand

ORDER = [(name, seed) for seed in (0, 1) for name in ("baseline", "se", "se-early")]


def files_under(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_run_trains_everything_once_and_then_nothing(study, root, training, recording):
    first = run_study(study, output=root, executor="inline", display=recording)
    assert training.trained == ORDER
    assert recording.told.finished == [(*trial, "done") for trial in ORDER]
    assert (first.exit_code, first.trained, first.done, first.total) == (0, 6, 6, 6)
    assert first.report == Store(root).study("tiny").report_md
    assert f"report: {first.report}" in recording.told.message
    second = run_study(study, output=root, executor="inline", display=recording)
    assert training.trained == ORDER
    assert (second.exit_code, second.trained, second.done) == (0, 0, 6)
    assert "nothing was left to train: 6 of 6 trials are done" in second.message
    assert training.reports == ["tiny", "tiny"]
    assert Store(root).read_last() == "tiny"


def test_an_interrupt_keeps_what_is_finished_and_the_next_run_does_the_rest(study, root, training, recording):
    training.faults = {("se", 1): KeyboardInterrupt()}
    summary = run_study(study, output=root, executor="inline", display=recording)
    assert (summary.exit_code, summary.done, summary.missing, summary.report) == (130, 4, 2, None)
    assert recording.told.message == (
        "interrupted: 4 of 6 trials are done and kept; run the same command again for the rest"
    )
    assert training.reports == []
    assert not any(name.endswith("progress.json") for name in files_under(root))
    training.faults.clear()
    training.trained.clear()
    summary = run_study(study, output=root, executor="inline")
    assert training.trained == [("se", 1), ("se-early", 1)]
    assert (summary.exit_code, summary.done) == (0, 6)


def test_sigterm_is_an_interrupt_and_the_old_handler_comes_back(study, root, training):
    before = signal.getsignal(signal.SIGTERM)

    def terminate_in_trial(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ablate.trial.run_trial", terminate_in_trial)
        assert run_study(study, output=root, executor="inline").exit_code == 130
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_failure_is_a_record_and_the_others_go_on(study, root, training, recording):
    training.faults = {("se", 0): RuntimeError("a planted fault")}
    summary = run_study(study, output=root, executor="inline", display=recording)
    assert training.trained == ORDER
    assert (summary.exit_code, summary.done, summary.failed, summary.skipped) == (1, 5, 1, 0)
    (failed,) = [record for record in Store(root).trials() if record.status == "failed"]
    assert (failed.failure.kind, failed.failure.message) == ("exception", "a planted fault")
    assert "in run_trial" in failed.failure.traceback
    assert failed.identity == plan_study(study, output=root).trials[1].job.identity
    assert training.reports == ["tiny"]

    training.trained.clear()
    summary = run_study(study, output=root, executor="inline", display=recording)
    assert training.trained == []
    assert (summary.exit_code, summary.failed, summary.skipped) == (1, 1, 1)
    assert (
        recording.told.notes.count(
            "note: trials that failed in an earlier run: 1; --retry-failed tries them again"
        )
        == 1
    )
    assert "--retry-failed tries again" in summary.message

    training.faults.clear()
    summary = run_study(study, output=root, executor="inline", retry_failed=True)
    assert training.trained == [("se", 0)]
    assert (summary.exit_code, summary.done, summary.failed) == (0, 6, 0)


def test_a_run_in_which_everything_failed_exits_1(study, root, training):
    training.faults = {trial: MemoryError() for trial in ORDER}
    summary = run_study(study, output=root, executor="inline")
    assert (summary.exit_code, summary.done, summary.failed) == (1, 0, 6)
    assert {record.failure.kind for record in Store(root).trials()} == {"out-of-memory"}


def test_fail_fast_stops_at_the_first_failure(study, root, training):
    training.faults = {("se", 0): RuntimeError("a planted fault")}
    summary = run_study(study, output=root, executor="inline", fail_fast=True)
    assert training.trained == ORDER[:2]
    assert (summary.exit_code, summary.done, summary.failed, summary.missing) == (1, 1, 1, 4)
    assert "4 were not started" in summary.message


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), RuntimeError("planted")])
def test_a_forced_trial_that_does_not_end_well_leaves_the_earlier_one_whole(study, root, training, fault):
    run_study(study, output=root, executor="inline")
    se = next(trial for trial in plan_study(study, output=root).trials if trial.variant.name == "se")
    before = contents(se.job.paths.folder)
    training.trained.clear()
    training.faults = {("se", 0): fault}
    summary = run_study(study, output=root, executor="inline", force=["se"], seeds=[0])
    assert training.trained == [("se", 0)]
    assert contents(se.job.paths.folder) == before
    assert plan_study(study, output=root).wanted == ()
    assert len(list(Store(root).trials())) == 6
    again = Store(root).trial_again(se.job.trial_id)
    if isinstance(fault, KeyboardInterrupt):
        assert summary.exit_code == 130
        assert not again.folder.exists()
    else:
        assert (summary.exit_code, summary.failed, summary.done) == (1, 1, 2)
        assert "1 of the failed were done before: their earlier results stay" in summary.message
        assert "planted" in again.record.read_text(), "the record says why"


def test_a_forced_trial_that_ends_well_takes_the_place_of_the_earlier_one(study, root, training):
    run_study(study, output=root, executor="inline")
    se = plan_study(study, output=root, only=["se"]).selected[0].job.paths
    (se.folder / "left-over.txt").write_text("of the earlier attempt")
    training.faults = {("se", 0): RuntimeError("planted")}
    run_study(study, output=root, executor="inline", force=["se"], only=["se"])
    training.faults.clear()
    assert run_study(study, output=root, executor="inline", force=["se"], only=["se"]).exit_code == 0
    assert sorted(path.name for path in se.folder.iterdir()) == ["epochs.csv", "record.json"]
    assert sorted(path.name for path in se.folder.parent.iterdir()) == sorted(
        record.id for record in Store(root).trials()
    )


def test_a_failed_trial_that_is_tried_again_and_interrupted_stays_a_failed_one(study, root, training):
    training.faults = {("se", 0): RuntimeError("planted")}
    run_study(study, output=root, executor="inline")
    training.faults = {("se", 0): KeyboardInterrupt()}
    assert run_study(study, output=root, executor="inline", retry_failed=True).exit_code == 130
    training.faults = {("se", 0): RuntimeError("planted anew")}
    assert run_study(study, output=root, executor="inline", retry_failed=True).failed == 1
    (failed,) = [record for record in Store(root).trials() if record.status == "failed"]
    assert failed.failure.message == "planted anew"
    training.faults.clear()
    assert run_study(study, output=root, executor="inline", retry_failed=True).exit_code == 0


def test_only_what_was_asked_for_decides_the_exit_code(study, root, training):
    summary = run_study(study, output=root, executor="inline", only=["baseline"])
    assert (summary.exit_code, summary.total, summary.done) == (0, 2, 2)
    assert len(Store(root).read_plan("tiny").variants) == 3
    left_out = "without any finished trial, and not asked for in this run: se, se-early"
    assert left_out in summary.message, "a report of effects alone would not show it"
    assert "without any finished" not in run_study(study, output=root, executor="inline").message


def test_a_dry_run_trains_and_writes_nothing(study, root, training, recording):
    assert run_study(study, output=root, dry_run=True, display=recording).exit_code == 0
    assert "6 to train" in recording.told.message
    assert training.trained == []
    assert not root.exists()


def test_costs_are_measured_once_a_variant_and_machine(study, root, training, monkeypatch):
    import ablate.trial

    measured = []
    real = ablate.trial.measure_cost
    monkeypatch.setattr(
        "ablate.trial.measure_cost", lambda *args, **options: measured.append(1) or real(*args, **options)
    )
    for _ in range(2):
        run_study(study, output=root, executor="inline")
    assert len(measured) == 3
    store = Store(root)
    for variant in store.read_plan("tiny").variants:
        (cost,) = store.read_costs(variant.cost_id)
        inspection = plan_study(study, output=root).inspections[variant.name]
        assert (cost.param_count, cost.macs) == (inspection.param_count, inspection.macs)


def test_the_study_is_kept_as_it_was_run_and_runs_again(make_study, root, training):
    study = make_study("seeds=[3]", "defaults.train.epochs=2")
    run_study(study, output=root, executor="inline")
    path = Store(root).study("tiny").study
    assert path.read_text().startswith(f"# {study.document.path} as it was run; from the command line: ")
    assert "defaults.train.epochs" in path.read_text().splitlines()[0]
    kept = load_study(path)
    assert kept.seeds == (3,)
    assert [variant.id for variant in expand(kept).variants] == [v.id for v in expand(study).variants]


def test_a_tree_that_cannot_be_written_stops_the_run_with_a_sentence(study, root, training):
    root.write_text("a file")
    with pytest.raises(StoreError, match="a file stands where a folder is needed"):
        run_study(study, output=root, executor="inline")
    assert training.trained == []


def test_a_disk_that_fills_up_ends_the_run_and_loses_nothing(study, root, training, recording, monkeypatch):
    real = Store.write_trial

    def full_after_two(self, record):
        if len(list(self.trials())) == 2:
            raise StoreError("cannot write: the disk or the quota is full")
        return real(self, record)

    monkeypatch.setattr(Store, "write_trial", full_after_two)
    summary = run_study(study, output=root, executor="inline", display=recording)
    assert (summary.exit_code, summary.done, summary.failed, summary.missing) == (1, 2, 0, 4)
    assert len(list(Store(root).trials())) == 2
    assert training.reports == []
    assert recording.told.message == (
        "stopped: cannot write: the disk or the quota is full\n"
        "2 of 6 trials are done and kept; run the same command again for the rest"
    )


def test_a_trial_that_fills_the_disk_has_not_failed_and_ends_the_run(study, root, training, recording):
    training.faults = {("se", 0): OSError(errno.ENOSPC, "No space left on device")}
    summary = run_study(study, output=root, executor="inline", display=recording)
    assert training.trained == ORDER[:2]
    assert (summary.exit_code, summary.done, summary.failed, summary.missing) == (1, 1, 0, 5)
    assert "the disk is full (the file system at " in summary.message
    assert "free some space and run again: what is finished is kept" in summary.message
    assert [record.status for record in Store(root).trials()] == ["done"]


def test_a_disk_that_fills_up_after_training_says_what_is_done(study, root, training, monkeypatch):
    def full(self, record):
        raise StoreError("cannot write: the disk or the quota is full")

    monkeypatch.setattr(Store, "write_cost", full)
    summary = run_study(study, output=root, executor="inline")
    assert (summary.exit_code, summary.done) == (1, 6)
    assert "6 of 6 trials are done and kept" in summary.message


def test_what_cannot_execute_is_refused_before_anything_is_written(study, root, training):
    with pytest.raises(MachineError, match="unknown executor 'dask'; this version has: local, inline"):
        run_study(study, output=root, executor="dask")
    with pytest.raises(MachineError, match="--timeout needs --executor local"):
        run_study(study, output=root, executor="inline", timeout=1.0)
    assert not root.exists()


def test_a_worker_calls_its_one_gpu_the_first(study, root):
    """CUDA_VISIBLE_DEVICES leaves a worker one GPU, whichever it is, and torch counts from 0."""
    job = plan_study(study, output=root, device="cpu").wanted[0].job
    assert (_for_worker(job).device, _for_worker(job).capture) == ("cpu", True)
    assert _for_worker(replace(job, device="cuda:2")).device == "cuda:0"


SCRIPT = """
import sys
from ablate.display import PlainDisplay
from ablate.runner import run_study
from ablate.spec import load_study
if __name__ == "__main__":
    study, display = load_study(sys.argv[1]), PlainDisplay()
    summary = run_study(study, output=sys.argv[2], jobs=2, device="cpu", display=display)
    sys.exit(summary.exit_code)
"""


def comparable(root):
    """Markdown, JSON, CSV without the measured lines, keys and columns; the rows that the figures draw."""
    folder = Store(root).study("tiny").folder
    found = {"report.md": without_measured((folder / "report.md").read_text())}
    found["report.json"] = json.dumps(without_measured_keys(json.loads((folder / "report.json").read_text())))
    for table in sorted((folder / "tables").glob("*.csv")):
        rows = [line.split(",") for line in table.read_text().splitlines()]
        kept = [column for column, name in enumerate(rows[0]) if name not in MEASURED_KEYS]
        found[table.name] = [[row[column] for column in kept] for row in rows]
    report = build_report(Store(root), "tiny")
    drawn = [accuracy_rows(report), effect_rows(report), curve_rows(report, Store(root))]
    drawn += [cost_rows(report, cost) for cost in ("param_count", "macs")]
    drawn += [sweep_rows(sweep) for sweep in report.sweeps]
    found["figures"] = [rows.to_csv() for rows in drawn]
    return found


def without_measured_keys(document):
    if isinstance(document, dict):
        return {
            key: without_measured_keys(value) for key, value in document.items() if key not in MEASURED_KEYS
        }
    return [without_measured_keys(value) for value in document] if isinstance(document, list) else document


def test_a_real_run_that_is_interrupted_and_resumed_equals_one_that_was_not(
    make_study, tmp_path, root, monkeypatch
):
    """Two worker processes, interrupted by SIGINT; the rest and the comparison run in this process."""
    monkeypatch.setattr("ablate.report.figures.draw_figures", lambda *_: {})  # slow, and not compared
    study = make_study("defaults.train.epochs=4")
    script, copy = tmp_path / "script.py", tmp_path / "copy.yaml"
    script.write_text(SCRIPT)
    copy.write_text((tmp_path / "tiny.yaml").read_text().replace("epochs: 1", "epochs: 4"))
    process = subprocess.Popen(
        [sys.executable, str(script), str(copy), str(root)], stdout=subprocess.PIPE, text=True
    )
    workers = []
    for line in process.stdout:
        if line.startswith("[ 1/6]"):
            workers = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert workers
    assert alive == []
    done = {record.id for record in Store(root).trials()}
    assert 1 <= len(done) < 6
    assert not any("progress" in name or "output" in name for name in files_under(root))
    written = {trial_id: Store(root).trial(trial_id).record.stat().st_mtime_ns for trial_id in done}

    assert run_study(study, output=root, executor="inline", device="cpu").exit_code == 0
    assert {i: Store(root).trial(i).record.stat().st_mtime_ns for i in done} == written
    other = tmp_path / "undisturbed"
    assert run_study(study, output=other, executor="inline", device="cpu").exit_code == 0
    assert comparable(root) == comparable(other)


def test_trials_are_named_as_a_person_would():
    assert str(WatchedTrial("msa reduction=4", 2, "0" * 16)) == "msa reduction=4 seed 2"
