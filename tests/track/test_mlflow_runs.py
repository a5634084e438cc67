"""Runs read back by MLflow's own client, over the database of the tree and over a server."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from ablate.track.follow import Tracking
from ablate.track.mlflow_runs import MlflowRuns

pytestmark = pytest.mark.tracking


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """Making its tables takes longer than all the rest."""
    from mlflow import MlflowClient

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def open_runs(tree, empty_database, monkeypatch):
    """() -> as another process would open it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tree.store.study("tiny").mlflow
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")

    def opened() -> MlflowRuns:
        runs = MlflowRuns(tree.store, "tiny")
        runs.open()
        return runs

    return opened


@pytest.fixture
def runs(open_runs):
    return open_runs()


@pytest.fixture
def seen(tree):
    """What MLflow has: the runs of a trial, and every point of each of its metrics."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(tracking_uri=f"sqlite:///{tree.store.root}/tiny/mlflow/mlflow.db")

    class Seen:
        def runs(self, view=ViewType.ACTIVE_ONLY):
            experiment = client.get_experiment_by_name("tiny")
            return client.search_runs([experiment.experiment_id], run_view_type=view)

        def deleted(self):
            return self.runs(ViewType.DELETED_ONLY)

        def curve(self, run, name="epoch/train_loss"):
            history = client.get_metric_history(run.info.run_id, name)
            return sorted((metric.step, metric.value) for metric in history)

    seen = Seen()
    seen.client = client
    return seen


def test_a_run_grows_with_its_trial_and_ends_with_it(tree, runs, seen):
    trial = tree.of()
    for epochs in (0, 2, 3):
        tree.train(trial, epochs)
        runs.write(tree.taken(trial, held=True))
        [run] = seen.runs()
        assert run.info.status == "RUNNING"
        assert seen.curve(run) == [(epoch, 1 / epoch) for epoch in range(1, epochs + 1)]
    assert "epoch/seconds" not in run.data.metrics
    tree.end(trial)
    tree.measure(trial, 1.5)
    snapshot = tree.taken(trial)
    runs.write(snapshot)
    assert runs.is_settled(trial, snapshot.mark)
    [run] = seen.runs()
    assert (run.info.run_name, run.info.status) == ("se seed 0", "FINISHED")
    for name, points in snapshot.curves.items():
        assert seen.curve(run, name) == [(step, point.value) for step, point in points.items()], name
    assert seen.curve(run, "final/accuracy") == [(3, 85.3)]
    assert seen.curve(run, "epoch/seconds") == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert seen.curve(run, "cost/latency_ms") == [(0, 1.5)]
    assert run.data.tags["ablate.record"] == f"trials/{trial.id}/record.json"
    assert run.data.params["data.augment.flip"] == "true"
    assert run.data.params["train.lr"] == '{"attention.*": 0.1}'
    assert set(run.data.params) == set(snapshot.parameters)


def test_a_killed_trial_goes_on_under_the_same_run(tree, runs, open_runs, seen):
    """Its epochs after the checkpoint come again, with the same figures and at another speed."""
    trial = tree.of()
    tree.train(trial, 3, images_per_s=10.0)
    runs.write(tree.taken(trial, held=True))
    [before] = seen.runs()
    second = open_runs()
    tree.train(trial, 1)
    second.write(tree.taken(trial))
    [run] = seen.runs()
    assert run.info.status == "KILLED"
    tree.train(trial, 2)
    second.write(tree.taken(trial, held=True))
    tree.train(trial, 4, images_per_s=20.0)
    tree.end(trial)
    second.write(tree.taken(trial))
    [run] = seen.runs()
    assert (run.info.run_id, run.info.status) == (before.info.run_id, "FINISHED")
    assert seen.curve(run) == [(epoch, 1 / epoch) for epoch in (1, 2, 3, 4)]
    assert seen.curve(run, "epoch/images_per_s") == [(epoch, 20.0) for epoch in (1, 2, 3, 4)]
    assert not seen.deleted()


def test_another_training_of_the_trial_is_another_run(tree, runs, open_runs, seen):
    trial = tree.of()
    tree.train(trial, 3)
    tree.end(trial)
    runs.write(tree.taken(trial))
    [first] = seen.runs()
    tree.train(trial, 2, loss=lambda epoch: 2 / epoch)
    tree.end(trial, accuracy=12.0)
    second = open_runs()
    assert not second.is_settled(trial, tree.taken(trial).mark)
    second.write(tree.taken(trial))
    [run] = seen.runs()
    assert [gone.info.run_id for gone in seen.deleted()] == [first.info.run_id]
    assert seen.curve(run) == [(1, 2.0), (2, 1.0)]
    assert seen.curve(run, "final/accuracy") == [(2, 12.0)]
    assert open_runs().is_settled(trial, tree.taken(trial).mark)


def test_a_failed_trial_that_is_tried_again_goes_on(tree, runs, open_runs, seen):
    trial = tree.of()
    tree.train(trial, 2)
    tree.end(trial, failed=True)
    runs.write(tree.taken(trial))
    [failed] = seen.runs()
    assert failed.info.status == "FAILED"
    assert failed.data.tags["ablate.failure"] == "timeout: 60 s are over"
    second = open_runs()
    tree.train(trial, 1, paths=tree.store.trial_again(trial.id))
    second.write(tree.taken(trial, held=True))
    [run] = seen.runs()
    assert (run.info.run_id, run.info.status) == (failed.info.run_id, "RUNNING")
    tree.train(trial, 3)
    tree.end(trial)
    second.write(tree.taken(trial))
    [run] = seen.runs()
    assert (run.info.run_id, run.info.status) == (failed.info.run_id, "FINISHED")
    assert seen.curve(run) == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_an_answer_that_was_lost_leaves_no_point_twice(tree, runs, seen, monkeypatch):
    """The server has taken the batch, and the client does not know."""
    trial = tree.of()
    tree.train(trial, 2)
    runs.write(tree.taken(trial, held=True))
    real = runs._client.log_batch

    def lost(*arguments, **options):
        real(*arguments, **options)
        raise ConnectionError("no answer")

    monkeypatch.setattr(runs._client, "log_batch", lost)
    tree.train(trial, 3)
    with pytest.raises(ConnectionError):
        runs.write(tree.taken(trial, held=True))
    monkeypatch.undo()
    tree.train(trial, 3)  # at another time, so that the database does not see through it
    runs.write(tree.taken(trial, held=True))
    [run] = seen.runs()
    assert seen.curve(run) == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_request_that_was_sent_twice_leaves_one_run(tree, runs, open_runs, seen):
    trial = tree.of()
    tree.train(trial, 2)
    runs.write(tree.taken(trial, held=True))
    [run] = seen.runs()
    seen.client.create_run(run.info.experiment_id, tags={"ablate.trial": trial.id})
    second = open_runs()
    second.write(tree.taken(trial, held=True))
    assert [each.info.run_id for each in seen.runs()] == [run.info.run_id]


def test_what_a_person_added_to_a_run_stays(tree, runs, open_runs, seen):
    trial = tree.of()
    tree.train(trial, 2)
    runs.write(tree.taken(trial, held=True))
    [run] = seen.runs()
    seen.client.log_metric(run.info.run_id, "mine", 1.0)
    seen.client.set_tag(run.info.run_id, "looked at", "yes")
    tree.end(trial)
    open_runs().write(tree.taken(trial))
    [after] = seen.runs()
    assert after.info.run_id == run.info.run_id
    assert after.data.metrics["mine"] == 1.0
    assert after.data.tags["looked at"] == "yes"


def test_a_cost_that_is_measured_again_is_another_point(tree, runs, open_runs, seen):
    trial = tree.of()
    tree.train(trial, 1)
    tree.end(trial)
    for day, latency_ms in enumerate((1.5, 2.5, 2.5), start=1):
        tree.measure(trial, latency_ms, day=day)
        open_runs().write(tree.taken(trial))
    [run] = seen.runs()
    assert seen.curve(run, "cost/latency_ms") == [(0, 1.5), (1, 2.5)]
    assert seen.curve(run, "cost/macs") == [(0, 5678.0)]


def test_long_curves_and_odd_settings_keep_to_the_limits(tree, runs, seen):
    trial = tree.of()
    tree.train(trial, 1200, loss=lambda step: math.nan if step == 7 else 1 / step)
    path = tree.store.trial(trial.id).settings
    many = "".join(f"  key{number}: {number}\n" for number in range(250))
    path.write_text(f"{path.read_text()}long: {'x' * 7000}\n{'n' * 300}: 1\nmany:\n{many}")
    runs.write(tree.taken(trial, held=True))
    [run] = seen.runs()
    curve = seen.curve(run, "step/loss")
    assert [step for step, _ in curve] == list(range(1, 2401))
    assert math.isnan(curve[6][1])
    assert len(run.data.params["long"]) == 6000
    assert run.data.params["many.key249"] == "249"
    [shortened] = [name for name in run.data.params if name.startswith("nnn")]
    assert len(shortened) == 250
    tree.end(trial, failed=True)
    runs.write(tree.taken(trial))
    assert len(seen.runs()) == 1
    assert not seen.deleted()


def test_where_the_runs_are_and_what_shows_them(tree, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = f"sqlite:///{tree.store.root}/tiny/mlflow/mlflow.db"
    assert MlflowRuns(tree.store, "tiny").shown_by == f"mlflow ui --backend-store-uri {uri}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@example.org/mlflow")
    assert MlflowRuns(tree.store, "tiny").shown_by == "open https://example.org/mlflow"
    assert MlflowRuns(tree.store, "tiny", "sqlite:///mine.db").uri == "sqlite:///mine.db"


# A server


@pytest.fixture
def server(tree, empty_database, tmp_path):
    """() -> its address: begun when called, on a port where nobody answered before."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = tmp_path / "server.db"
    shutil.copy(empty_database, path)
    started = []

    def start():
        command = ["-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{path}", "--workers", "1"]
        command += [
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--artifacts-destination",
            str(tmp_path / "a"),
        ]
        log = (tmp_path / "server.log").open("w")
        started.append(
            subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, start_new_session=True)
        )
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                return
            assert time.monotonic() < end, (tmp_path / "server.log").read_text()
            time.sleep(0.2)

    yield f"http://127.0.0.1:{port}", start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(30)


def test_a_server_that_is_away_is_one_note_and_gets_everything_when_it_is_back(tree, server, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    uri, start = server
    notes = []
    tracking = Tracking(
        tree.store, "tiny", [MlflowRuns(tree.store, "tiny", uri)], notes.append, interval_s=0.1
    )
    trial = tree.of()
    tree.train(trial, 2)
    tracking.start()
    end = time.monotonic() + 120
    while len(notes) < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert notes[0] == f"mlflow: open {uri}"
    assert notes[1].startswith("note: tracking with mlflow failed: MlflowException: ")
    start()
    tree.train(trial, 3)
    tree.end(trial)
    tracking.finish()
    assert [note for note in notes[2:] if "failed" in note] == []
    client = MlflowClient(tracking_uri=uri)
    [run] = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert run.info.status == "FINISHED"
    curve = [
        (each.step, each.value) for each in client.get_metric_history(run.info.run_id, "epoch/train_loss")
    ]
    assert curve == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
