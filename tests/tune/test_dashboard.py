"""The database of a search opens in optuna-dashboard as it is: values, curves, and the way to the records."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ablate.store import Store
from ablate.tune import tune_study

pytestmark = pytest.mark.dashboard


def served(port, path):
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return json.load(answer)
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


@pytest.fixture
def dashboard():
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists() and shutil.which("optuna-dashboard") is None:
        pytest.fail("optuna-dashboard is not installed: pip install -e '.[dashboard]'")
    started = []

    def start(storage):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(program), storage, "--host", "127.0.0.1", "--port", str(port)]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return port

    yield start
    for process in started:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_the_dashboard_shows_values_curves_and_records(make, root, training, dashboard, kind):
    url, shown = f"sqlite:///{root}/search.db", f"sqlite:///{root}/search.db"
    if kind == "journal":
        url, shown = f"journal:{root}/search.journal", f"{root}/search.journal"
    study = make("space: {model.attention.args.reduction: [2, 8]}")
    tune_study(study, output=root, storage=url, device="cpu", executor="inline")
    port = dashboard(shown)
    [summary] = served(port, "/api/studies")["study_summaries"]
    assert summary["study_name"].startswith("tiny/se/")
    detail = served(port, f"/api/studies/{summary['study_id']}?after=0")
    store = Store(root)
    trials = detail["trials"]
    assert [trial["state"] for trial in trials] == ["Complete", "Complete"]
    for trial in trials:
        attributes = {each["key"]: json.loads(each["value"]) for each in trial["user_attrs"]}
        records = [store.read_trial(trial_id) for trial_id in attributes["trials"].values()]
        accuracies = [record.metrics.validation_accuracy for record in records]
        assert trial["values"] == [pytest.approx(sum(accuracies) / 2)]
        curve = {each["step"]: each["value"] for each in trial["intermediate_values"]}
        known = [row["validation_accuracy"] for row in store.read_epochs(records[0].id)]
        assert [curve[step] for step in (1, 2, 3, 4)] == [pytest.approx(value) for value in known]
